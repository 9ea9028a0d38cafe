"""A snapshot compiled to what the kernel needs: frontends, each with the backends behind it.

The input contract is kube-proxy's: Services of other proxies, headless ones and ExternalNames are passed over; slices
are joined to a Service port by the port's name and protocol, never by number; each family stands for itself. Only
ClusterIP frontends are compiled.

The result is pure data and says nothing of numbers or slots, so that two compilations can be compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from daemon.model.directory import Frontend, ServiceName
from daemon.model.objects import (
    HEADLESS_IP,
    HEADLESS_LABEL,
    SERVICE_PROXY_LABEL,
    AddressType,
    EndpointSlice,
    Protocol,
    Service,
    ServicePort,
    ServiceType,
    TrafficPolicy,
)
from daemon.model.snapshot import Snapshot
from daemon.model.workload import IPAddress, Node
from daemon.services.selection import Candidate, policy_of, select
from ebpf.addresses import MAPPED, pack, unpack

RECORD_SIZE = 18  # bytes of one backend: address (16) and port (2), network order

_VERSIONS = {AddressType.IPV4: 4, AddressType.IPV6: 6}


class PortKey(NamedTuple):
    """The unit of balancing: one port of a Service in one address family; `protocol` is the IP protocol's number."""

    name: ServiceName
    protocol: int
    family: int


@dataclass(frozen=True, slots=True)
class ServicePortEntry:
    """One balanced port. `backends` are records of RECORD_SIZE bytes, sorted, without duplicates."""

    key: PortKey
    frontends: tuple[Frontend, ...]
    backends: bytes

    @property
    def count(self) -> int:
        return len(self.backends) // RECORD_SIZE

    def targets(self) -> tuple[tuple[IPAddress, int], ...]:
        """The backends as addresses and ports in host order."""
        return tuple((unpack(record[:16]), int.from_bytes(record[16:])) for record in records(self.backends))


@dataclass(frozen=True, slots=True)
class _Part:
    """What one Service compiled to, and from what: enough to know that it need not be compiled again."""

    service: Service
    slices: tuple[EndpointSlice, ...]
    entries: tuple[ServicePortEntry, ...]

    def made_of(self, service: Service, slices: Sequence[EndpointSlice]) -> bool:
        same = len(slices) == len(self.slices) and all(map(_identical, slices, self.slices))
        return same and service is self.service


@dataclass(frozen=True)
class ServiceTable:
    """All balanced ports of a node, sorted by namespace and name of their Service."""

    node: Node
    entries: tuple[ServicePortEntry, ...] = ()
    parts: Mapping[tuple[str, str], _Part] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def frontends(self) -> dict[Frontend, ServicePortEntry]:
        """Every frontend with the port that it leads to."""
        return {frontend: entry for entry in self.entries for frontend in entry.frontends}


def compile_services(snapshot: Snapshot, node: Node, before: ServiceTable | None = None) -> ServiceTable:
    """The table that a snapshot means on this node.

    `before`, an earlier table, only saves work: what consists of the very same objects is taken from it. Two Services
    that claim one frontend: the first by namespace and name has it.
    """
    slices = _slices_by_service(snapshot.slices)
    known = before.parts if before and before.node == node else {}
    parts = {}
    for service in sorted(snapshot.services, key=_name_of):
        name = _name_of(service)
        part = known.get(name)
        own = slices.get(name, [])
        if part is None or not part.made_of(service, own):
            part = _Part(service, tuple(own), tuple(_entries(service, own, node)))
        parts[name] = part
    return ServiceTable(node, tuple(_without_conflicts(parts.values())), parts)


def records(blob: bytes) -> list[bytes]:
    """The single backends of a run of records."""
    bounds = range(0, len(blob) + 1, RECORD_SIZE)
    return [blob[start:stop] for start, stop in pairwise(bounds)]


def _name_of(service: Service) -> tuple[str, str]:
    return service.namespace, service.name


def _identical(one: object, other: object) -> bool:
    return one is other


def _slices_by_service(slices: Iterable[EndpointSlice]) -> dict[tuple[str, str], list[EndpointSlice]]:
    found: dict[tuple[str, str], list[EndpointSlice]] = defaultdict(list)
    for slice_ in slices:
        if slice_.service and HEADLESS_LABEL not in slice_.labels:
            found[slice_.namespace, slice_.service].append(slice_)
    return found


def _entries(service: Service, slices: Sequence[EndpointSlice], node: Node) -> Iterator[ServicePortEntry]:
    """The balanced ports of one Service: each port once for each family that has a clusterIP."""
    if service.spec.type is ServiceType.EXTERNAL_NAME or SERVICE_PROXY_LABEL in service.labels:
        return
    for family, address in _cluster_ips(service).items():
        for (name, protocol), ports in _named_ports(service).items():
            key = PortKey(ServiceName(service.namespace, service.name, name), protocol.number, _VERSIONS[family])
            frontends = tuple(Frontend(address, port.port, protocol.number) for port in ports)
            usable = _usable(service, ports[0], _candidates(ports[0], slices, family), node)
            yield ServicePortEntry(key, frontends, b"".join(sorted(candidate.record for candidate in usable)))


def _cluster_ips(service: Service) -> dict[AddressType, bytes]:
    """The first clusterIP of each family; what is no address is passed over."""
    found: dict[AddressType, bytes] = {}
    for text in service.spec.cluster_ips:
        raw = _packed(text) if text != HEADLESS_IP else None
        if raw is not None:
            found.setdefault(AddressType.IPV4 if raw.startswith(MAPPED) else AddressType.IPV6, raw)
    return found


def _named_ports(service: Service) -> dict[tuple[str, Protocol], list[ServicePort]]:
    """Ports by what joins them to endpoints. Two of one name and protocol have the same endpoints and are one port."""
    found: dict[tuple[str, Protocol], list[ServicePort]] = defaultdict(list)
    for port in service.spec.ports:
        found[port.name, port.protocol].append(port)
    return found


def _usable(service: Service, port: ServicePort, candidates: Sequence[Candidate], node: Node) -> Iterable[Candidate]:
    """What a ClusterIP of the port may choose from: the set that the internal traffic policy names."""
    chosen = select(candidates, policy_of(service, port), node)
    return chosen.local if service.spec.internal_traffic_policy is TrafficPolicy.LOCAL else chosen.cluster


def _candidates(port: ServicePort, slices: Iterable[EndpointSlice], family: AddressType) -> list[Candidate]:
    """The endpoints of all slices that have this port. Of two with one address and port the one that stays wins."""
    found: dict[bytes, Candidate] = {}
    for slice_ in slices:
        if slice_.address_type is not family:
            continue
        for number in _numbers(port, slice_):
            for endpoint in slice_.endpoints:
                address = _packed(endpoint.addresses[0])
                if address is None or address.startswith(MAPPED) is not (family is AddressType.IPV4):
                    continue
                candidate = Candidate(address + number, endpoint)
                known = found.get(candidate.record)
                if known is None or known.endpoint.terminating:
                    found[candidate.record] = candidate
    return list(found.values())


def _numbers(port: ServicePort, slice_: EndpointSlice) -> list[bytes]:
    """The slice's numbers for a Service port, 2 bytes in network order each."""
    return [
        entry.port.to_bytes(2)
        for entry in slice_.ports
        if entry.port and entry.name == port.name and entry.protocol is port.protocol
    ]


def _packed(text: str) -> bytes | None:
    try:
        return pack(text)
    except ValueError:
        return None


def _without_conflicts(parts: Iterable[_Part]) -> Iterator[ServicePortEntry]:
    """All entries, each without the frontends that an earlier one has; none that is left with no frontend."""
    taken: set[Frontend] = set()
    for part in parts:
        for entry in part.entries:
            free = tuple(frontend for frontend in entry.frontends if frontend not in taken)
            if not free:
                continue
            taken.update(free)
            yield entry if free == entry.frontends else replace(entry, frontends=free)
