"""Frontends, endpoints and protocols in the words that the API and its readers use."""

from __future__ import annotations

from daemon.model.directory import Directory, Frontend
from daemon.model.objects import Endpoint
from ebpf import addresses
from ebpf.constants import FrontendFlag

PROTOCOLS = {6: "TCP", 17: "UDP", 132: "SCTP"}
KINDS = {
    FrontendFlag.CLUSTER_IP: "ClusterIP",
    FrontendFlag.EXTERNAL_IP: "ExternalIP",
    FrontendFlag.LOAD_BALANCER: "LoadBalancer",
    FrontendFlag.NODE_PORT: "NodePort",
    FrontendFlag.HOST_PORT: "HostPort",
}
_OTHERS = {
    FrontendFlag.DROP: "dropped when empty",
    FrontendFlag.ADDRESS: "other ports refused",
    FrontendFlag.RANGES: "source ranges",
    FrontendFlag.OUTSIDE: "otherwise outside",
}

FROM_OUTSIDE = " from outside"
"""Follows what clients outside get where they are answered otherwise than the cluster."""


def protocol(number: int) -> str:
    """TCP for 6; the number where it has no name here."""
    return PROTOCOLS.get(number, str(number))


def place_kind(place: Frontend, flags: FrontendFlag) -> str:
    """How a frontend is reached, and by whom where not by everybody: `NodePort from outside`."""
    return f"{kind(flags)}{FROM_OUTSIDE if place.scope else ''}"


def kind(flags: FrontendFlag) -> str:
    """How a frontend is reached: `ClusterIP`; several kinds joined by a comma."""
    return ",".join(word for flag, word in KINDS.items() if flag in flags)


def flag_words(flags: FrontendFlag) -> str:
    """All flags of an entry; `no flags` for 0."""
    return ",".join(word for flag, word in (KINDS | _OTHERS).items() if flag in flags) or "no flags"


def place_words(place: Frontend) -> str:
    """`10.96.0.1:80/TCP`; the address alone for an entry that stands for its other ports."""
    address = addresses.text(place.address)
    if not place.port:
        return address
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{place.port}/{protocol(place.protocol)}{FROM_OUTSIDE if place.scope else ''}"


def range_words(prefix: bytes) -> str:
    """A source range, from its 17 bytes: `192.0.2.0/24`."""
    address = addresses.unpack(prefix[1:])
    return f"{address}/{prefix[0] - (96 if address.version == 4 else 0)}"


def record_words(record: bytes) -> str:
    """A backend's address and port, from its 18 bytes."""
    address, port = addresses.text(record[:16]), int.from_bytes(record[16:])
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def holder(directory: Directory, address: bytes) -> str:
    """The workload that has an address now: `namespace/name`, `name`, or nothing."""
    found = directory.by_address(address)
    if not found:
        return ""
    return f"{found.namespace}/{found.name}" if found.namespace else found.name


def endpoint_state(endpoint: Endpoint) -> str:
    """What an endpoint's conditions come to."""
    if endpoint.ready:
        return "ready"
    if endpoint.terminating:
        return "terminating, serving" if endpoint.serving else "terminating"
    return "serving" if endpoint.conditions.serving else "not ready"
