"""Rules for the two ends of a flow; each exists once and is applied to the source or to the destination."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from daemon.flows.filters.errors import FilterError, quoted
from daemon.proto import flow_pb2

Flow = flow_pb2.Flow
Predicate = Callable[[flow_pb2.Flow], bool]
Text = Callable[[flow_pb2.Flow], str]
Name = Callable[[flow_pb2.Flow], tuple[str, str]]

_WITH_PORTS = frozenset({"TCP", "UDP", "SCTP"})


@dataclass(frozen=True, slots=True)
class End:
    """Where the fields of one end are."""

    endpoint: Callable[[flow_pb2.Flow], flow_pb2.Endpoint]
    present: Callable[[flow_pb2.Flow], bool]
    ip: Text
    pod: Name
    service: Name
    names: Callable[[flow_pb2.Flow], Sequence[str]]
    labels: Callable[[flow_pb2.Flow], Sequence[str]]
    port: str


SOURCE = End(
    endpoint=lambda flow: flow.source,
    present=lambda flow: flow.HasField("source"),
    ip=lambda flow: flow.IP.source,
    pod=lambda flow: (flow.source.namespace, flow.source.pod_name),
    service=lambda flow: (flow.source_service.namespace, flow.source_service.name),
    names=lambda flow: flow.source_names,
    labels=lambda flow: flow.source.labels,
    port="source_port",
)
DESTINATION = End(
    endpoint=lambda flow: flow.destination,
    present=lambda flow: flow.HasField("destination"),
    ip=lambda flow: flow.IP.destination,
    pod=lambda flow: (flow.destination.namespace, flow.destination.pod_name),
    service=lambda flow: (flow.destination_service.namespace, flow.destination_service.name),
    names=lambda flow: flow.destination_names,
    labels=lambda flow: flow.destination.labels,
    port="destination_port",
)


def xlated(flow: Flow) -> str:
    return flow.IP.source_xlated


def by_identity(end: End, values: Iterable[int]) -> Predicate:
    wanted = frozenset(values)
    return lambda flow: end.present(flow) and end.endpoint(flow).identity in wanted


def by_address(ip: Text, values: Iterable[str]) -> Predicate:
    """Addresses are compared as text, prefixes by containment."""
    texts, prefixes = parse_addresses(values)

    def match(flow: Flow) -> bool:
        text = ip(flow)
        return bool(text) and (text in texts or (bool(prefixes) and _contained(text, prefixes)))

    return match


def parse_addresses(values: Iterable[str]) -> tuple[frozenset[str], list[IPv4Network | IPv6Network]]:
    """Texts of single addresses, and prefixes. Raises FilterError."""
    texts, prefixes = set(), []
    for value in values:
        kind = "prefix" if "/" in value else "address"
        try:
            if "/" in value:
                prefixes.append(_prefix(value))
            else:
                texts.add(value if ip_address(value) else "")
        except ValueError as error:
            raise FilterError(f"invalid IP {kind} {quoted(value)} in filter: {error}") from error
    return frozenset(texts), prefixes


def by_name(name: Name, values: Iterable[str]) -> Predicate:
    """`[namespace/]prefix`; without a slash the namespace is `default`, an empty part matches anything."""
    wanted = [parse_name(value) for value in values]

    def match(flow: Flow) -> bool:
        return matches_name(wanted, *name(flow))

    return match


def parse_name(value: str) -> tuple[str, str]:
    """Namespace and prefix of the name. Raises FilterError."""
    if not value:
        raise FilterError("invalid filter, name must not be empty")
    namespace, slash, prefix = value.partition("/")
    return (namespace, prefix) if slash else ("default", value)


def matches_name(wanted: Iterable[tuple[str, str]], namespace: str, name: str) -> bool:
    """Whether one of the pairs of `parse_name` selects a name; nothing selects what has neither part."""
    if not namespace and not name:
        return False
    return any(name.startswith(prefix) and wanted_ns in ("", namespace) for wanted_ns, prefix in wanted)


def by_workload(end: End, entries: Iterable[flow_pb2.Workload]) -> Predicate:
    wanted = [(entry.name, entry.kind) for entry in entries]

    def match(flow: Flow) -> bool:
        return any(
            name in ("", workload.name) and kind in ("", workload.kind)
            for workload in end.endpoint(flow).workloads
            for name, kind in wanted
        )

    return match


def by_port(end: End, values: Iterable[str]) -> Predicate:
    wanted = frozenset(parse_port(value) for value in values)

    def match(flow: Flow) -> bool:
        protocol = flow.l4.WhichOneof("protocol")
        return protocol in _WITH_PORTS and getattr(getattr(flow.l4, protocol), end.port) in wanted

    return match


def parse_port(value: str) -> int:
    """A decimal port. Raises FilterError with the reason."""
    if not (value.isascii() and value.isdigit()):
        raise FilterError(f"invalid port {quoted(value)}: invalid syntax")
    if len(value.lstrip("0")) > 5 or int(value) > 65_535:
        raise FilterError(f"invalid port {quoted(value)}: value out of range")
    return int(value)


def by_cluster(end: End, values: Sequence[str]) -> Predicate:
    if "" in values:
        raise FilterError("invalid filter, name must not be empty")
    wanted = frozenset(values)
    return lambda flow: end.endpoint(flow).cluster_name in wanted


def _prefix(value: str) -> IPv4Network | IPv6Network:
    address, _, length = value.partition("/")
    if not (length.isascii() and length.isdigit()):
        raise ValueError("the part behind the slash must be a number of bits")
    return ip_network(f"{address}/{length}", strict=False)


def _contained(text: str, prefixes: list[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return any(address in prefix for prefix in prefixes)
