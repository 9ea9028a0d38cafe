"""Values of filter flags: text to what a field of FlowFilter holds; ValueError says what is accepted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from daemon.cli.words import AGENT_EVENTS, EVENT_TYPES, TRACE_POINTS, identity_number
from daemon.proto import flow_pb2

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0|[1-9][0-9]*")
_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "NS")
_IP_VERSIONS = {
    f"{word}{digit}": version
    for word in ("", "v", "ip", "ipv")
    for digit, version in (("4", flow_pb2.IPv4), ("6", flow_pb2.IPv6))
}
_SUB_TYPES: Mapping[str, Mapping[int, str]] = {"trace": TRACE_POINTS, "agent": AGENT_EVENTS}


def identity(text: str) -> int:
    """An identity's number, from its number or reserved name."""
    return identity_number(text)


def workload(text: str) -> flow_pb2.Workload:
    """`name`, `Kind/name` or `Kind/`."""
    kind, slash, name = text.rpartition("/")
    return flow_pb2.Workload(kind=kind if slash else "", name=name)


def verdict(text: str) -> int:
    """A verdict by its exact name."""
    if text not in flow_pb2.Verdict.keys():  # noqa: SIM118 - no mapping
        raise ValueError(f"invalid --verdict value: {text}")
    return flow_pb2.Verdict.Value(text)


def drop_reason(text: str) -> int:
    """A drop reason by its exact name."""
    if not text:
        raise ValueError("empty --drop-reason-desc value")
    if text not in flow_pb2.DropReason.keys():  # noqa: SIM118 - no mapping
        raise ValueError(f"invalid --drop-reason-desc value: {text}")
    return flow_pb2.DropReason.Value(text)


def direction(text: str) -> int:
    """ingress or egress."""
    try:
        return {"ingress": flow_pb2.INGRESS, "egress": flow_pb2.EGRESS}[text.lower()]
    except KeyError:
        raise ValueError(f"{text}: invalid traffic direction, expected ingress or egress") from None


def ip_version(text: str) -> int:
    """v4, v6; anything else means frames that are not IP."""
    return _IP_VERSIONS.get(text.lower(), flow_pb2.IP_NOT_USED)


def flag(text: str) -> bool:
    """true or false."""
    return text == "true"


def trace_number(text: str) -> int:
    """A number above 0."""
    number = int(text, 0) if _NUMBER.fullmatch(text) else -1
    if number < 0 or number >= 1 << 64:
        raise ValueError(f"invalid --ip-trace-id value: {parse_error(text, number >= 0)}")
    if not number:
        raise ValueError("invalid --ip-trace-id value; must be greater than 0")
    return number


def parse_error(text: str, too_large: bool) -> str:
    """What Go says of a text that is no unsigned number."""
    return f"strconv.ParseUint: parsing {json.dumps(text)}: {'value out of range' if too_large else 'invalid syntax'}"


def interface(text: str) -> flow_pb2.NetworkInterface:
    """A device by name."""
    return flow_pb2.NetworkInterface(name=text)


def header(text: str) -> flow_pb2.HTTPHeader:
    """`name:value`."""
    key, colon, value = text.partition(":")
    if not colon:
        raise ValueError(f"invalid http-header value {json.dumps(text)}, expected name:value")
    return flow_pb2.HTTPHeader(key=key, value=value)


def tcp_flags(text: str) -> flow_pb2.TCPFlags:
    """Flags that must all be set: `SYN,ACK`, any case."""
    found = flow_pb2.TCPFlags()
    for name in text.upper().split(","):
        if name not in _TCP_FLAGS:
            raise ValueError(f"unknown tcp flag: {name}")
        setattr(found, name, True)
    return found


def event_type(text: str) -> flow_pb2.EventTypeFilter:
    """`trace`, `trace:to-endpoint`, `drop:133`, `129`."""
    name, colon, sub = text.partition(":")
    kind = EVENT_TYPES.get(name)
    if kind is None:
        kind = _number(name, f"unable to parse type '{name}', not a known type name")
    if not colon:
        return flow_pb2.EventTypeFilter(type=kind)
    return flow_pb2.EventTypeFilter(type=kind, match_sub_type=True, sub_type=_sub_type(name, sub))


def _sub_type(name: str, sub: str) -> int:
    known = {text: number for number, text in _SUB_TYPES.get(name, {}).items()}
    if sub in known:
        return known[sub]
    return _number(sub, f"unable to parse event sub-type '{sub}', not a known sub-type name")


def _number(text: str, otherwise: str) -> int:
    digits = text.isascii() and text.isdecimal()
    if not digits or int(text) >= 1 << 31:
        raise ValueError(f"{otherwise} and unable to parse as numeric value: {parse_error(text, digits)}")
    return int(text)
