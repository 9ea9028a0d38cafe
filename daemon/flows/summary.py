"""Who talks to whom: flows added up to one line for each pair of client, server and protocol.

Works on `flow.Flow`, so it serves whoever has flows: the agent, a client that reads them from the API, a file. Where
both ends of a connection are on one host every packet is seen twice, once leaving and once arriving. Both views are
kept apart and the fuller one is told, so nothing counts double.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from daemon.flows import wrong
from daemon.flows.sample import LatencySample
from daemon.proto import flow_pb2

WIDTH = 100
_PAIRS = 4_096  # pairs that are kept apart; the rest is told as one
_SAMPLES = 4_096  # latencies that are kept of one view of a pair
_HEADINGS = ("CLIENT", "SERVER", "PROTOCOL", "REQUESTS", "ERRORS", "P50", "P99")
_FLEXIBLE = 2  # the first columns give way when the table is too wide
_GAP = 2
_APPLICATIONS = frozenset({"HTTP", "DNS", "TLS"})


class Pair(NamedTuple):
    """Names of both ends, `namespace/pod`, a DNS name or an address; `protocol` is HTTP, DNS, TLS, TCP, UDP …"""

    client: str
    server: str
    protocol: str


OTHERS = Pair("(others)", "(others)", "")


@dataclass(frozen=True, slots=True)
class PairSummary:
    """Totals of a pair. A request is an HTTP, DNS or TLS answer, a query without one, a TCP attempt, or a first packet.

    Errors are HTTP 4xx and 5xx, DNS codes other than 0, drops, and connections that failed.
    Latencies are ns, None where nothing was measured.
    """

    pair: Pair
    requests: int
    errors: int
    p50: int | None
    p99: int | None


@dataclass(slots=True)
class _View:
    """What was seen of a pair from one side."""

    requests: int = 0
    errors: int = 0
    latencies: LatencySample = field(default_factory=lambda: LatencySample(_SAMPLES))


class TrafficSummary:
    """Adds up flows; of bounded size whatever is added."""

    def __init__(self) -> None:
        self._views: dict[Pair, dict[int, _View]] = {}
        self._chance = random.Random(0)

    def add(self, flow: flow_pb2.Flow) -> None:
        """Count one flow."""
        weight, failed = weigh(flow)
        if not weight and not failed:
            return
        pair = pair_of(flow)
        if pair not in self._views and len(self._views) >= _PAIRS:
            pair = OTHERS
        view = self._views.setdefault(pair, {}).setdefault(flow.traffic_direction, _View())
        view.requests += weight
        view.errors += failed
        if flow.l7.latency_ns:
            view.latencies.measure(flow.l7.latency_ns, self._chance)

    def pairs(self) -> tuple[PairSummary, ...]:
        """All pairs, the busiest first; a transport that only carried the messages of another line is left out."""
        spoken = {pair[:2] for pair in self._views if pair.protocol in _APPLICATIONS}
        told = [_told(pair, views.values()) for pair, views in self._views.items()]
        told = [summary for summary in told if summary.errors or not _is_carrier(summary.pair, spoken)]
        return tuple(sorted(told, key=lambda summary: (-summary.requests, summary.pair)))


def render(pairs: Sequence[PairSummary], width: int = WIDTH) -> str:
    """A table of at most `width` columns; long names are cut in the middle."""
    rows = [_HEADINGS, *(_cells(summary) for summary in pairs)]
    widths = _fitted([max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))], width)
    return "\n".join(_line(row, widths) for row in rows)


def duration_text(nanoseconds: int | None) -> str:
    """`325ms`, `1.2s`, `80µs`; a dash where nothing was measured."""
    if nanoseconds is None:
        return "-"
    if nanoseconds < 1_000_000:
        return f"{nanoseconds // 1_000}µs"
    if nanoseconds < 10_000_000:
        return f"{nanoseconds / 1e6:.1f}ms"
    return f"{nanoseconds // 1_000_000}ms" if nanoseconds < 1_000_000_000 else f"{nanoseconds / 1e9:.1f}s"


def _is_carrier(pair: Pair, spoken: set[tuple[str, str]]) -> bool:
    return pair.protocol not in _APPLICATIONS and pair[:2] in spoken


def _told(pair: Pair, views: Iterable[_View]) -> PairSummary:
    """The fuller view of both; failures are told from one side only, which may be the other one."""
    sides = list(views)
    fullest = max(sides, key=lambda view: (view.requests, view.errors))
    errors, latencies = max(view.errors for view in sides), fullest.latencies
    return PairSummary(pair, fullest.requests, errors, latencies.quantile(0.5), latencies.quantile(0.99))


def weigh(flow: flow_pb2.Flow) -> tuple[int, bool]:
    """How many requests a flow stands for, and whether it is an error."""
    failed = bool(wrong.reason(flow))
    if flow.Type == flow_pb2.FlowType.L7:
        return int(failed or flow.l7.type == flow_pb2.L7FlowType.RESPONSE), failed
    if flow.verdict == flow_pb2.Verdict.DROPPED:
        return 0, True
    if flow.l4.WhichOneof("protocol") == "TCP":
        flags = flow.l4.TCP.flags
        return int(flags.SYN and not flags.ACK and not flow.is_reply.value), failed
    return int(flow.trace_reason == flow_pb2.TraceReason.NEW), failed


def pair_of(flow: flow_pb2.Flow) -> Pair:
    """Who talks to whom in a flow, the client first whoever sends."""
    source = _name(flow.source, flow.source_names, flow.IP.source)
    destination = _name(flow.destination, flow.destination_names, flow.IP.destination)
    ends = (destination, source) if flow.is_reply.value else (source, destination)
    return Pair(*ends, _protocol(flow))


def _protocol(flow: flow_pb2.Flow) -> str:
    """The protocol that a flow is told under; `flow.Layer7` has no words for TLS, its summary does."""
    record, transport = flow.l7.WhichOneof("record"), flow.l4.WhichOneof("protocol")
    if flow.Type == flow_pb2.FlowType.L7 and not record and flow.Summary.startswith("TLS "):
        return "TLS"
    return record.upper() if record else transport or "other"


def _name(endpoint: flow_pb2.Endpoint, names: Sequence[str], address: str) -> str:
    if endpoint.pod_name:
        return f"{endpoint.namespace}/{endpoint.pod_name}" if endpoint.namespace else endpoint.pod_name
    return names[0] if names else address


def _cells(summary: PairSummary) -> tuple[str, ...]:
    counts = (str(summary.requests), str(summary.errors))
    return (*summary.pair, *counts, duration_text(summary.p50), duration_text(summary.p99))


def _fitted(widths: list[int], width: int) -> list[int]:
    """Widths of the columns, the names shortened alike until the table fits."""
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    while excess > 0:
        widest = max(range(_FLEXIBLE), key=lambda column: widths[column])
        if widths[widest] <= len(_HEADINGS[widest]):
            break
        widths[widest] -= 1
        excess -= 1
    return widths


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Names and protocol to the left, numbers to the right."""
    cells = [
        _cut(cell, width).ljust(width) if column <= _FLEXIBLE else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return (" " * _GAP).join(cells).rstrip()


def _cut(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"
