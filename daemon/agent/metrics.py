"""The Prometheus endpoint: Hubble's flow metrics, and the agent's own under `remora_`.

Everything is read at scrape; between scrapes nothing is computed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.agent import counters
from ebpf import btf
from ebpf.datapath import Datapath
from ebpf.errors import RemoraError

if TYPE_CHECKING:
    from daemon.agent.view import View

log = logging.getLogger(__name__)


class AgentCollector(Collector):
    """State of agent and datapath."""

    def __init__(self, datapath: Datapath, view: View) -> None:
        self._datapath = datapath
        self._view = view

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance: asked at registration."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All families of the agent's own."""
        yield self._datapath_events()
        yield self._kernel_drops()
        yield from self._fills()
        yield from self._agent()

    def _datapath_events(self) -> Metric:
        family = CounterMetricFamily("remora_datapath_events", "What the programs counted, by event.", labels=["event"])
        totals = self._datapath.counters.sums()
        for which in counters.known():
            family.add_metric([counters.name(which)], float(totals[which]))
        return family

    def _kernel_drops(self) -> Metric:
        words = "Packets that the kernel dropped on this host, by its own reason."
        family = CounterMetricFamily("remora_kernel_drops", words, labels=["reason"])
        names = _reasons()
        for number, count in enumerate(self._datapath.kernel_drops.sums().tolist()):
            if count:
                family.add_metric([names.get(number, str(number))], count)
        return family

    def _fills(self) -> Iterator[Metric]:
        fill = GaugeMetricFamily("remora_map_entries", "Entries in a kernel map.", labels=["map"])
        limit = GaugeMetricFamily("remora_map_max_entries", "Entries that a kernel map can hold.", labels=["map"])
        for one in self._view.maps():
            limit.add_metric([one.name], one.max_entries)
            if not one.uncounted:
                fill.add_metric([one.name], one.entries)
        yield fill
        yield limit

    def _agent(self) -> Iterator[Metric]:
        status = self._view.status()
        source = status.sources[0]
        for name, words, value in (
            ("remora_services", "Frontends that are programmed.", status.services),
            ("remora_endpoints", "Workloads that are known.", status.endpoints),
            ("remora_warnings", "Things that are wrong now; `remora status` names them.", len(status.warnings)),
            ("remora_source_age_seconds", "Time since the source was last read.", source.age_ns / 1e9),
            ("remora_source_problems", "Mistakes in the source's files.", len(source.problems)),
            ("remora_flows_stored", "Flow records in the store.", len(self._view.store)),
            ("remora_flows_capacity", "Flow records that the store can hold.", self._view.store.capacity),
            ("remora_sync_duration_seconds", "Time that the last reconciliation took.", self._view.last_sync),
        ):
            yield GaugeMetricFamily(name, words, value=value)
        words = "Connected UDP sockets that were closed because their backend was gone."
        yield CounterMetricFamily("remora_stale_sockets_closed", words, value=self._view.sockets_closed)
        words = "UDP flows from outside that were taken from backends that are gone."
        yield CounterMetricFamily("remora_stale_flows_cut", words, value=self._view.flows_cut)
        build = GaugeMetricFamily("remora_build_info", "Version of the agent.", labels=["version", "kernel"])
        build.add_metric([status.version, status.kernel], 1)
        yield build


@cache
def _reasons() -> dict[int, str]:
    return btf.drop_reasons()


def serve(address: str, *collectors: Collector) -> Callable[[], None]:
    """Serve /metrics on `host:port`; the returned function ends it. Raises RemoraError where the port is taken."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]") or "127.0.0.1", registry)
    except (OSError, ValueError) as error:
        hint = "free it, or name another with metrics_address in the settings"
        raise RemoraError(f"cannot serve metrics on {address}: {error}", hint) from error

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end
