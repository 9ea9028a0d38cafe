"""Values of filter flags: text to what a field of FlowFilter holds; ValueError says what is accepted."""

from __future__ import annotations

from collections.abc import Mapping

from daemon.cli.words import AGENT_EVENTS, EVENT_TYPES, TRACE_POINTS, identity_number
from daemon.proto import flow_pb2

_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "NS")
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
    return _enum(flow_pb2.Verdict, text, "a verdict")


def drop_reason(text: str) -> int:
    """A drop reason by its exact name."""
    return _enum(flow_pb2.DropReason, text, "a drop reason")


def _enum(enum: object, text: str, what: str) -> int:
    known = enum.keys()  # type: ignore[attr-defined]
    if text not in known:
        examples = ", ".join(list(known)[1:8])
        raise ValueError(f"{text!r} is not {what}; there are {examples}{' …' if len(known) > 8 else ''}")
    return int(enum.Value(text))  # type: ignore[attr-defined]


def direction(text: str) -> int:
    """ingress or egress."""
    try:
        return {"ingress": flow_pb2.INGRESS, "egress": flow_pb2.EGRESS}[text.lower()]
    except KeyError:
        raise ValueError(f"{text}: invalid traffic direction, expected ingress or egress") from None


def ip_version(text: str) -> int:
    """v4, v6; anything else means frames that are not IP."""
    return {"v4": flow_pb2.IPv4, "v6": flow_pb2.IPv6}.get(text.lower(), flow_pb2.IP_NOT_USED)


def flag(text: str) -> bool:
    """true or false."""
    return text == "true"


def positive(text: str) -> int:
    """A number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{text!r} is not a number greater than 0")
    return int(text)


def interface(text: str) -> flow_pb2.NetworkInterface:
    """A device by name."""
    return flow_pb2.NetworkInterface(name=text)


def header(text: str) -> flow_pb2.HTTPHeader:
    """`name:value`."""
    key, colon, value = text.partition(":")
    if not colon or not key:
        raise ValueError(f"{text!r}, expected name:value")
    return flow_pb2.HTTPHeader(key=key, value=value)


def tcp_flags(text: str) -> flow_pb2.TCPFlags:
    """Flags that must all be set: `SYN,ACK`, any case."""
    found = flow_pb2.TCPFlags()
    for name in text.upper().split(","):
        if name not in _TCP_FLAGS:
            raise ValueError(f"unknown tcp flag: {name}; there are {', '.join(_TCP_FLAGS)}")
        setattr(found, name, True)
    return found


def event_type(text: str) -> flow_pb2.EventTypeFilter:
    """`trace`, `trace:to-endpoint`, `drop:133`, `129`."""
    name, colon, sub = text.partition(":")
    kind = EVENT_TYPES.get(name)
    if kind is None:
        kind = _number(name, f"type {name!r} is unknown; there are {', '.join(sorted(EVENT_TYPES))}, or a number")
    if not colon:
        return flow_pb2.EventTypeFilter(type=kind)
    return flow_pb2.EventTypeFilter(type=kind, match_sub_type=True, sub_type=_sub_type(name, sub))


def _sub_type(name: str, sub: str) -> int:
    known = {text: number for number, text in _SUB_TYPES.get(name, {}).items()}
    if sub in known:
        return known[sub]
    return _number(sub, f"sub-type {sub!r} of {name} is unknown; there are {', '.join(known) or 'numbers'}")


def _number(text: str, otherwise: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 31:
        raise ValueError(otherwise)
    return int(text)
