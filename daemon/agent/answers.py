"""DNS answers on their way to the policies that name them, and how long they count.

Answers are heard in the reader's thread and taken over in the one that programs. One that a policy waits for wakes the
agent at once. It goes when its time is over and a walk over the connections, begun after that, has found nobody who
still talks to the address. What counts is kept in a file, too: an agent that starts anew must not cut connections only
because it did not hear the answer that they follow from.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from daemon.policy.names import ANSWERS_MAX, Names, patterns_of

WAITING_MAX = 1_024  # answers that no policy waits for until they are taken over all the same

log = logging.getLogger(__name__)

Answer = tuple[str, Sequence[bytes], float, float]
"""Name, addresses, time to live and when it was heard (s)."""


class Answers:
    """Fills `Names`. `heard` and `swept` may come from another thread than `settle`."""

    def __init__(self, names: Names, kept: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._names, self._kept, self._now = names, kept, now
        self._waiting: deque[Answer] = deque(maxlen=ANSWERS_MAX)
        self._walk: tuple[float, frozenset[bytes]] | None = None
        self._written: Mapping[bytes, frozenset[str]] = names.view
        self.wake: Callable[[], object] = _nobody
        """called, from any thread, when there is something to settle"""
        self._restore()

    @property
    def watched(self) -> frozenset[bytes]:
        """The addresses of which it matters whether somebody talks to them."""
        return frozenset(self._names.view)

    def heard(self, _workload: int, name: str, addresses: Sequence[bytes], ttl: int) -> None:
        """An answer that a workload got."""
        self._waiting.append((name, tuple(addresses), float(ttl), self._now()))
        followed = self._names.followed
        if followed and not followed.isdisjoint(patterns_of(name.lower().rstrip("."))):
            self.wake()

    def swept(self, began: float, talked_to: frozenset[bytes]) -> None:
        """A walk over the connections: when it began (s), and which of `watched` somebody has a connection to."""
        self._walk = began, talked_to
        if self._names.view or len(self._waiting) > WAITING_MAX:
            self.wake()

    def settle(self) -> None:
        """Take over what was heard, forget what is over."""
        while self._waiting:
            name, addresses, ttl, heard = self._waiting.popleft()
            self._names.learn(name, addresses, ttl, heard)
        walk, self._walk = self._walk, None
        if walk is not None:
            self._names.expire(*walk)

    def keep(self) -> None:
        """Write down what counts, if it changed; raises OSError."""
        if self._names.view is self._written:
            return
        held = {address.hex(): ends for address, ends in self._names.held().items()}
        beside = self._kept.with_suffix(".new")
        beside.write_text(json.dumps(held))
        beside.replace(self._kept)
        self._written = self._names.view

    def _restore(self) -> None:
        """What an agent before kept; its times are of this boot's clock, as the folder is."""
        try:
            held = json.loads(self._kept.read_text())
            for address, ends in held.items():
                for name, end in ends.items():
                    self._names.learn(name, [bytes.fromhex(address)], float(end), 0.0)
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError, TypeError) as error:
            log.warning("%s cannot be read (%s); names of policies wait for new answers", self._kept, error)


def _nobody() -> None:
    """There is no loop yet."""
