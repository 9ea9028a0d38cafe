"""The programmed Services in the API's words: all of them shortly, one of them closely."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from daemon.agent.live import Live
from daemon.agent.survey import Seen, survey
from daemon.agent.wording import endpoint_state, holder, place_kind, protocol
from daemon.model import Directory, Frontend, IPAddress
from daemon.model.objects import Service, SessionAffinity, TrafficPolicy
from daemon.proto import remora_pb2 as pb
from daemon.services import Applied, Scope, ServicePortEntry, ServiceTable
from daemon.services.table import records
from daemon.settings import OutsideAlgorithm
from ebpf import addresses
from ebpf.constants import FrontendFlag

POLICIES = {Scope.CLUSTER: TrafficPolicy.CLUSTER.value, Scope.LOCAL: TrafficPolicy.LOCAL.value, Scope.POD: "pod"}


def services(applied: Iterable[Applied], directory: Directory) -> list[pb.Service]:
    """One entry a frontend, by namespace, name and port; what clients outside get otherwise has entries of its own."""
    found = [_service(place, one, directory) for one in applied for place in one.entry.frontends]
    return sorted(found, key=lambda one: (one.namespace, one.name, one.port_name, one.protocol, one.type, one.address))


def _service(frontend: Frontend, applied: Applied, directory: Directory) -> pb.Service:
    name = applied.entry.key.name
    return pb.Service(
        number=applied.number,
        namespace=name.namespace,
        name=name.name,
        port_name=name.port_name,
        type=place_kind(frontend, applied.entry.frontends[frontend]),
        address=addresses.text(frontend.address),
        port=frontend.port,
        protocol=protocol(frontend.protocol),
        backends=[_backend(address, port, directory) for address, port in applied.entry.targets()],
    )


def _backend(address: IPAddress, port: int, directory: Directory) -> pb.Backend:
    return pb.Backend(address=str(address), port=port, workload=holder(directory, addresses.pack(address)))


def named(table: ServiceTable, name: str, namespace: str) -> list[Service]:
    """The Services of that name, in one namespace or, where that is "", in any."""
    known = sorted(table.workings.services.items())
    return [one for (where, what), one in known if what == name and namespace in ("", where)]


def ports_of(service: Service, applied: Iterable[Applied]) -> list[Applied]:
    """What of a Service is in force, by port, family and scope."""
    name = (service.namespace, service.name)
    own = [
        one
        for one in applied
        if (one.entry.key.name.namespace, one.entry.key.name.name) == name and one.entry.key.scope is not Scope.POD
    ]
    return sorted(own, key=lambda one: (one.entry.key.name.port_name, one.entry.key.family, one.entry.key.scope.value))


def detail(
    service: Service,
    ports: Iterable[Applied],
    table: ServiceTable,
    live: Live,
    directory: Directory,
    algorithm: OutsideAlgorithm,
) -> pb.ServiceDetail:
    """A Service with its frontends and endpoints; `ports` are from `ports_of`; `algorithm` is for clients outside."""
    spec = service.spec
    sticky = spec.session_affinity is SessionAffinity.CLIENT_IP
    return pb.ServiceDetail(
        namespace=service.namespace,
        name=service.name,
        type=spec.type.value,
        internal_policy=spec.internal_traffic_policy.value,
        external_policy=spec.external_traffic_policy.value,
        algorithm=algorithm.value,
        affinity_seconds=spec.session_affinity_config.client_ip.timeout_seconds if sticky else 0,
        health_check_node_port=spec.health_check_node_port,
        balanced=[_balanced(one, survey(table, one.entry.key), live, directory) for one in ports],
    )


def _balanced(one: Applied, seen: list[Seen], live: Live, directory: Directory) -> pb.Balanced:
    key = one.entry.key
    known = {each.record: each for each in seen if each.record and not each.reasons}
    used = set(records(one.entry.backends))
    counts = {record: count for (number, record), count in live.items() if number == one.number}
    backends = [
        endpoint(known.get(record), record, directory, counts.get(record, 0)) for record in records(one.entry.backends)
    ]
    others = [each for each in seen if each.reasons and each.same_family]
    return pb.Balanced(
        number=one.number,
        port_name=key.name.port_name,
        protocol=protocol(key.protocol),
        frontends=list(_frontends(one.entry)),
        backends=backends,
        others=[endpoint(each, each.record, directory) for each in others],
        policy=POLICIES[key.scope],
        lingering=sum(count for record, count in counts.items() if record not in used),
    )


def _frontends(entry: ServicePortEntry) -> Iterator[pb.ServiceFrontend]:
    for place, flags in entry.frontends.items():
        yield frontend(place, flags, "" if entry.count else "drop" if entry.drop else "refuse")


def frontend(place: Frontend, flags: FrontendFlag, empty: str = "") -> pb.ServiceFrontend:
    """A frontend in the API's words."""
    return pb.ServiceFrontend(
        kind=place_kind(place, flags),
        address=addresses.text(place.address),
        port=place.port,
        protocol=protocol(place.protocol),
        empty=empty,
    )


def endpoint(seen: Seen | None, record: bytes | None, directory: Directory, connections: int = 0) -> pb.ServiceEndpoint:
    """An endpoint in the API's words; `seen` is None for a backend that is in no slice any more."""
    raw = record[:16] if record else None
    text = addresses.text(raw) if raw else seen.endpoint.addresses[0] if seen else ""
    return pb.ServiceEndpoint(
        address=text,
        port=int.from_bytes(record[16:]) if record else 0,
        workload=holder(directory, raw) if raw else "",
        state=endpoint_state(seen.endpoint) if seen else "gone",
        node=seen.endpoint.node_name if seen else "",
        zone=seen.endpoint.zone if seen else "",
        connections=connections,
        slice=seen.slice if seen else "",
        reasons=seen.reasons if seen else (),
    )
