"""The collector that Prometheus' client asks: keys become words here, at scrape and nowhere else.

Names and labels are those of Hubble's handlers with `source`, `destination`, `source_namespace` and
`destination_namespace` on everything, and workload labels on HTTP: the union of what the public dashboards select on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from threading import Lock

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from daemon.flows.l7 import L7Message
from daemon.flows.metrics.columns import ColumnCounter
from daemon.flows.metrics.families import column_families, dropped_family, flows_family, lost_family, message_families
from daemon.flows.metrics.messages import Ends, MessageCounter
from daemon.flows.metrics.peers import PeerTable
from daemon.flows.metrics.series import SERIES_LIMIT, LostSource
from daemon.flows.record import FlowRecord, RowArray
from daemon.model import Directory

_REFRESH_NS = 2_000_000_000

Family = CounterMetricFamily | HistogramMetricFamily


class FlowMetrics(Collector):
    """Counts on the reader's thread, tells on any; `registry.register(metrics)` publishes it."""

    def __init__(
        self, directory: Directory, limit: int = SERIES_LIMIT, now: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._lock = Lock()
        self._now = now
        self._peers = PeerTable(directory)
        self._columns = ColumnCounter(self._peers, limit)
        self._messages = MessageCounter(limit)
        self._lost: Counter[LostSource] = Counter()
        self._refreshed = now()
        self._undecoded = 0

    def count(self, rows: RowArray) -> None:
        """Count plain flow records (n,)."""
        with self._lock:
            self._refresh()
            self._columns.count(rows)

    def count_message(self, record: FlowRecord, message: L7Message) -> None:
        """Count an application message and the record that carried it."""
        with self._lock:
            ends = Ends(self._peers.number(record.src_workload), self._peers.number(record.dst_workload))
            self._messages.count(ends, record.direction, record.verdict, message)

    def count_undecoded(self) -> None:
        """Count a payload head that was no message after all."""
        self._undecoded += 1

    def lost(self, source: LostSource, count: int) -> None:
        """Count events that were lost."""
        with self._lock:
            self._lost[source] += count

    def describe(self) -> Iterator[Family]:
        """Nothing: asked at registration, when there is nothing to tell yet."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        """All families, with what was counted until now; counting goes on while they are put into words."""
        with self._lock:
            self._columns.flush()
        yield flows_family(self._columns, self._messages, self._peers.peer)
        yield from column_families(self._columns, self._peers.peer)
        yield from message_families(self._messages, self._peers.peer)
        yield lost_family(self._lost)
        yield dropped_family(self._columns, self._messages)
        words = "Payload heads that looked like DNS or HTTP and were not."
        yield CounterMetricFamily("remora_payloads_undecoded", words, value=self._undecoded)

    def _refresh(self) -> None:
        if self._now() - self._refreshed > _REFRESH_NS:
            self._refreshed = self._now()
            self._peers.refresh()
