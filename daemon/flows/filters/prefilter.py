"""A first look at columns, so that only records that may match are told as flows.

Each field that columns can judge becomes a mask; all masks of a filter are AND-ed. A mask may let too much pass, for
the predicate looks at every flow again, but it must never hold back a flow that the predicate would take. So fields
that are not in the table pass everything, and so does an end whose workload has no name yet. Names are looked up for
every batch, as they change while a client follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network
from typing import Any

import numpy as np

from daemon.flows import texts
from daemon.flows.builder import endpoint_of
from daemon.flows.filters.compile import Predicate, compile_filter
from daemon.flows.filters.ends import parse_addresses, parse_port
from daemon.flows.filters.lookups import by_number, looked_up
from daemon.flows.names import DnsNames
from daemon.flows.record import RowArray
from daemon.model import Directory
from daemon.proto import flow_pb2
from ebpf import addresses
from ebpf.constants import EventKind, Verdict

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Masker = Callable[[RowArray], Mask]

_EVENT_DROP, _EVENT_TRACE, _EVENT_POLICY, _EVENT_L7 = 1, 4, 5, 129
_PROTOCOLS = {
    "icmp": (texts.ICMP, texts.ICMPV6),
    "icmpv4": (texts.ICMP,),
    "icmpv6": (texts.ICMPV6,),
    "tcp": (texts.TCP,),
    "udp": (texts.UDP,),
    "sctp": (texts.SCTP,),
    "vrrp": (texts.VRRP,),
    "igmp": (texts.IGMP,),
}
_MESSAGE_FIELDS = ("http_status_code", "http_method", "http_path", "http_url", "http_header", "dns_query")
_END_FIELDS = ("pod", "identity", "workload", "label")


def prefilter_any(
    filters: Sequence[flow_pb2.FlowFilter], directory: Directory, names: DnsNames | None = None
) -> Masker:
    """The mask (n,) bool of records that a whitelist may accept; an empty one may accept all. Raises FilterError."""
    maskers = [prefilter(entry, directory, names) for entry in filters]
    if not maskers:
        return _everything
    return lambda rows: np.logical_or.reduce([masker(rows) for masker in maskers])


def prefilter(wanted: flow_pb2.FlowFilter, directory: Directory, names: DnsNames | None = None) -> Masker:
    """The mask (n,) bool of records (n,) that one filter may match. Raises FilterError."""
    maskers = [rule(values) for field, rule in _RULES.items() if (values := getattr(wanted, field))]
    maskers += [_messages for field in _MESSAGE_FIELDS if getattr(wanted, field)]
    for end, column in (("source", "src_workload"), ("destination", "dst_workload")):
        part = _end_part(wanted, end)
        if part.ByteSize():
            maskers.append(_by_workload(column, end, compile_filter(part), directory))
    maskers += looked_up(wanted, directory, names)

    def mask(rows: RowArray) -> Mask:
        passed = _everything(rows)
        for masker in maskers:
            passed &= masker(rows)
            if not passed.any():
                break
        return passed

    return mask


def _everything(rows: RowArray) -> Mask:
    return np.ones(len(rows), np.bool_)


def _messages(rows: RowArray) -> Mask:
    return _is(rows["kind"] == EventKind.L7)


def _end_part(wanted: flow_pb2.FlowFilter, end: str) -> flow_pb2.FlowFilter:
    """The fields of a filter that ask who one end is."""
    part = flow_pb2.FlowFilter()
    for field in _END_FIELDS:
        getattr(part, f"{end}_{field}").extend(getattr(wanted, f"{end}_{field}"))
    return part


def _by_workload(column: str, end: str, predicate: Predicate, directory: Directory) -> Masker:
    """Asks the predicate once for each workload of a batch, with a flow that has nothing but this end."""

    def passes(number: int) -> bool:
        workload = directory.by_id(number)
        if workload is None:
            return True
        flow = flow_pb2.Flow()
        getattr(flow, end).CopyFrom(endpoint_of(workload))
        return predicate(flow)

    return by_number(column, passes, directory)


def _by_address(column: str, values: Iterable[str]) -> Masker:
    singles, prefixes = parse_addresses(values)
    ranges = [_range(addresses.pack(text), 128) for text in singles]
    for prefix in prefixes:
        width = 96 if prefix.version == 4 else 0
        ranges.append(_range(addresses.pack(prefix.network_address), width + prefix.prefixlen))

    def mask(rows: RowArray) -> Mask:
        column_values = rows[column]
        hits = [((column_values & bits) == network).all(axis=1) for network, bits in ranges]
        return _is(np.logical_or.reduce(hits))

    return mask


def _range(packed: bytes, length: int) -> tuple[RowArray, RowArray]:
    """An address and the mask of its prefix, both (4,) uint32 as they lie in a record."""
    bits = ip_network(f"::/{length}").netmask.packed
    mask = np.frombuffer(bits, np.uint32)
    return np.frombuffer(packed, np.uint32) & mask, mask


def _by_port(column: str, values: Iterable[str]) -> Masker:
    wanted = np.array([parse_port(value) for value in values], np.uint16)
    return lambda rows: np.isin(rows[column], wanted)


def _by_column(column: str) -> Callable[[Iterable[int]], Masker]:
    def rule(values: Iterable[int]) -> Masker:
        wanted = np.array([value for value in values if 0 <= value < 256], np.uint8)
        return lambda rows: np.isin(rows[column], wanted)

    return rule


def _by_protocol(values: Iterable[str]) -> Masker:
    names = [value.lower() for value in values]
    numbers = np.array([number for name in names for number in _PROTOCOLS.get(name, ())], np.uint8)
    messages = any(name not in _PROTOCOLS for name in names)

    def mask(rows: RowArray) -> Mask:
        passed = np.isin(rows["proto"], numbers)
        return passed | _messages(rows) if messages else passed

    return mask


def _by_event_type(entries: Iterable[flow_pb2.EventTypeFilter]) -> Masker:
    wanted = {entry.type for entry in entries}

    def mask(rows: RowArray) -> Mask:
        if 0 in wanted:
            return _everything(rows)
        messages, dropped = _messages(rows), _is(rows["verdict"] == Verdict.DROPPED)
        kinds = {_EVENT_L7: messages, _EVENT_DROP: ~messages & dropped, _EVENT_TRACE: ~messages & ~dropped}
        kinds[_EVENT_POLICY] = _is(rows["verdict"] == int(flow_pb2.Verdict.AUDIT))
        return _is(np.logical_or.reduce([kinds[kind] for kind in wanted if kind in kinds] or [~_everything(rows)]))

    return mask


def _by_drop_reason(_: Iterable[int]) -> Masker:
    return lambda rows: _is(rows["verdict"] == Verdict.DROPPED)


def _by_tcp_flags(entries: Iterable[flow_pb2.TCPFlags]) -> Masker:
    wanted = {sum(bit for bit in texts.TcpFlag if getattr(entry, str(bit.name))) for entry in entries if not entry.NS}

    def mask(rows: RowArray) -> Mask:
        flags = rows["tcp_flags"]
        matched = [(flags & bits) == bits for bits in wanted]
        return _is((rows["proto"] == texts.TCP) & np.logical_or.reduce(matched or [~_everything(rows)]))

    return mask


def _by_ip_version(values: Iterable[int]) -> Masker:
    wanted = frozenset(values)
    ipv4, ipv6 = flow_pb2.IPVersion.IPv4 in wanted, flow_pb2.IPVersion.IPv6 in wanted
    return lambda rows: np.where(rows["family"] == 6, ipv6, ipv4)


def _is(comparison: Any) -> Mask:
    """A comparison of a column, told to the type checker."""
    mask: Mask = comparison
    return mask


_RULES: dict[str, Callable[[Any], Masker]] = {
    "source_ip": lambda values: _by_address("src", values),
    "destination_ip": lambda values: _by_address("dst", values),
    "source_port": lambda values: _by_port("src_port", values),
    "destination_port": lambda values: _by_port("dst_port", values),
    "verdict": _by_column("verdict"),
    "reply": _by_column("reply"),
    "traffic_direction": _by_column("direction"),
    "protocol": _by_protocol,
    "tcp_flags": _by_tcp_flags,
    "event_type": _by_event_type,
    "drop_reason_desc": _by_drop_reason,
    "ip_version": _by_ip_version,
}
