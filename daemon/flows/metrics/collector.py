"""All flow metrics of an agent: fed by the reader's thread, told on any.

What the settings switch on decides what is computed: without a metric by port no ports are packed, and addresses are
looked at only where a label says them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

from daemon.flows.l7 import L7Message
from daemon.flows.metrics import catalogue
from daemon.flows.metrics.columns import Shape, ports, shapes, talk, talks, unpack_port, unpack_shape
from daemon.flows.metrics.contexts import needed
from daemon.flows.metrics.ends import EndTable
from daemon.flows.metrics.messages import MessageMetrics
from daemon.flows.metrics.options import Context, Handler, HandlerConfig, parse
from daemon.flows.metrics.packets import PORTS, SHAPES, Flows, PortHandler, ShapeHandler, World
from daemon.flows.metrics.policy import PolicyMetrics, PolicyOf, unknown_policy
from daemon.flows.metrics.series import SERIES_LIMIT, LostSource, counters
from daemon.flows.metrics.stage import STAGED, CountStage, Keys, Stale, ValueStage
from daemon.flows.metrics.tables import Cells, Tables
from daemon.flows.metrics.tcp import TcpMetrics
from daemon.flows.names import DnsNames
from daemon.flows.record import FlowRecord, RowArray
from daemon.model import Directory

REFRESH_NS = 2 * 10**9  # after so long a workload is asked for its name again
NAMES_NS = 60 * 10**9  # after so long labels with DNS names are made anew
CLEAN_NS = 10 * 10**9  # between two looks for series that may go


class FlowMetrics:
    """Counts records and messages; `text` is what Prometheus gets."""

    def __init__(
        self,
        directory: Directory,
        configs: Sequence[HandlerConfig] | None = None,
        limit: int = SERIES_LIMIT,
        names: DnsNames | None = None,
        policy_of: PolicyOf = unknown_policy,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        chosen = {config.handler: config for config in (parse(None) if configs is None else configs)}
        self._lock = Lock()
        self._now = now
        self._refreshed = self._cleaned = self._named = now()
        self._ends = EndTable(directory, needed(chosen.values()))
        self._tables = Tables(self._ends, names if names is not None else DnsNames(), limit)
        self._columns = _Columns(chosen, self._tables, policy_of)
        self._messages = MessageMetrics(chosen, self._tables, self._columns.world, self._columns.policy)
        self._messages.flows = self._columns.flows
        self._by_name = any(Context.DNS in some for one in chosen.values() for some in one.contexts.values())
        self._lost: Counter[LostSource] = Counter()
        self._undecoded = 0

    def count(self, rows: RowArray) -> None:
        """Count plain flow records (n,)."""
        with self._lock:
            self._tend()
            for start in range(0, len(rows), STAGED):
                self._columns.put(rows[start : start + STAGED])

    def count_failures(self, rows: RowArray) -> None:
        """Count only the failures in records (n,) that are no packets: a query that nobody answered."""
        with self._lock:
            for start in range(0, len(rows), STAGED):
                self._columns.put_failures(rows[start : start + STAGED])

    def count_message(self, record: FlowRecord, message: L7Message) -> None:
        """Count an application message and the record that carried it."""
        with self._lock:
            source = self._ends.number(record.src_workload, record.src)
            destination = self._ends.number(record.dst_workload, record.dst)
            self._messages.count(talk(source, destination, record.direction), record, message)

    def count_undecoded(self) -> None:
        """Count a payload head that was no message after all."""
        self._undecoded += 1

    def lost(self, source: LostSource, count: int) -> None:
        """Count events that were lost."""
        with self._lock:
            self._lost[source] += count

    def text(self, openmetrics: bool = False) -> bytes:
        """The exposition, in OpenMetrics or in Prometheus' older format; counting goes on meanwhile."""
        with self._lock:
            self._columns.flush()
            self._tend()
        texts = [metric.text(openmetrics) for metric in self._tables.metrics]
        return b"".join((*texts, *self._own(openmetrics)))

    def dropped(self) -> dict[str, int]:
        """Counts that found no room, by metric; those metrics have reached their limit."""
        return {metric.spec.name: metric.dropped for metric in self._tables.metrics if metric.dropped}

    def _own(self, openmetrics: bool) -> list[bytes]:
        """What is there whatever the settings say."""
        lost, kept_out, series, undecoded = (
            counters(spec) for spec in (catalogue.LOST, catalogue.KEPT_OUT, catalogue.SERIES, catalogue.UNDECODED)
        )
        for source in LostSource:  # every place from the start, so that an alert can rest on it
            lost.cell((source.value,)).value = self._lost[source]
        for metric in self._tables.metrics:
            kept_out.cell((metric.spec.name,)).value = metric.dropped
            series.cell((metric.spec.name,)).value = len(metric)
        undecoded.cell(()).value = self._undecoded
        return [metric.text(openmetrics) for metric in (lost, kept_out, series, undecoded)]

    def _tend(self) -> None:
        """Look names up again, and let series go, when it is time."""
        now = self._now()
        if now - self._refreshed >= REFRESH_NS:
            self._refreshed = now
            self._ends.refresh()
        if now - self._cleaned >= CLEAN_NS:
            self._cleaned = now
            self._clean(now)

    def _clean(self, now: int) -> None:
        self._columns.flush()
        gone = self._ends.gone(now)
        if gone:
            self._tables.forget(gone)
        if self._tables.make_room() or gone:
            self._forget(self._tables.stale(gone))
        if gone:
            self._ends.release(gone)
        if self._by_name and now - self._named >= NAMES_NS:
            self._named = now
            self._tables.forget_names()
            self._forget(lambda *_: True)

    def _forget(self, stale: Stale) -> None:
        self._columns.forget(stale)
        self._messages.forget(stale)


class _Columns:
    """The handlers of plain records, and the stages in which records wait for them."""

    def __init__(self, configs: dict[Handler, HandlerConfig], tables: Tables, policy_of: PolicyOf) -> None:
        self._tables = tables
        made = {one: make(configs[one], tables) for one, make in SHAPES.items() if one in configs}
        self._shape_handlers: tuple[ShapeHandler, ...] = tuple(made.values())
        self.flows = next((one.flows for one in made.values() if isinstance(one, Flows)), None)
        self.world = next((one for one in made.values() if isinstance(one, World)), None)
        by_port = [make(configs[one], tables) for one, make in PORTS.items() if one in configs]
        self._world_ports = self.world if self.world and self.world.by_port else None
        self._port_handlers: tuple[PortHandler, ...] = (*by_port, *filter(None, [self._world_ports]))
        self.policy = (
            PolicyMetrics(configs, tables, policy_of)
            if {Handler.POLICY, Handler.REMORA_POLICY} & set(configs)
            else None
        )
        self._tcp = TcpMetrics(configs[Handler.REMORA_TCP], tables) if Handler.REMORA_TCP in configs else None
        self._shapes = CountStage(self._shape_cells, 28)
        self._ports = CountStage(self._port_cells, 24)
        policy = [self.policy.stage] if self.policy else []
        tcp = self._tcp.stages if self._tcp else ()
        self._stages: tuple[CountStage | ValueStage, ...] = (self._shapes, self._ports, *policy, *tcp)

    def put_failures(self, rows: RowArray) -> None:
        """Stage the failures of up to STAGED records."""
        if self._tcp:
            self._tcp.put_failures(rows, *self._ends(rows), rows["direction"])

    def _ends(self, rows: RowArray) -> tuple[Keys, Keys]:
        """Numbers of sources and destinations, (n,) each."""
        ends = self._tables.ends
        return ends.column(rows["src_workload"], rows["src"]), ends.column(rows["dst_workload"], rows["dst"])

    def put(self, rows: RowArray) -> None:
        """Stage up to STAGED records."""
        sources, destinations = self._ends(rows)
        talking = talks(sources, destinations, rows["direction"])
        if self._shape_handlers:
            self._shapes.put(shapes(rows, talking))
        if self._port_handlers:
            outside = self._tables.ends.outside.take(destinations.astype(np.intp)) if self._world_ports else None
            to_world = self._world_ports.mask(rows, outside) if self._world_ports and outside is not None else None
            self._ports.put(ports(rows, talking, to_world))
        if self.policy:
            self.policy.put(rows, talking)
        if self._tcp:
            self._tcp.put(rows, sources, destinations, rows["direction"])

    def flush(self) -> None:
        """Count all that is staged."""
        for stage in self._stages:
            stage.flush()

    def forget(self, stale: Stale) -> None:
        """Ask anew for series that are stale."""
        for stage in self._stages:
            stage.forget(stale)

    def _shape_cells(self, packed: int) -> Cells:
        shape: Shape = unpack_shape(packed)
        told = self._tables.told(packed >> 28)
        for handler in self._shape_handlers:
            yield from handler.cells(shape, told)

    def _port_cells(self, packed: int) -> Cells:
        key, told = unpack_port(packed), self._tables.told(packed >> 24)
        for handler in self._port_handlers:
            yield from handler.port_cells(key, told)
