"""Counters and histograms with a limit on how many series they may grow."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable
from enum import Enum
from typing import Generic, TypeVar

SERIES_LIMIT = 2_000
"""Series of one metric: enough for the pairs of some hundred workloads, little enough for one scrape."""

# seconds; the default buckets of Prometheus' clients, which Hubble uses
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

K = TypeVar("K", bound=Hashable)


class LostSource(Enum):
    """Where events were lost, as Hubble names the places."""

    KERNEL = "perf_event_ring_buffer"  # no room in the kernel's ring buffer
    QUEUE = "observer_events_queue"  # the agent could not keep up
    STORE = "hubble_ring_buffer"  # a reader of the API was overtaken


class Series(Generic[K]):
    """Counts by key."""

    def __init__(self, limit: int = SERIES_LIMIT) -> None:
        self._limit = limit
        self._counts: dict[K, int] = {}
        self.dropped = 0

    def add(self, key: K, count: int = 1) -> None:
        counts = self._counts
        if key in counts:
            counts[key] += count
        elif len(counts) < self._limit:
            counts[key] = count
        else:
            self.dropped += count

    def items(self) -> list[tuple[K, int]]:
        """A copy, taken in one step: another thread may count meanwhile."""
        return list(self._counts.items())


class Histograms(Generic[K]):
    """Durations by key: for each, counts by bucket (not cumulated, the last one beyond all bounds) and the sum."""

    def __init__(self, limit: int = SERIES_LIMIT) -> None:
        self._limit = limit
        self._buckets: dict[K, tuple[list[int], float]] = {}
        self.dropped = 0

    def add(self, key: K, seconds: float) -> None:
        known = self._buckets.get(key)
        if known is None:
            if len(self._buckets) >= self._limit:
                self.dropped += 1
                return
            known = ([0] * (len(BUCKETS) + 1), 0.0)
        counts, total = known
        counts[bisect_left(BUCKETS, seconds)] += 1
        self._buckets[key] = (counts, total + seconds)

    def items(self) -> list[tuple[K, list[int], float]]:
        """A copy: key, counts by bucket, sum of seconds."""
        return [(key, list(counts), total) for key, (counts, total) in list(self._buckets.items())]
