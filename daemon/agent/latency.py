"""How long it takes from a change in the cluster to the kernel: kube-proxy's network programming latency.

The controller that writes EndpointSlices notes when the pod or Service changed that made it write. From that moment to
the sync that brings the slice to the kernel is what counts, so clocks of two machines are compared, as with
kube-proxy. Slices that are removed tell nothing, and neither does what changed before the agent ran.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime

from prometheus_client import Histogram
from prometheus_client.core import Metric

from daemon.model.objects import EndpointSlice

_BUCKETS = (0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))  # s, those of kube-proxy


class ProgrammingLatency:
    """Changes of slices that wait for the kernel; not for several threads."""

    def __init__(self) -> None:
        name, words = (
            "kubeproxy_network_programming_duration_seconds",
            "Time from a change in the cluster to the kernel.",
        )
        self._seconds = Histogram(name, words, buckets=_BUCKETS, registry=None)
        self._since = time.time()
        self._waiting: list[float] = []

    def came(self, gone: Sequence[EndpointSlice], new: Sequence[EndpointSlice]) -> None:
        """Slices in their old form, where they had one, and in their new."""
        before = {(one.namespace, one.name): one.metadata.annotations.changed_at for one in gone}
        for one in new:
            text = one.metadata.annotations.changed_at
            if text and text != before.get((one.namespace, one.name)):
                self._note(text)

    def taken(self) -> Sequence[float]:
        """What an attempt that begins now brings to the kernel, for `arrived`."""
        return tuple(self._waiting)

    def arrived(self, taken: Sequence[float]) -> None:
        """The attempt succeeded."""
        now = time.time()
        for moment in taken:
            self._seconds.observe(max(0.0, now - moment))
        del self._waiting[: len(taken)]

    def collect(self) -> Iterator[Metric]:
        """The metric."""
        yield from self._seconds.collect()

    def _note(self, text: str) -> None:
        try:
            moment = datetime.fromisoformat(text).timestamp()
        except ValueError:
            return  # not a time: somebody else's hand
        if moment >= self._since:
            self._waiting.append(moment)
