"""The programmed Services in the API's words."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.model import Directory, Frontend, IPAddress
from daemon.proto import remora_pb2 as pb
from daemon.services import Applied
from ebpf import addresses

_PROTOCOLS = {6: "TCP", 17: "UDP", 132: "SCTP"}


def services(applied: Iterable[Applied], directory: Directory) -> list[pb.Service]:
    """One entry a frontend, by namespace, name and port."""
    found = [_service(frontend, one, directory) for one in applied for frontend in one.entry.frontends]
    return sorted(found, key=lambda one: (one.namespace, one.name, one.port_name, one.protocol, one.address))


def _service(frontend: Frontend, applied: Applied, directory: Directory) -> pb.Service:
    name = applied.entry.key.name
    return pb.Service(
        number=applied.number,
        namespace=name.namespace,
        name=name.name,
        port_name=name.port_name,
        type="ClusterIP",
        address=addresses.text(frontend.address),
        port=frontend.port,
        protocol=_PROTOCOLS.get(frontend.protocol, str(frontend.protocol)),
        backends=[_backend(address, port, directory) for address, port in applied.entry.targets()],
    )


def _backend(address: IPAddress, port: int, directory: Directory) -> pb.Backend:
    holder = directory.by_address(addresses.pack(address))
    owner = f"{holder.namespace}/{holder.name}" if holder and holder.namespace else holder.name if holder else ""
    return pb.Backend(address=str(address), port=port, workload=owner)
