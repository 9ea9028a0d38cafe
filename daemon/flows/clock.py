"""Kernel time and wall time.

Records carry nanoseconds of CLOCK_MONOTONIC, which a change of the wall clock cannot disturb; people and clients ask
in wall time. The offset between the two is measured again when the wall clock was stepped, and only then: a flow
must have the same time whenever it is asked for, so the small drift of a disciplined clock is ignored.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# A smaller difference is drift or the cost of reading two clocks, not a step.
_STEP_NS = 10_000_000

# Between two looks at the wall clock.
_CHECK_NS = 1_000_000_000


class Clock:
    """Turns CLOCK_MONOTONIC nanoseconds into nanoseconds since 1970 and back; safe from any thread."""

    def __init__(
        self, monotonic: Callable[[], int] = time.monotonic_ns, wall: Callable[[], int] = time.time_ns
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._checked = monotonic()
        self._offset = wall() - self._checked

    def wall_ns(self, monotonic_ns: int) -> int:
        """Wall time of a record's time."""
        return monotonic_ns + self._current()

    def monotonic_ns(self, wall_ns: int) -> int:
        """The record time that a wall time stands for; negative for times before the host's start."""
        return wall_ns - self._current()

    def now_ns(self) -> int:
        """Wall time of now, on the scale of `wall_ns`."""
        return self._monotonic() + self._current()

    def _current(self) -> int:
        now = self._monotonic()
        if now - self._checked >= _CHECK_NS:
            self._checked = now
            measured = self._wall() - now
            if abs(measured - self._offset) > _STEP_NS:
                self._offset = measured
        return self._offset
