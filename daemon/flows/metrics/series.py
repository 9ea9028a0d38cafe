"""Metrics with a limit on how many series they may grow, and their exposition as text.

A series' line is put into words once, when the series begins; a scrape only adds the numbers. Ten thousand series are
told in some ten milliseconds that way, and counting is an addition to a cell.

Whoever counts keeps cells; the cell beyond the limit is the same for all series that found no room. When series go,
because their workloads did or because a full metric has some that nobody counted in for long, cells that are marked as
gone must be asked for anew.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from itertools import accumulate
from typing import Generic, TypeVar

from daemon.flows.metrics.catalogue import Kind, Spec

SERIES_LIMIT = 2_000
"""Series of one metric: enough for the pairs of some hundred workloads, little enough for one scrape."""

IDLE_ROUNDS = 60
"""Rounds of cleaning without a count after which a full metric gives a series up: ten minutes."""

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class LostSource(Enum):
    """Where events were lost, as Hubble names the places."""

    KERNEL = "perf_event_ring_buffer"  # no room in the kernel's ring buffer
    QUEUE = "observer_events_queue"  # the agent could not keep up
    STORE = "hubble_ring_buffer"  # a reader of the API was overtaken


class Exemplar:
    """The trace of one counted request, as OpenMetrics tells it behind a sample."""

    __slots__ = ("_text",)

    def __init__(self, trace: str, value: float, seconds: float) -> None:
        self._text = f' # {{traceID="{_escape(trace)}"}} {value!r} {seconds:.3f}'.encode()

    def __bytes__(self) -> bytes:
        return self._text


class Cell:
    """One counter."""

    __slots__ = ("exemplar", "gone", "head", "idle", "pairs", "seen", "value")

    def __init__(self, spec: Spec, labels: str) -> None:
        self.head = f"{spec.name}{labels and f'{{{labels}}}'} ".encode()
        self.value = 0
        self.pairs: set[int] = set()
        self.exemplar: Exemplar | None = None
        self.seen = self.idle = 0
        self.gone = False

    @property
    def total(self) -> int:
        return self.value

    def lines(self, exemplars: bool) -> Iterator[bytes]:
        tail = bytes(self.exemplar) if exemplars and self.exemplar else b""
        yield b"%b%d%b\n" % (self.head, self.value, tail)


class HistogramCell:
    """One histogram: counts by bucket (not cumulated, the last one beyond all bounds) and the sum."""

    __slots__ = ("_bounds", "counts", "exemplars", "gone", "heads", "idle", "pairs", "seen", "sum")

    def __init__(self, spec: Spec, labels: str) -> None:
        self._bounds = spec.buckets
        before = f"{labels}," if labels else ""
        bounds = (*map(str, spec.buckets), "+Inf")
        self.heads = [f'{spec.name}_bucket{{{before}le="{bound}"}} '.encode() for bound in bounds]
        self.heads += [f"{spec.name}_{what}{labels and f'{{{labels}}}'} ".encode() for what in ("count", "sum")]
        self.counts = [0] * len(bounds)
        self.sum = 0.0
        self.pairs: set[int] = set()
        self.exemplars: dict[int, Exemplar] = {}
        self.seen = self.idle = 0
        self.gone = False

    @property
    def total(self) -> int:
        return sum(self.counts)

    def observe(self, value: float, exemplar: Exemplar | None = None) -> None:
        bucket = bisect_left(self._bounds, value)
        self.counts[bucket] += 1
        self.sum += value
        if exemplar:
            self.exemplars[bucket] = exemplar

    def add(self, bucket: int, count: int, total: float) -> None:
        """Many values of one bucket at once, and their sum."""
        self.counts[bucket] += count
        self.sum += total

    def lines(self, exemplars: bool) -> Iterator[bytes]:
        running = list(accumulate(self.counts))
        kept = self.exemplars if exemplars else {}
        for bucket, (head, count) in enumerate(zip(self.heads, running, strict=False)):
            yield b"%b%d%b\n" % (head, count, bytes(kept[bucket]) if bucket in kept else b"")
        yield b"%b%d\n" % (self.heads[-2], running[-1])
        yield b"%b%r\n" % (self.heads[-1], self.sum)


C = TypeVar("C", Cell, HistogramCell)


class Metric(Generic[C]):
    """Series by label values. Not thread-safe but for `text`."""

    def __init__(self, spec: Spec, kind: type[C], context: Sequence[str] = (), limit: int = SERIES_LIMIT) -> None:
        self.spec = spec
        self.names = (*context, *spec.labels)
        self._kind: Callable[[Spec, str], C] = kind
        self._limit = limit
        self._cells: dict[tuple[str, ...], C] = {}
        self._overflow: C = self._kind(spec, "")
        self._overflow.gone = True  # whoever keeps it should ask again when there may be room
        if not self.names:
            self.cell(())

    def cell(self, values: tuple[str, ...], pair: int | None = None) -> C:
        """The series with these values of `names`; `pair` is who talked, None for a series that nobody owns."""
        cell = self._cells.get(values)
        if cell is None:
            if len(self._cells) >= self._limit:
                return self._overflow
            words = (f'{name}="{_escape(value)}"' for name, value in zip(self.names, values, strict=True))
            cell = self._cells[values] = self._kind(self.spec, ",".join(words))
        if pair is not None:
            cell.pairs.add(pair)
        return cell

    @property
    def dropped(self) -> int:
        """Counts that found no room."""
        return self._overflow.total

    def __len__(self) -> int:
        return len(self._cells)

    def forget(self, pairs: set[int]) -> None:
        """Remove the series that only these pairs counted in."""
        for values, cell in list(self._cells.items()):
            if cell.pairs:
                cell.pairs -= pairs
                if not cell.pairs:
                    self._drop(values)

    def make_room(self) -> bool:
        """One round of cleaning: a metric that is full gives up what was idle for long; is any gone?"""
        before = len(self._cells)
        if before < self._limit:
            return False
        for values, cell in list(self._cells.items()):
            total = cell.total
            cell.idle = cell.idle + 1 if total == cell.seen else 0
            cell.seen = total
            if cell.idle >= IDLE_ROUNDS:
                self._drop(values)
        return len(self._cells) < before

    def _drop(self, values: tuple[str, ...]) -> None:
        self._cells.pop(values).gone = True

    def pairs(self) -> set[int]:
        """All who talked in a series that is there."""
        return {pair for cell in self._cells.values() for pair in cell.pairs}

    def text(self, openmetrics: bool) -> bytes:
        """The metric's part of an exposition; another thread may count meanwhile."""
        lines = [header(self.spec, openmetrics)]
        for cell in list(self._cells.values()):
            lines.extend(cell.lines(openmetrics))
        return b"".join(lines)


Counters = Metric[Cell]
Histograms = Metric[HistogramCell]


def counters(spec: Spec, context: Sequence[str] = (), limit: int = SERIES_LIMIT) -> Counters:
    return Metric(spec, Cell, context, limit)


def histograms(spec: Spec, context: Sequence[str] = (), limit: int = SERIES_LIMIT) -> Histograms:
    return Metric(spec, HistogramCell, context, limit)


def header(spec: Spec, openmetrics: bool) -> bytes:
    """The two lines before a metric's samples; OpenMetrics names a counter without its suffix."""
    counter = openmetrics and spec.kind is Kind.COUNTER
    name = spec.name.removesuffix("_total") if counter else spec.name
    return f"# HELP {name} {spec.words}\n# TYPE {name} {spec.kind.value}\n".encode()


def _escape(value: str) -> str:
    """A label's value as it stands between quotes; what is no valid UTF-8 becomes a question mark."""
    return value.encode(errors="replace").decode().translate(_ESCAPES)
