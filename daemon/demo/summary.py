"""The end of the demo in a few lines: who talked to whom, how often, how fast, and what went wrong.

Both ends of every connection are workloads of this node, so every packet is seen twice. Only what was seen on the
client's device is counted, which is also where a client's latency is measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from daemon.proto import flow_pb2

_TOP = ("who talks to whom", "requests", "p50", "p99", "errors")
_RCODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
_MS = 1e6  # ns

Tuple = tuple[str, int, str, int]


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """A client, whom it talked to, and how: "HTTP", "DNS" or "TCP"."""

    client: str
    server: str
    protocol: str


@dataclass(slots=True)
class Talk:
    """What was exchanged; latencies in ns. Behind a Service, also how much of it with which of its pods."""

    latencies: list[int] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    pods: dict[str, Talk] = field(default_factory=dict)

    def note(self, answer: flow_pb2.Layer7) -> None:
        """Count a response."""
        self.latencies.append(answer.latency_ns)
        if answer.http.code >= 400:
            self.errors[str(answer.http.code)] += 1
        if answer.dns.rcode:
            self.errors[_RCODES.get(answer.dns.rcode, f"rcode {answer.dns.rcode}")] += 1

    def percentile(self, share: float) -> str:
        """`12ms`, or "" when nothing was measured."""
        ordered = sorted(self.latencies)
        return milliseconds(ordered[min(len(ordered) - 1, int(len(ordered) * share))]) if ordered else ""


@dataclass(slots=True)
class Summary:
    """Talks by pair, and how many flows told of them."""

    talks: dict[Pair, Talk] = field(default_factory=dict)
    flows: int = 0

    @classmethod
    def of(cls, flows: Iterable[flow_pb2.Flow]) -> Summary:
        """Count flows, oldest first."""
        summary = cls()
        answered: set[Tuple] = set()
        for flow in flows:
            summary.flows += 1
            if flow.verdict == flow_pb2.DROPPED:
                summary._count_drop(flow)
            elif flow.traffic_direction == flow_pb2.EGRESS:
                summary._count(flow, answered)
        return summary

    def _count(self, flow: flow_pb2.Flow, answered: set[Tuple]) -> None:
        if flow.Type == flow_pb2.L7 and flow.l7.type == flow_pb2.RESPONSE:
            kind = "DNS" if flow.l7.HasField("dns") else "HTTP"
            talk = self.talks.setdefault(Pair(_name(flow.destination), _asked_for(flow), kind), Talk())
            talk.note(flow.l7)
            if flow.source_service.name:
                talk.pods.setdefault(_name(flow.source), Talk()).note(flow.l7)
        elif flow.is_reply.value and flow.l4.HasField("TCP"):
            self._count_refusal(flow, answered)

    def _count_drop(self, flow: flow_pb2.Flow) -> None:
        """What a policy denies is told by the device of the end that it binds."""
        denied = flow.ingress_denied_by or flow.egress_denied_by
        if denied and flow.l4.HasField("TCP"):
            server = f"{_name(flow.destination)}:{flow.l4.TCP.destination_port}"
            talk = self.talks.setdefault(Pair(_name(flow.source), server, "TCP"), Talk())
            talk.errors[f"denied by {denied[0].namespace}/{denied[0].name}"] += 1

    def _count_refusal(self, flow: flow_pb2.Flow, answered: set[Tuple]) -> None:
        """A reset in answer to a connection's first packet; one after a handshake is just a quick end."""
        tcp = flow.l4.TCP
        key = (flow.IP.source, tcp.source_port, flow.IP.destination, tcp.destination_port)
        if tcp.flags.SYN:
            answered.add(key)
        elif tcp.flags.RST and key not in answered:
            pair = Pair(_name(flow.destination), f"{_asked_for(flow)}:{tcp.source_port}", "TCP")
            self.talks.setdefault(pair, Talk()).errors["refused"] += 1


def text(summary: Summary) -> str:
    """The summary as a table of at most 100 columns."""
    rows = [row for pair in sorted(summary.talks) for row in _rows(pair, summary.talks[pair])]
    total = f"{summary.flows} flows seen"
    if not rows:
        return f"{total}, but no request among them; the agent's log says why"
    widths = [max(map(len, column)) for column in zip(_TOP, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (_TOP, *rows)]
    return "\n".join(line.rstrip() for line in (*lines, "", total))


def milliseconds(latency: int) -> str:
    """`325ms`, and with a digit more below ten."""
    value = latency / _MS
    return f"{value:.0f}ms" if value >= 10 else f"{value:.1f}ms"


def _rows(pair: Pair, talk: Talk) -> Iterator[Sequence[str]]:
    yield _row(f"{pair.client} -> {pair.server} ({pair.protocol})", talk)
    if len(talk.pods) > 1:
        yield from (_row(f"    by {pod}", talk.pods[pod]) for pod in sorted(talk.pods))


def _row(who: str, talk: Talk) -> Sequence[str]:
    errors = ", ".join(f"{count} x {what}" for what, count in sorted(talk.errors.items()))
    requests = str(len(talk.latencies)) if talk.latencies else ""
    return who, requests, talk.percentile(0.50), talk.percentile(0.99), errors


def _asked_for(reply: flow_pb2.Flow) -> str:
    """The Service that the client asked, or who answered where it asked for none."""
    service = reply.source_service
    return f"{service.namespace}/{service.name}" if service.name else _name(reply.source)


def _name(endpoint: flow_pb2.Endpoint) -> str:
    if endpoint.pod_name:
        return f"{endpoint.namespace}/{endpoint.pod_name}"
    return next((label.removeprefix("reserved:") for label in endpoint.labels), "unknown")
