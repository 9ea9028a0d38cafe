"""Losses in the kernel, remembered with their time.

The kernel only counts records that found the ring buffer full. So the counters
are looked at once a second, and every growth becomes an entry that streams
merge among the flows by time: whoever reads a stretch of the past sees that
something is missing there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

PERIOD = 1.0
"""Seconds between two looks at the counters."""

_KEPT = 4_096


@dataclass(frozen=True, slots=True)
class Loss:
    """`count` records of one CPU, lost between `first` and `last` (ns, CLOCK_MONOTONIC)."""

    number: int
    cpu: int
    count: int
    first: int
    last: int


class LossLog:
    """The latest 4,096 losses, oldest first."""

    def __init__(self, counters: Callable[[], Mapping[int, int]], now: Callable[[], int]) -> None:
        self._counters = counters
        self._now = now
        self._before = dict(counters())
        self._looked = now()
        self._losses: deque[Loss] = deque(maxlen=_KEPT)
        self._numbers = 0

    def look(self) -> None:
        """Compare the counters with those of the last look."""
        now, current = self._now(), dict(self._counters())
        for cpu, count in sorted(current.items()):
            grown = count - self._before.get(cpu, 0)
            if grown > 0:
                self._losses.append(Loss(self._numbers, cpu, grown, self._looked, now))
                self._numbers += 1
        self._before, self._looked = current, now

    def since(self, number: int) -> tuple[Loss, ...]:
        """Losses from that number on."""
        if number >= self._numbers:
            return ()
        return tuple(loss for loss in self._losses if loss.number >= number)

    def after(self, time: int) -> int:
        """The number of the first loss that ended at `time` (ns, CLOCK_MONOTONIC) or later."""
        return next((loss.number for loss in self._losses if loss.last >= time), self._numbers)

    async def run(self) -> None:
        """Look once a second until cancelled."""
        while True:
            await asyncio.sleep(PERIOD)
            self.look()
