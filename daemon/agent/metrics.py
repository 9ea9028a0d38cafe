"""The agent's own metrics, under `remora_`: what it programmed, how full things are, what it costs.

Everything is read at scrape; between scrapes nothing is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.agent import counters
from daemon.agent.shield_view import shield_packets
from daemon.api.calls import CallCounter
from daemon.proto import remora_pb2 as pb
from ebpf import btf
from ebpf.datapath import Datapath
from ebpf.libbpf import MapType

if TYPE_CHECKING:
    from daemon.agent.view import View


SHIELD_RULES = 128  # rules of the shield with series of their own, those with the most packets


class AgentCollector(Collector):
    """State of agent and datapath."""

    def __init__(self, datapath: Datapath, view: View, calls: CallCounter) -> None:
        self._datapath = datapath
        self._view = view
        self._calls = calls
        self._process = ProcessCollector(registry=None)

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance: asked at registration."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All families of the agent's own."""
        yield self._datapath_events()
        yield self._kernel_drops()
        yield self._shield()
        yield from self._fills()
        yield from self._programs()
        yield from self._agent()
        yield from self._messages()
        yield from self._view.syncs.collect()
        yield from call_families(self._calls)
        yield from self._process.collect()

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

    def _shield(self) -> Metric:
        words = "Packets that a rule of the shield decided; those of rules beyond the first in number are put together."
        family = CounterMetricFamily("remora_shield_packets", words, labels=["rule", "verdict"])
        for rule, verdict, count in shield_packets(self._view.shield_hits(), SHIELD_RULES):
            family.add_metric([rule, verdict], count)
        return family

    def _fills(self) -> Iterator[Metric]:
        families = [
            GaugeMetricFamily("remora_map_entries", "Entries in a kernel map.", labels=["map"]),
            GaugeMetricFamily("remora_map_max_entries", "Entries that a kernel map can hold.", labels=["map"]),
            GaugeMetricFamily("remora_ring_bytes", "Bytes that wait in a ring buffer.", labels=["ring"]),
            GaugeMetricFamily("remora_ring_max_bytes", "Bytes that a ring buffer can hold.", labels=["ring"]),
        ]
        for one in self._view.maps():
            fill, limit = families[2:] if one.type == MapType.RINGBUF.name.lower() else families[:2]
            limit.add_metric([one.name], one.max_entries)
            if not one.uncounted:
                fill.add_metric([one.name], one.entries)
        yield from families

    def _programs(self) -> Iterator[Metric]:
        words = "where the kernel counts it (sysctl kernel.bpf_stats_enabled)."
        runs = CounterMetricFamily("remora_program_runs", f"Runs of a BPF program, {words}", labels=["program"])
        spent = CounterMetricFamily(
            "remora_program_seconds", f"Time spent in a BPF program, {words}", labels=["program"]
        )
        for name, one in {one.name: one for one in self._view.programs()}.items():
            if one.run_count:
                runs.add_metric([name], one.run_count)
                spent.add_metric([name], one.run_time_ns / 1e9)
        yield runs
        yield spent

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
            ("remora_programs_attached", "Places where a program is attached.", _places(status.programs)),
        ):
            yield GaugeMetricFamily(name, words, value=value)
        words = "Connected UDP sockets that were closed because their backend was gone."
        yield CounterMetricFamily("remora_stale_sockets_closed", words, value=self._view.sockets_closed)
        yield CounterMetricFamily("remora_flows_seen", "Flow records that were stored.", value=self._view.store.seen)
        words = "UDP flows from outside that were taken from backends that are gone."
        yield CounterMetricFamily("remora_stale_flows_cut", words, value=self._view.flows_cut)
        build = GaugeMetricFamily("remora_build_info", "Version of the agent.", labels=["version", "kernel"])
        build.add_metric([status.version, status.kernel], 1)
        yield build
        words = "Version of the agent, under the name that Hubble's dashboards look for."
        version = GaugeMetricFamily("cilium_version", words, labels=["version"])
        version.add_metric([status.version], 1)
        yield version

    def _messages(self) -> Iterator[Metric]:
        stats = self._view.pipeline
        yield CounterMetricFamily("remora_messages", "DNS and HTTP messages that were told.", value=stats.messages)
        words = "DNS and HTTP requests that wait for their answer."
        yield GaugeMetricFamily("remora_requests_waiting", words, value=stats.pairing.pending)
        words = "Messages without their counterpart: answers without request, requests not answered or pushed out."
        unpaired = CounterMetricFamily("remora_messages_unpaired", words, labels=["why"])
        for why in ("orphans", "expired", "evicted"):
            unpaired.add_metric([why], getattr(stats.pairing, why))
        yield unpaired


def call_families(calls: CallCounter) -> Iterator[Metric]:
    """Calls of the API, under the names that gRPC servers have everywhere."""
    labels = ["grpc_type", "grpc_service", "grpc_method"]
    for name, words, counted in (
        ("grpc_server_started", "Calls that began.", calls.started),
        ("grpc_server_msg_received", "Messages that came.", calls.received),
        ("grpc_server_msg_sent", "Messages that went.", calls.sent),
    ):
        family = CounterMetricFamily(name, words, labels=labels)
        for method, count in list(counted.items()):
            family.add_metric(method, count)
        yield family
    handled = CounterMetricFamily("grpc_server_handled", "Calls that ended, by code.", labels=[*labels, "grpc_code"])
    for (method, code), count in list(calls.handled.items()):
        handled.add_metric([*method, code], count)
    yield handled


def _places(programs: Iterable[pb.Program]) -> int:
    return sum(len(program.attached) for program in programs)


@cache
def _reasons() -> dict[int, str]:
    return btf.drop_reasons()
