"""Traffic of the last while, for a live view: who talks to whom, how much, how fast, and what goes wrong.

Flows are added up in slices of time that are dropped when they have grown old, so the view follows what happens. Where
both ends of a connection are on one host each packet is seen twice; both views are kept apart and the fuller one is
told. Bytes are differences of the totals that records carry; a connection that is first met in its middle counts from
there.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from daemon.flows import wrong
from daemon.flows.sample import LatencySample
from daemon.flows.summary import Pair, pair_of, weigh
from daemon.proto import flow_pb2, remora_pb2

_SLICE_NS = 1_000_000_000
_PAIRS = 8_192  # pairs of one slice; what goes beyond is added up as one
_CONNECTIONS = 65_536  # connections whose totals are remembered
_SAMPLES = 1_024  # latencies kept of one pair and slice
_OTHERS = Pair("(others)", "(others)", "")

Seen = tuple[Pair, int]


class Grouping(Enum):
    """What a row of the view stands for."""

    TALKERS = "talkers"
    SERVICES = "services"
    ERRORS = "errors"
    LATENCY = "latency"


@dataclass(slots=True)
class Amount:
    """What was seen of one pair from one side."""

    requests: int = 0
    errors: int = 0
    bytes: int = 0
    latencies: LatencySample = field(default_factory=lambda: LatencySample(_SAMPLES))
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, other: Amount) -> None:
        """Take in what another one holds."""
        self.requests += other.requests
        self.errors += other.errors
        self.bytes += other.bytes
        self.latencies.measured += other.latencies.measured
        self.latencies.kept += other.latencies.kept
        self.reasons.update(other.reasons)


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the view. Rates are per second, latencies ns, None where nothing was measured; `reason`: of errors."""

    client: str
    server: str
    protocol: str
    requests: int
    errors: int
    rate: float
    bytes_rate: float
    p50: int | None
    p90: int | None
    p99: int | None
    reason: str = ""

    @property
    def error_share(self) -> float:
        """Errors of a hundred requests."""
        return 100 * self.errors / max(self.requests, self.errors, 1)


class Traffic:
    """Adds up flows of the last `window` seconds (None: all); of bounded size whatever is added."""

    def __init__(self, window: float | None = None) -> None:
        self.flows = 0
        """flows added since the start"""
        self._window = None if window is None else int(window * 1e9)
        self._slices: OrderedDict[int, dict[Seen, Amount]] = OrderedDict()
        self._totals: OrderedDict[tuple[object, ...], int] = OrderedDict()
        self._chance = random.Random(0)
        self._span = [0, 0]

    def add(self, flow: flow_pb2.Flow, extra: remora_pb2.FlowExtra) -> None:
        """Count one flow."""
        at = flow.time.seconds * 10**9 + flow.time.nanos
        self.flows += 1
        self._span = [min(self._span[0] or at, at), max(self._span[1], at)]
        weight, failed = weigh(flow)
        grown = self._grown(flow, extra)
        if not (weight or failed or grown):
            return
        amount = self._amount(0 if self._window is None else at // _SLICE_NS, (pair_of(flow), flow.traffic_direction))
        amount.requests += weight
        amount.errors += failed
        amount.bytes += grown
        if failed:
            amount.reasons[wrong.reason(flow)] += 1
        if flow.l7.latency_ns:
            amount.latencies.measure(flow.l7.latency_ns, self._chance)

    def lines(self, grouping: Grouping, now: int) -> list[Line]:
        """The view at `now` (ns since 1970), in no order."""
        merged = self._merged(now)
        seconds = max(self._seconds(now), 1e-9)
        if grouping is Grouping.ERRORS:
            return [line for pair, amount in merged.items() for line in _failures(pair, amount, seconds)]
        grouped: dict[Pair, Amount] = {}
        for pair, amount in merged.items():
            key = pair._replace(client="") if grouping is Grouping.SERVICES else pair
            grouped.setdefault(key, Amount()).add(amount)
        lines = [_line(pair, amount, seconds) for pair, amount in grouped.items()]
        return [line for line in lines if line.p50 is not None] if grouping is Grouping.LATENCY else lines

    def _amount(self, number: int, seen: Seen) -> Amount:
        part = self._slices.setdefault(number, {})
        if seen not in part and len(part) >= _PAIRS:
            seen = (_OTHERS, seen[1])
        return part.setdefault(seen, Amount())

    def _grown(self, flow: flow_pb2.Flow, extra: remora_pb2.FlowExtra) -> int:
        """Bytes that the flow's connection has carried since its record before."""
        total = extra.forward_bytes + extra.reverse_bytes
        if not total or flow.HasField("l7"):
            return 0
        ends = sorted(((flow.IP.source, _port(flow, "source")), (flow.IP.destination, _port(flow, "destination"))))
        key = (*ends, flow.l4.WhichOneof("protocol"), flow.interface.index)
        before = self._totals.pop(key, None)
        self._totals[key] = total
        if len(self._totals) > _CONNECTIONS:
            self._totals.popitem(last=False)
        if before is None or total < before:
            return total if flow.trace_reason == flow_pb2.TraceReason.NEW else 0
        return total - before

    def _merged(self, now: int) -> Mapping[Pair, Amount]:
        """The fuller view of each pair, over all slices that are young enough."""
        if self._window is not None:
            for number in [number for number in self._slices if number * _SLICE_NS < now - self._window]:
                del self._slices[number]
        views: dict[Seen, Amount] = {}
        for part in self._slices.values():
            for seen, amount in part.items():
                views.setdefault(seen, Amount()).add(amount)
        sides: dict[Pair, list[Amount]] = {}
        for (pair, _), amount in views.items():
            sides.setdefault(pair, []).append(amount)
        merged = {pair: _fullest(amounts) for pair, amounts in sides.items()}
        return merged

    def _seconds(self, now: int) -> float:
        """The time that the view covers."""
        first, last = self._span
        if self._window is None:
            return max((last - first) / 1e9, 1.0)
        return max(min(self._window, now - first) / 1e9, 1.0) if first else 1.0


def _fullest(sides: Sequence[Amount]) -> Amount:
    """The fuller view of both; failures are told from one side only, which may be the other one."""
    fullest = max(sides, key=lambda amount: (amount.requests, amount.bytes))
    failing = max(sides, key=lambda amount: amount.errors)
    if failing.errors == fullest.errors:
        return fullest
    return replace(fullest, errors=failing.errors, reasons=failing.reasons)


def _port(flow: flow_pb2.Flow, end: str) -> int:
    protocol = flow.l4.WhichOneof("protocol")
    return int(getattr(getattr(flow.l4, protocol), f"{end}_port", 0)) if protocol else 0


def _failures(pair: Pair, amount: Amount, seconds: float) -> Iterable[Line]:
    for reason, count in amount.reasons.items():
        yield Line(*pair, amount.requests, count, count / seconds, 0.0, None, None, None, reason)


def _line(pair: Pair, amount: Amount, seconds: float) -> Line:
    return Line(
        *pair,
        requests=amount.requests,
        errors=amount.errors,
        rate=amount.requests / seconds,
        bytes_rate=amount.bytes / seconds,
        p50=amount.latencies.quantile(0.5),
        p90=amount.latencies.quantile(0.9),
        p99=amount.latencies.quantile(0.99),
    )


Key = Callable[[Line], tuple[float, str, str]]

ORDERS: Mapping[str, Key] = {
    "rate": lambda line: (-line.rate, line.client, line.server),
    "bytes": lambda line: (-line.bytes_rate, line.client, line.server),
    "errors": lambda line: (-line.errors, line.client, line.server),
    "p50": lambda line: (-(line.p50 or 0), line.client, line.server),
    "p99": lambda line: (-(line.p99 or 0), line.client, line.server),
    "name": lambda line: (0.0, line.client, line.server),
}
"""How lines can be ordered."""

USUAL: Mapping[Grouping, str] = {
    Grouping.TALKERS: "bytes",
    Grouping.SERVICES: "rate",
    Grouping.ERRORS: "errors",
    Grouping.LATENCY: "p99",
}
"""How the lines of each grouping are ordered unless said otherwise."""
