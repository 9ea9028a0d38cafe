"""A node without a kernel: objects go in as snapshots, and it answers as a socket's connect() would.

The maps are those that the reconciler writes, and the look-up is the one that the socket programs do: exact entry, then
the node's own addresses, then the entry that stands for an address.
"""

from __future__ import annotations

import numpy as np

from daemon.model.workload import Node
from daemon.services.compile import compile_services
from daemon.services.reconcile import Changes, ServiceReconciler
from daemon.services.table import ServiceTable
from ebpf.addresses import MAPPED, pack, unpack
from ebpf.constants import FrontendFlag, Scope
from tests.unit.services.build import Object, snapshot_of
from tests.unit.services.memory import Reader, backend_map, service_map

REFUSED, DROPPED, UNTOUCHED = "refused", "dropped", "untouched"
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}


class Host:
    """A node named `here` with two addresses; it lives on, so that every `apply` is a change to what was before."""

    own = ("192.0.2.10", "2001:db8::10")

    def __init__(self, name: str = "here", zone: str = "zone-a") -> None:
        self.table = ServiceTable(Node(name, zone))
        self.services, self.backends = service_map(), backend_map()
        self.reader = Reader(self.services, self.backends)
        self.reconciler = ServiceReconciler(self.services, self.backends, self.reader.grace)

    def apply(self, *objects: Object) -> Changes:
        """Make these objects all that there is."""
        self.table = compile_services(snapshot_of(objects), self.table.node, self.table)
        return self.reconciler.apply(self.table)

    def collect(self) -> None:
        """Delete the slots that nothing counts, when all programs that may look at them have ended."""
        self.reader.grace()
        self.reconciler.collect(self.reconciler.written)

    def ask(self, address: str, port: int, protocol: str = "TCP", client: str = "pod") -> str:
        """What a client gets: "10.0.0.1:8080 10.0.0.2:8080", all that may be drawn, or REFUSED, DROPPED, UNTOUCHED."""
        entry = self._entry(address, port, protocol, client)
        if entry is None:
            return UNTOUCHED
        service, count, flags, _ = entry
        if not count:
            return DROPPED if flags & FrontendFlag.DROP else REFUSED
        return " ".join(sorted(self._backend(service, slot) for slot in range(count)))

    def entry(self, address: str, port: int, protocol: str = "TCP") -> list[int]:
        """The exact entry's service number, count, flags and affinity; KeyError where there is none."""
        return np.frombuffer(self.services.rows[_key(pack(address), port, protocol)], np.uint32).tolist()

    def _entry(self, address: str, port: int, protocol: str, client: str) -> list[int] | None:
        raw = pack(address)
        keys = [_key(raw, port, protocol), _key(raw, 0, "")]
        if address in self.own or (unpack(raw).is_loopback and client == "node"):
            keys[1] = _key(pack("0.0.0.0" if raw.startswith(MAPPED) else "::"), port, protocol)
        for key in keys:
            if key in self.services.rows:
                own = key[:-1] + bytes([Scope.OUTSIDE])
                outside = client == "external" and own in self.services.rows
                return np.frombuffer(self.services.rows[own if outside else key], np.uint32).tolist()
        return None

    def hides(self, address: str, port: int, protocol: str = "TCP") -> bool:
        """Whether backends see the node instead of a client outside: all that has no entry of its own is hidden."""
        raws = pack(address), pack("0.0.0.0" if ":" not in address else "::")
        return not any(_key(raw, port, protocol)[:-1] + bytes([Scope.OUTSIDE]) in self.services.rows for raw in raws)

    def _backend(self, service: int, slot: int) -> str:
        record = self.reader.record(service, slot)
        assert record is not None, f"slot {slot} of {service} is counted and not there"
        return f"{unpack(record[:16])}:{int.from_bytes(record[16:])}"


def _key(raw: bytes, port: int, protocol: str) -> bytes:
    return raw + port.to_bytes(2) + bytes([PROTOCOLS.get(protocol, 0), 0])
