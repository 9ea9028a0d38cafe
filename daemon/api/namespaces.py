"""Namespaces that flows were seen in: those of the last hour, whether or not their flows and workloads are still there.

The store may hold an hour or a few seconds, so what goes through it is looked at as it comes: the numbers of both
ends, as columns. A row that is overwritten meanwhile does no harm: its numbers are those of another flow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from daemon.flows.store import FlowStore
from daemon.model import Directory, WorkloadId

PERIOD = 5.0
"""Seconds between two looks."""

KEPT = 3_600.0
"""Seconds that a namespace is remembered, as Hubble does."""


class SeenNamespaces:
    """Belongs to the API's loop."""

    def __init__(self, store: FlowStore, directory: Directory, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._directory = directory
        self._now = now
        self._position = 0
        self._seen: dict[str, float] = {}

    def names(self) -> list[str]:
        """The namespaces, sorted."""
        self.look()
        return sorted(self._seen)

    def look(self) -> None:
        """Take in what has come since the last look; forget what is old."""
        now, head = self._now(), self._store.head
        for number in self._store.workloads(self._position, head):
            workload = self._directory.by_id(WorkloadId(number))
            if workload is not None and workload.namespace:
                self._seen[workload.namespace] = now
        self._position = head
        for name in [name for name, seen in self._seen.items() if seen < now - KEPT]:
            del self._seen[name]

    async def run(self) -> None:
        """Look from time to time until cancelled."""
        while True:
            await asyncio.sleep(PERIOD)
            self.look()
