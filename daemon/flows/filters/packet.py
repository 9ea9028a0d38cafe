"""Rules for what is said of the packet itself: verdict, event, protocol, flags, interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from daemon.flows.filters.errors import FilterError, quoted
from daemon.proto import flow_pb2

Flow = flow_pb2.Flow
Predicate = Callable[[flow_pb2.Flow], bool]

EVENT_L7 = 129

_L4 = {
    "icmp": frozenset({"ICMPv4", "ICMPv6"}),
    "icmpv4": frozenset({"ICMPv4"}),
    "icmpv6": frozenset({"ICMPv6"}),
    "tcp": frozenset({"TCP"}),
    "udp": frozenset({"UDP"}),
    "sctp": frozenset({"SCTP"}),
    "vrrp": frozenset({"VRRP"}),
    "igmp": frozenset({"IGMP"}),
}
_L7 = frozenset({"dns", "http", "kafka"})

_FLAGS = tuple(field.name for field in flow_pb2.TCPFlags.DESCRIPTOR.fields)


def by_uuid(values: Iterable[str]) -> Predicate:
    wanted = frozenset(values)
    return lambda flow: flow.uuid in wanted


def by_event_type(entries: Iterable[flow_pb2.EventTypeFilter]) -> Predicate:
    """Type 0 is any type; the sub-type counts only when asked for, because 0 is a sub-type."""
    wanted = [(entry.type, entry.sub_type if entry.match_sub_type else None) for entry in entries]

    def match(flow: Flow) -> bool:
        event = flow.event_type
        return flow.HasField("event_type") and any(
            kind in (0, event.type) and sub_type in (None, event.sub_type) for kind, sub_type in wanted
        )

    return match


def by_verdict(values: Iterable[int]) -> Predicate:
    wanted = frozenset(values)
    return lambda flow: flow.verdict in wanted


def by_drop_reason(values: Iterable[int]) -> Predicate:
    wanted = frozenset(values)
    return lambda flow: flow.verdict == flow_pb2.Verdict.DROPPED and flow.drop_reason_desc in wanted


def by_reply(values: Iterable[bool]) -> Predicate:
    """Unknown never matches, except for drops: Hubble's UI takes those for requests."""
    wanted = frozenset(values)

    def match(flow: Flow) -> bool:
        known = flow.HasField("is_reply") or flow.verdict == flow_pb2.Verdict.DROPPED
        return known and flow.is_reply.value in wanted

    return match


def by_encrypted(values: Iterable[bool]) -> Predicate:
    wanted = frozenset(values)
    return lambda flow: flow.IP.encrypted in wanted


def by_protocol(values: Sequence[str]) -> Predicate:
    """Names of layer 4 or 7; a flow of layer 7 has both."""
    names = [value.lower() for value in values]
    for name, value in zip(names, values, strict=True):
        if name not in _L4 and name not in _L7:
            raise FilterError(f"unknown protocol: {quoted(value)}")
    l4 = frozenset().union(*(_L4[name] for name in names if name in _L4))
    l7 = frozenset(names) & _L7
    return lambda flow: flow.l4.WhichOneof("protocol") in l4 or flow.l7.WhichOneof("record") in l7


def by_tcp_flags(entries: Iterable[flow_pb2.TCPFlags]) -> Predicate:
    """Every flag of an entry must be set; others may be."""
    wanted = [tuple(flag for flag in _FLAGS if getattr(entry, flag)) for entry in entries]

    def match(flow: Flow) -> bool:
        if not flow.l4.TCP.HasField("flags"):
            return False
        flags = flow.l4.TCP.flags
        return any(all(getattr(flags, flag) for flag in entry) for entry in wanted)

    return match


def by_ip_version(values: Iterable[int]) -> Predicate:
    wanted = frozenset(values)
    return lambda flow: flow.IP.ipVersion in wanted


def by_trace_id(values: Iterable[str]) -> Predicate:
    wanted = frozenset(values)
    return lambda flow: flow.trace_context.parent.trace_id in wanted


def by_traffic_direction(values: Iterable[int]) -> Predicate:
    wanted = frozenset(values)
    return lambda flow: flow.traffic_direction in wanted


def by_interface(entries: Iterable[flow_pb2.NetworkInterface]) -> Predicate:
    wanted = [(entry.index, entry.name) for entry in entries]

    def match(flow: Flow) -> bool:
        return flow.HasField("interface") and any(
            index in (0, flow.interface.index) and name in ("", flow.interface.name) for index, name in wanted
        )

    return match


def by_ip_trace_id(values: Iterable[int]) -> Predicate:
    wanted = frozenset(values)
    return lambda flow: flow.ip_trace_id.trace_id in wanted


def node_labels(flow: Flow) -> Sequence[str]:
    return flow.node_labels
