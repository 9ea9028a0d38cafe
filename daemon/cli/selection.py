"""Filter flags: what each of them means for the filters of a request.

A flag such as --pod speaks of either side of a flow, so flags fill a pair of
filters: the left one constrains the source, the right one the destination, and
a flow passes when one of them holds. --from-… and --to-… set their side in both,
flags without a side set both. When left and right come out equal one is sent.
Adding a flag means adding a line to FLAGS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from daemon.cli import values
from daemon.cli.errors import UsageError
from daemon.proto import flow_pb2

Convert = Callable[[str], object]


def quoted(text: str) -> str:
    """Text in double quotes, as complaints show what was given."""
    return json.dumps(text, ensure_ascii=False)


class Side(Enum):
    """Which filters of the pair, and which fields of theirs, a flag sets."""

    EITHER = "either"
    SOURCE = "source"
    DESTINATION = "destination"
    WHOLE = "whole"


_PLACES: Mapping[Side, tuple[tuple[bool, str], ...]] = {
    Side.EITHER: ((True, "source_"), (False, "destination_")),
    Side.SOURCE: ((True, "source_"), (False, "source_")),
    Side.DESTINATION: ((True, "destination_"), (False, "destination_")),
    Side.WHOLE: ((True, ""), (False, "")),
}


@dataclass(frozen=True, slots=True)
class FilterFlag:
    """One flag: `field` is a field of FlowFilter, without its side where the flag has one.

    `convert` turns the text into the field's value and raises ValueError. `fixed` is the value of a flag
    that takes none. Flags of the field `namespace` change the pod and service fields afterwards.
    """

    name: str
    field: str
    side: Side
    help: str
    convert: Convert = str
    short: str = ""
    metavar: str = "TEXT"
    fixed: str | None = None

    @property
    def words(self) -> str:
        """The flag as complaints name it."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    def shown(self, text: str) -> str:
        """A value as complaints show it: flags without one stand for true, or for a version."""
        return "true" if self.fixed is not None and self.field != "ip_version" else text

    @property
    def targets(self) -> tuple[tuple[bool, str], ...]:
        """(into the left filter?, field) pairs."""
        return tuple((left, prefix + self.field) for left, prefix in _PLACES[self.side])


def _sided(
    name: str, field: str, what: str, convert: Convert = str, metavar: str = "TEXT", short: str = ""
) -> list[FilterFlag]:
    return [
        FilterFlag(name, field, Side.EITHER, f"{what} of either side", convert, short, metavar),
        FilterFlag(f"from-{name}", field, Side.SOURCE, f"{what} of the source", convert, metavar=metavar),
        FilterFlag(f"to-{name}", field, Side.DESTINATION, f"{what} of the destination", convert, metavar=metavar),
    ]


def _everywhere(name: str, side: Side, short: str = "") -> FilterFlag:
    return FilterFlag(name, "namespace", side, "pods of any namespace", short=short, fixed="")


def _whole(
    name: str, field: str, text: str, convert: Convert = str, metavar: str = "TEXT", short: str = ""
) -> FilterFlag:
    return FilterFlag(name, field, Side.WHOLE, text, convert, short, metavar)


FLAGS: Sequence[FilterFlag] = (
    *_sided("pod", "pod", "pod, [NAMESPACE/]PREFIX,", metavar="POD"),
    *_sided("namespace", "namespace", "namespace", short="n", metavar="NAMESPACE"),
    _everywhere("all-namespaces", Side.EITHER, "A"),
    _everywhere("from-all-namespaces", Side.SOURCE),
    _everywhere("to-all-namespaces", Side.DESTINATION),
    *_sided("service", "service", "Service, [NAMESPACE/]PREFIX,", metavar="SERVICE"),
    *_sided("workload", "workload", "workload, [KIND/]NAME,", values.workload, "WORKLOAD"),
    *_sided("label", "label", "label selector", short="l", metavar="SELECTOR"),
    *_sided("identity", "identity", "identity, number or reserved name,", values.identity, "IDENTITY"),
    *_sided("ip", "ip", "address or CIDR", metavar="IP"),
    *_sided("port", "port", "port", metavar="PORT"),
    *_sided("fqdn", "fqdn", "DNS name, * matches,", metavar="NAME"),
    *_sided("cluster", "cluster_name", "cluster", metavar="CLUSTER"),
    _whole("protocol", "protocol", "protocol: tcp, udp, icmp, sctp, dns, http …", metavar="PROTOCOL"),
    _whole("type", "event_type", "event type: trace, drop, l7 …", values.event_type, "TYPE[:SUB]", "t"),
    _whole("verdict", "verdict", "FORWARDED, DROPPED, ERROR …", values.verdict, "VERDICT"),
    _whole(
        "drop-reason-desc", "drop_reason_desc", "reason of a drop, such as POLICY_DENIED", values.drop_reason, "REASON"
    ),
    _whole("traffic-direction", "traffic_direction", "ingress or egress", values.direction, "DIRECTION"),
    _whole("tcp-flags", "tcp_flags", "flags that are set: SYN,ACK", values.tcp_flags, "FLAGS"),
    _whole("http-status", "http_status_code", "404, or a prefix: 5+", metavar="STATUS"),
    _whole("http-method", "http_method", "HTTP method", metavar="METHOD"),
    _whole("http-path", "http_path", "path of the URL, as a regular expression", metavar="REGEX"),
    _whole("http-url", "http_url", "URL, as a regular expression", metavar="REGEX"),
    _whole("http-header", "http_header", "header, NAME:VALUE", values.header, "HEADER"),
    _whole("dns-query", "dns_query", "DNS query, as a regular expression", metavar="REGEX"),
    _whole("interface", "interface", "network device", values.interface, "DEVICE"),
    _whole("ip-version", "ip_version", "v4, v6 or none", values.ip_version, "VERSION"),
    FilterFlag("ipv4", "ip_version", Side.WHOLE, "IPv4 only", values.ip_version, "4", fixed="v4"),
    FilterFlag("ipv6", "ip_version", Side.WHOLE, "IPv6 only", values.ip_version, "6", fixed="v6"),
    FilterFlag("encrypted", "encrypted", Side.WHOLE, "encrypted flows only", values.flag, fixed="true"),
    FilterFlag("unencrypted", "encrypted", Side.WHOLE, "unencrypted flows only", values.flag, fixed="false"),
    _whole("snat-ip", "source_ip_xlated", "source address after masquerading", metavar="IP"),
    _whole("node-name", "node_name", "[CLUSTER/]NODE, * matches", metavar="NODE"),
    _whole("node-label", "node_labels", "label selector of the node", metavar="SELECTOR"),
    _whole("trace-id", "trace_id", "trace of an HTTP request", metavar="ID"),
    _whole("ip-trace-id", "ip_trace_id", "packet trace number", values.trace_number, "NUMBER"),
    _whole("uuid", "uuid", "one flow", metavar="UUID"),
    _whole("cel-expression", "cel_expression", "CEL expression on _flow", metavar="CEL"),
)


def _conflicts(side: str) -> tuple[tuple[str, ...], ...]:
    """Groups of flags that speak of one side twice; the order is that in which they are told."""
    named = (f"{side}-fqdn", f"{side}-ip", "ip", "fqdn")
    everywhere = (f"{side}-namespace", "namespace", f"{side}-all-namespaces", "all-namespaces")
    return (
        (*named, *everywhere),
        (*named, f"{side}-pod", "pod"),
        (f"{side}-pod", "namespace", "all-namespaces"),
        (f"{side}-service", "namespace", "all-namespaces"),
        *((name, f"{side}-{name}") for name in ("label", "service", "port", "identity", "workload")),
    )


_CONFLICTS = (*_conflicts("from"), *_conflicts("to"), ("encrypted", "unencrypted"))


@dataclass(slots=True)
class FilterPair:
    """The pair of filters that one list (allow or deny) of flags fills."""

    left: flow_pb2.FlowFilter = field(default_factory=flow_pb2.FlowFilter)
    right: flow_pb2.FlowFilter = field(default_factory=flow_pb2.FlowFilter)
    namespaces: dict[Side, list[str]] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)

    def add(self, flag: FilterFlag, text: str) -> None:
        """Take one flag; raises UsageError for a bad value or a flag that contradicts an earlier one."""
        try:
            self._take(flag, text)
        except ValueError as error:
            raise UsageError(f'invalid argument {quoted(flag.shown(text))} for "{flag.words}" flag: {error}') from error

    def _take(self, flag: FilterFlag, text: str) -> None:
        if flag.name not in self.used:
            self.used.append(flag.name)
        self._check()
        if flag.field == "namespace":
            self.namespaces.setdefault(flag.side, []).append(text)
        else:
            value = flag.convert(text)
            for left, name in flag.targets:
                holder = self.left if left else self.right
                container = holder.experimental if name == "cel_expression" else holder
                getattr(container, name).append(value)
        self._check_namespaces()

    def _check(self) -> None:
        for group in _CONFLICTS:
            used = [name for name in group if name in self.used]
            if len(used) > 1:
                raise ValueError(f"filters --{used[0]} and --{used[1]} cannot be combined")

    def _check_namespaces(self) -> None:
        for side, names in self.namespaces.items():
            for left, prefix in _PLACES[side]:
                holder = self.left if left else self.right
                for given in (*getattr(holder, f"{prefix}pod"), *getattr(holder, f"{prefix}service")):
                    _check_namespace(given, names)
        for one in (self.left, self.right):
            _check_services(one.source_pod, one.source_service)
            _check_services(one.destination_pod, one.destination_service)

    def filters(self) -> list[flow_pb2.FlowFilter]:
        """No filter, one, or the pair."""
        if not self.used:
            return []
        for side, names in self.namespaces.items():
            for left, prefix in _PLACES[side]:
                _qualify(self.left if left else self.right, prefix, names)
        return [self.left] if self.left == self.right else [self.left, self.right]


def _qualify(holder: flow_pb2.FlowFilter, prefix: str, namespaces: Sequence[str]) -> None:
    """Put the pods and Services of one side into namespaces; without any: whatever is in them."""
    pods, services = getattr(holder, f"{prefix}pod"), getattr(holder, f"{prefix}service")
    if not pods and not services:
        pods.append("")
    for target in (pods, services):
        target[:] = [name for given in target for name in _in_namespaces(given, namespaces)]


def _in_namespaces(name: str, namespaces: Sequence[str]) -> list[str]:
    """`name` in each of the namespaces, or as it is where it has one."""
    return [name] if "/" in name else [f"{namespace}/{name}" for namespace in namespaces]


def _check_namespace(name: str, namespaces: Sequence[str]) -> None:
    """A name that has a namespace must have the one that is asked for."""
    own = _namespace(name)
    for namespace in namespaces:
        if own and own != namespace:
            raise ValueError(f"namespace conflict: {quoted(namespace)} does not contain {quoted(name)}")


def _check_services(pods: Iterable[str], services: Iterable[str]) -> None:
    """A pod and a Service of one side must share a namespace, or no flow could match."""
    for pod in filter(None, map(_namespace, pods)):
        for service in services:
            if _namespace(service) != pod:
                raise ValueError(f"namespace of service {quoted(service)} conflict with pod {quoted(pod)}")


def _namespace(name: str) -> str:
    return name.partition("/")[0] if "/" in name else ""


def build(uses: Sequence[tuple[FilterFlag | None, str]]) -> Mapping[str, list[flow_pb2.FlowFilter]]:
    """The allow list and the deny list of flags in the order given; a None stands for --not.

    Raises UsageError for a --not that has no flag behind it.
    """
    allow, deny, negated = FilterPair(), FilterPair(), False
    for flag, text in uses:
        if flag is None and negated:
            raise UsageError('invalid argument "true" for "--not" flag: consecutive --not statements')
        if flag is None:
            negated = True
            continue
        (deny if negated else allow).add(flag, text)
        negated = False
    if negated:
        raise UsageError("trailing --not found in the arguments")
    return {"allowlist": allow.filters(), "denylist": deny.filters()}
