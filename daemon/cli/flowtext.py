"""The parts of a flow as short texts: host, identity, type, verdict, summary.

Each output format arranges the same texts, so they are made in one place. Text
that came from the network is escaped: nobody's DNS name may move the cursor of
an operator's terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from daemon.cli import times
from daemon.cli.words import DROPS, POLICY_MATCHES, RESERVED_IDENTITIES, SOCKET_POINTS, TRACE_POINTS
from daemon.proto import flow_pb2

_VERDICT_COLOURS = {"FORWARDED": 32, "REDIRECTED": 32, "DROPPED": 31, "ERROR": 31}
_POLICY_WORDS = {
    "FORWARDED": "ALLOWED",
    "REDIRECTED": "ALLOWED",
    "DROPPED": "DENIED",
    "ERROR": "DENIED",
    "AUDIT": "AUDITED",
}
_CYAN, _YELLOW, _MAGENTA, _GREEN, _RED = 36, 33, 35, 32, 31


def escape(text: str) -> str:
    """Text without control sequences: ESC becomes ^[ and CR becomes \\r."""
    return text.replace("\x1b", "^[").replace("\r", "\\r")


def enum_name(enum: object, number: int) -> str:
    """The name of an enum's value, the number for one that is not known."""
    values = enum.DESCRIPTOR.values_by_number  # type: ignore[attr-defined]
    return str(values[number].name) if number in values else str(number)


@dataclass(frozen=True, slots=True)
class FlowText:
    """How flows are told: with or without names, colours, policy names; times in one layout."""

    names: bool = True
    colour: bool = False
    policy_names: bool = False
    layout: Callable[[Timestamp], str] = field(default=times.LAYOUTS["StampMilli"])

    def paint(self, code: int, text: str) -> str:
        """`text` in an ANSI colour, or as it is."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    def time(self, stamp: Timestamp) -> str:
        """A time in the chosen layout, N/A for one that was not sent."""
        return self.layout(stamp) if stamp.seconds or stamp.nanos else "N/A"

    def source(self, flow: flow_pb2.Flow) -> str:
        """Sender of this packet."""
        return self._side(flow, flow.source, flow.source_service, flow.IP.source, flow.source_names, "source")

    def destination(self, flow: flow_pb2.Flow) -> str:
        """Receiver of this packet."""
        names = flow.destination_names
        return self._side(flow, flow.destination, flow.destination_service, flow.IP.destination, names, "destination")

    def _side(
        self,
        flow: flow_pb2.Flow,
        endpoint: flow_pb2.Endpoint,
        service: flow_pb2.Service,
        address: str,
        names: Iterable[str],
        side: str,
    ) -> str:
        if not flow.HasField("IP"):
            return self.paint(_CYAN, escape(getattr(flow.ethernet, side)))
        host = (self.names and _name(endpoint, service, names)) or address
        port = _port(flow, side)
        if not port:
            return self.paint(_CYAN, escape(host))
        host = f"[{host}]" if ":" in host else host
        return self.paint(_CYAN, f"{escape(host)}:{self.paint(_YELLOW, str(port))}")

    def identity(self, endpoint: flow_pb2.Endpoint) -> str:
        """`(world)` for reserved identities, `(ID:4711)` for others."""
        name = RESERVED_IDENTITIES.get(endpoint.identity) or f"ID:{endpoint.identity}"
        return self.paint(_MAGENTA, f"({name})")

    def verdict(self, flow: flow_pb2.Flow) -> str:
        """What became of the packet; policy verdicts in the words of a policy."""
        name = enum_name(flow_pb2.Verdict, flow.verdict)
        word = name
        if flow.event_type.type == 5:
            word = _POLICY_WORDS.get(name, name)
            word += self._policies(flow, word) if self.policy_names else ""
        return self.paint(_VERDICT_COLOURS.get(name, _YELLOW), word)

    def _policies(self, flow: flow_pb2.Flow, word: str) -> str:
        side = {1: "ingress", 2: "egress"}.get(flow.traffic_direction)
        effect = {"ALLOWED": "allowed", "DENIED": "denied"}.get(word)
        if not side or not effect:
            return ""
        policies = getattr(flow, f"{side}_{effect}_by")
        named = [f"{policy.name} ({policy.kind})" for policy in policies if policy.name and policy.kind]
        return escape(" BY " + ", ".join(named)) if named else ""

    def summary(self, flow: flow_pb2.Flow) -> str:
        """The flow in a few words, with trace number and authentication around them."""
        parts = [f"IP Trace ID: {flow.ip_trace_id.trace_id}"] if flow.ip_trace_id.trace_id else []
        parts.append(escape(flow.Summary))
        if flow.auth_type:
            colour = _RED if flow.auth_type == flow_pb2.TEST_ALWAYS_FAIL else _GREEN
            parts.append("Auth: " + self.paint(colour, enum_name(flow_pb2.AuthType, flow.auth_type)))
        return "; ".join(parts)


def _name(endpoint: flow_pb2.Endpoint, service: flow_pb2.Service, names: Iterable[str]) -> str:
    """namespace/pod, namespace/service or DNS names; empty when none is known."""
    namespace = service.namespace or endpoint.namespace if service.name else endpoint.namespace
    name = endpoint.pod_name or service.name
    if name:
        return f"{namespace}/{name}" if namespace else name
    return ",".join(names)


def _port(flow: flow_pb2.Flow, side: str) -> int:
    protocol = flow.l4.WhichOneof("protocol")
    if protocol not in ("TCP", "UDP", "SCTP"):
        return 0
    return int(getattr(getattr(flow.l4, protocol), f"{side}_port"))


def type_text(flow: flow_pb2.Flow) -> str:
    """What kind of event it was: `http-request`, `to-endpoint`, `Policy denied`."""
    return escape(_l7_type(flow) if flow.HasField("l7") else _event_type(flow))


def _l7_type(flow: flow_pb2.Flow) -> str:
    protocol = flow.l7.WhichOneof("record") or "l7"
    role = enum_name(flow_pb2.L7FlowType, flow.l7.type).lower()
    seen_by = f" {flow.l7.dns.observation_source}" if protocol == "dns" else ""
    return f"{protocol}-{role}{seen_by}"


def _event_type(flow: flow_pb2.Flow) -> str:
    kind, sub = flow.event_type.type, flow.event_type.sub_type
    if kind == 4:
        return TRACE_POINTS.get(sub, str(sub))
    if kind == 1:
        return DROPS.get(sub, f"{sub}, 0")
    if kind == 5:
        match = POLICY_MATCHES.get(flow.policy_match_type, "unknown")
        return f"policy-verdict:{match} {enum_name(flow_pb2.TrafficDirection, flow.traffic_direction)}"
    if kind == 3:
        return enum_name(flow_pb2.DebugCapturePoint, flow.debug_capture_point)
    if kind == 7:
        point = flow.sock_xlate_point
        return SOCKET_POINTS.get(point) or enum_name(flow_pb2.SocketTranslationPoint, point)
    return "UNKNOWN"


def lost_summary(lost: flow_pb2.LostEvent, text: FlowText, separator: str) -> str:
    """`CPU(2) - 17 (first: …, last: …)`: how many were lost and when."""
    span = ""
    if lost.HasField("first") and lost.HasField("last"):
        span = f" (first: {text.time(lost.first)}, last: {text.time(lost.last)})"
    return f"CPU({lost.cpu.value}){separator}{lost.num_events_lost}{span}"
