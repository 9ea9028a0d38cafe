"""One Service, or one pod with host ports, compiled to its block of the table.

The input contract is kube-proxy's: Services of other proxies, headless ones and ExternalNames are passed over; slices
are joined to a Service port by the port's name and protocol, never by number; each family stands for itself.

Every client of a socket is inside the cluster. So the outside of a Service leads to the whole cluster's endpoints
whatever the external traffic policy says (kube-proxy's short circuit); only the internal policy can narrow a choice.
Where the external policy is Local, each such frontend has a second one in the scope OUTSIDE, for the packets that
come in by an uplink: it leads to the endpoints of this node alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from daemon.model.directory import Frontend, ServiceName
from daemon.model.objects import (
    AddressType,
    EndpointSlice,
    Pod,
    Protocol,
    Service,
    ServicePort,
    SessionAffinity,
    TrafficPolicy,
)
from daemon.model.workload import Node
from daemon.services import exposure
from daemon.services.selection import Candidate, Policy, Selection, policy_of, select
from daemon.services.table import Block, PortKey, Scope, ServicePortEntry
from ebpf.constants import FrontendFlag

NOTHING = Block()

_TYPES = {4: AddressType.IPV4, 6: AddressType.IPV6}
_Places = dict[Frontend, FrontendFlag]


def service_block(service: Service, slices: Sequence[EndpointSlice], node: Node) -> Block:
    """The block of one Service; NOTHING where it is not ours, has no ports or no clusterIP."""
    if not exposure.is_ours(service) or not service.spec.ports:
        return NOTHING
    addresses = exposure.cluster_addresses(service)
    entries: list[ServicePortEntry] = []
    taken: set[Frontend] = set()
    for family, address in addresses.items():
        ranges = exposure.source_ranges(service, family)
        for ports in _named_ports(service).values():
            found = candidates(ports[0], slices, family)
            chosen = select(found, _policy(service, ports), node)
            for scope, places in _places(service, ports, family, address, bool(ranges)).items():
                free = {place: flags for place, flags in places.items() if place not in taken}
                taken.update(free)
                if free:
                    entries.append(_entry(service, ports[0], family, scope, free, chosen, ranges, found))
    return Block(tuple(entries), tuple(Frontend(address, 0, 0) for address in addresses.values()))


def pod_block(pod: Pod, node: Node) -> Block:
    """The block of one pod: its host ports while it runs on this node, else NOTHING."""
    here = pod.spec.node_name == node.name and pod.status.phase == "Running" and not pod.spec.host_network
    if not here or not pod.host_ports:
        return NOTHING
    entries = []
    taken: set[Frontend] = set()
    for family, address in exposure.pod_addresses(pod).items():
        for (target, protocol), places in _host_places(pod, family).items():
            free = [place for place in places if place not in taken]
            taken.update(free)
            key = PortKey(ServiceName(pod.namespace, pod.name, str(target)), protocol.number, family, Scope.POD)
            if free:
                frontends = dict.fromkeys(free, FrontendFlag.HOST_PORT)
                entries.append(ServicePortEntry(key, frontends, address + target.to_bytes(2)))
    return Block(tuple(entries))


def candidates(port: ServicePort, slices: Iterable[EndpointSlice], family: int) -> list[Candidate]:
    """The endpoints of all slices that have this port. Of two with one address and port the one that stays wins."""
    found: dict[bytes, Candidate] = {}
    for slice_ in slices:
        if slice_.address_type is not _TYPES[family]:
            continue
        for number in _numbers(port, slice_):
            for endpoint in slice_.endpoints:
                address = exposure.packed(endpoint.addresses[0])
                if address is None or exposure.family_of(address) != family:
                    continue
                known = found.get(address + number)
                if known is None or (known.endpoint.terminating and not endpoint.terminating):
                    found[address + number] = Candidate(address + number, endpoint)
    return list(found.values())


def _named_ports(service: Service) -> dict[tuple[str, Protocol], list[ServicePort]]:
    """Ports by what joins them to endpoints. Two of one name and protocol have the same endpoints and are one port."""
    found: dict[tuple[str, Protocol], list[ServicePort]] = defaultdict(list)
    for port in service.spec.ports:
        found[port.name, port.protocol].append(port)
    return found


def _policy(service: Service, ports: Iterable[ServicePort]) -> Policy:
    """The policy of a port that is written several times: it is reached from outside where one of them is."""
    every = [policy_of(service, port) for port in ports]
    return Policy(any(one.uses_cluster for one in every), any(one.uses_local for one in every))


def _places(
    service: Service, ports: Sequence[ServicePort], family: int, address: bytes, guarded: bool
) -> dict[Scope, _Places]:
    """The frontends of a port, by the scope that the traffic policies give them."""
    narrowed = service.spec.internal_traffic_policy is TrafficPolicy.LOCAL
    found: dict[Scope, _Places] = defaultdict(dict)
    found[Scope.LOCAL if narrowed else Scope.CLUSTER].update(exposure.inside(address, ports))
    local = service.spec.external_traffic_policy is TrafficPolicy.LOCAL
    for place, kind in exposure.outside(service, ports, family):
        flag = kind | FrontendFlag.RANGES if guarded and kind is FrontendFlag.LOAD_BALANCER else kind
        _add(found[Scope.CLUSTER], place, flag | FrontendFlag.OUTSIDE if local else flag)
        if local:
            _add(found[Scope.LOCAL], place._replace(scope=exposure.OUTSIDE), flag)
    return found


def _add(places: _Places, place: Frontend, flag: FrontendFlag) -> None:
    places[place] = places[place] | flag if place in places else flag


def _entry(
    service: Service,
    port: ServicePort,
    family: int,
    scope: Scope,
    places: _Places,
    chosen: Selection,
    ranges: tuple[bytes, ...],
    found: Iterable[Candidate],
) -> ServicePortEntry:
    key = PortKey(ServiceName(service.namespace, service.name, port.name), port.protocol.number, family, scope)
    usable = {candidate.record for candidate in (chosen.local if scope is Scope.LOCAL else chosen.cluster)}
    retained = _serving(found) - usable if port.protocol is Protocol.UDP else ()
    sticky = service.spec.session_affinity is SessionAffinity.CLIENT_IP
    return ServicePortEntry(
        key,
        places,
        b"".join(sorted(usable)),
        affinity=service.spec.session_affinity_config.client_ip.timeout_seconds if sticky else 0,
        drop=chosen.anywhere and not usable,
        ranges=ranges if any(FrontendFlag.RANGES in flags for flags in places.values()) else (),
        retained=b"".join(sorted(retained)),
    )


def _serving(found: Iterable[Candidate]) -> set[bytes]:
    return {candidate.record for candidate in found if candidate.endpoint.serving}


def _host_places(pod: Pod, family: int) -> dict[tuple[int, Protocol], list[Frontend]]:
    """The pod's host ports of one family, by the container's port and protocol that they lead to."""
    found: dict[tuple[int, Protocol], list[Frontend]] = defaultdict(list)
    for port in pod.host_ports:
        place = exposure.host_frontend(port, family)
        if place is not None:
            found[port.container_port, port.protocol].append(place)
    return found


def _numbers(port: ServicePort, slice_: EndpointSlice) -> list[bytes]:
    """The slice's numbers for a Service port, 2 bytes in network order each."""
    return [
        entry.port.to_bytes(2)
        for entry in slice_.ports
        if entry.port and entry.name == port.name and entry.protocol is port.protocol
    ]
