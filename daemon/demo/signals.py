"""Signals that are heard only while resting.

A signal handler that raises may do so anywhere, also in the middle of another library's locks, and what it leaves
behind then hangs. So the handler only rings, and the exception is raised where the demo waits. Between two waits
there is never more than a moment, and cleaning up, which does not rest, is never cut short.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """One of the ending signals came; prints as its name."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Rest:
    """Waits that end early, with Interrupted, when an ending signal came, be it before or during the wait."""

    def __init__(self, bell: int) -> None:
        self._bell = bell

    def sleep(self, seconds: float) -> None:
        """Wait for a time."""
        self._wait(seconds)

    def readable(self, stream: IO[Any], seconds: float) -> bool:
        """Wait until a stream can be read or has ended; False when it took too long."""
        return self._wait(seconds, stream)

    def _wait(self, seconds: float, *streams: IO[Any]) -> bool:
        watched: list[int | IO[Any]] = [self._bell, *streams]
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._bell in ready:
            raise Interrupted(os.read(self._bell, 1)[0])
        return bool(ready)


@contextmanager
def resting() -> Iterator[Rest]:
    """Listen for ending signals, in the main thread; the former handlers are back afterwards."""
    bell, ring = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def handler(number: int, frame: FrameType | None) -> None:
        os.write(ring, bytes([number]))

    before = {number: signal.signal(number, handler) for number in ENDING}
    try:
        yield Rest(bell)
    finally:
        for number, former in before.items():
            signal.signal(number, former)
        os.close(ring)
        os.close(bell)
