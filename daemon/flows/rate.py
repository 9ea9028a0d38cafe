"""Flows a second over the last minute, as `ServerStatus` reports it.

Sixty counters, one a second, in a ring: cheap to feed with whole batches and independent of what the store still
holds, so that the rate stays right when the store covers less than a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_WINDOW = 60


class RateMeter:
    """Counts events by second. One thread feeds it, any may ask."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._started = now()
        self._second = int(self._started)
        self._counts = [0] * _WINDOW

    def add(self, count: int) -> None:
        self._advance()
        self._counts[self._second % _WINDOW] += count

    def rate(self) -> float:
        """Events a second over the last minute, or since the start when that is shorter ago."""
        covered = min(float(_WINDOW), max(1.0, self._now() - self._started))
        return self._recent() / covered

    def _recent(self) -> int:
        """Sum of the last minute; seconds that no event advanced past are left out."""
        stale = min(_WINDOW, int(self._now()) - self._second)
        return sum(self._counts) - sum(self._counts[(self._second + 1 + i) % _WINDOW] for i in range(stale))

    def _advance(self) -> None:
        second = int(self._now())
        for passed in range(min(_WINDOW, second - self._second)):
            self._counts[(second - passed) % _WINDOW] = 0
        self._second = second
