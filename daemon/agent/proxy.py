"""What a node shows of its service proxy: health, mode and the metrics of syncing, under kube-proxy's names.

Dashboards, alerts and load balancers that watch kube-proxy go on working when it is gone. Changes are counted when they
come and are pending until the kernel has them; what failed stays pending.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from daemon.agent import health
from daemon.agent.health import Health, HealthPorts, LocalEndpoints
from daemon.agent.latency import ProgrammingLatency
from daemon.model.differences import differences
from daemon.model.objects import KubeObject, Service, ServiceType, TrafficPolicy
from daemon.model.shelves import differing
from daemon.model.snapshot import Snapshot
from daemon.model.workload import Node
from daemon.services import Scope, ServiceTable
from daemon.services.blocks import candidates
from daemon.services.exposure import cluster_addresses, reached_from_outside
from daemon.services.selection import Policy, select
from daemon.settings import Settings

_BUCKETS = tuple(0.001 * 2**power for power in range(15))  # s, those of kube-proxy
_PREFIX = "kubeproxy_sync_proxy_rules"
_SYNCS = {
    "": "Time that a sync took.",
    "full_": "Time that a sync took which compared all Services with the kernel.",
    "partial_": "Time that a sync took which looked only at what had changed.",
}


@dataclass(frozen=True, slots=True)
class Changes:
    """How many Services and endpoint slices changed, ever."""

    services: int = 0
    slices: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """The moment in which an attempt to sync began (clock of `Health.now`), and what had come until then."""

    at: float
    changes: Changes
    triggers: Sequence[float] = ()


class Proxy(Collector):
    """The proxy's face: `queued` for each snapshot, `begin` before it goes to the kernel, `synced` when it is there."""

    def __init__(self, node: Node) -> None:
        self.health = Health()
        self.ports = HealthPorts(self.health)
        self._seen = Snapshot()
        self._came, self._arrived = Changes(), Changes()
        self._table = ServiceTable(node)
        self._latency = ProgrammingLatency()
        self._durations = {
            kind: Histogram(
                f"kubeproxy_sync_{kind}proxy_rules_duration_seconds", words, buckets=_BUCKETS, registry=None
            )
            for kind, words in _SYNCS.items()
        }

    async def start(self, stack: AsyncExitStack, settings: Settings) -> None:
        """Listen where the settings say so, until the stack ends; raises RemoraError where a port is taken."""
        await health.serve(stack, settings.healthz_address, "healthz_address", self.health.answer)
        await health.serve(stack, settings.proxymode_address, "proxymode_address", health.mode)
        stack.push_async_callback(self.ports.stop)

    def queued(self, snapshot: Snapshot) -> None:
        """There is something new to bring to the kernel."""
        came = self._came
        services = _changed(*differences(self._seen.services, snapshot.services))
        gone, new = differences(self._seen.slices, snapshot.slices)
        self._latency.came(gone, new)
        self._came, self._seen = Changes(came.services + services, came.slices + _changed(gone, new)), snapshot
        self.health.queued()

    def begin(self) -> Taken:
        """An attempt begins."""
        return Taken(self.health.now(), self._came, self._latency.taken())

    async def synced(self, taken: Taken, table: ServiceTable, *, whole: bool) -> None:
        """The attempt that began then brought everything to the kernel; `whole`: it compared all with it."""
        for kind in ("", "full_" if whole else "partial_"):
            self._durations[kind].observe(self.health.now() - taken.at)
        self._latency.arrived(taken.triggers)
        moved = moves_health_ports(self._table, table)
        self._arrived, self._table = taken.changes, table
        self.health.synced(taken.at)
        if moved or self.ports.failures:
            await self.ports.update(health_ports(table))

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance: asked at registration."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All families; names and labels are kube-proxy's."""
        for one in self._durations.values():
            yield from one.collect()
        yield from self._latency.collect()
        yield from self._times()
        came, arrived = self._came, self._arrived
        for what, total, done in (
            ("service", came.services, arrived.services),
            ("endpoint", came.slices, arrived.slices),
        ):
            name, words = f"{_PREFIX}_{what}_changes", f"Changes of {what}s"
            yield CounterMetricFamily(f"{name}_total", f"{words} that came.", value=total)
            yield GaugeMetricFamily(f"{name}_pending", f"{words} that are not in the kernel yet.", value=total - done)
        yield self._without_local()
        yield from self._checks()

    def _times(self) -> Iterator[Metric]:
        for name, words, value in (
            ("last_timestamp_seconds", "When the kernel was last brought up to date.", self.health.synced_at),
            ("last_queued_timestamp_seconds", "When a change last came.", self.health.queued_at),
        ):
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", words, value=value)

    def _without_local(self) -> Metric:
        """A gauge with a counter's name, as kube-proxy has it: so it is exported without a type."""
        words = "Service ports whose traffic policy is Local and that have no endpoint on this node."
        family = UnknownMetricFamily(f"{_PREFIX}_no_local_endpoints_total", words, labels=["traffic_policy"])
        internal = sum(entry.drop and entry.key.scope is Scope.LOCAL for entry in self._table.entries)
        family.add_metric(["internal"], internal)
        family.add_metric(["external"], external_without_local(self._table))
        return family

    def _checks(self) -> Iterator[Metric]:
        for path in ("healthz", "livez"):
            words = f"Answers of /{path}, by status code."
            family = CounterMetricFamily(f"kubeproxy_proxy_{path}_total", words, labels=["code"])
            for (asked, code), count in sorted(self.health.checks.items()):
                if asked == path:
                    family.add_metric([str(code)], count)
            yield family


def _changed(gone: Sequence[KubeObject], new: Sequence[KubeObject]) -> int:
    """Objects that were made, changed or removed; a changed one is in both lists and counts once."""
    return len({(one.namespace, one.name) for one in (*gone, *new)})


def moves_health_ports(before: ServiceTable, after: ServiceTable) -> bool:
    """Whether a Service with a health check port, its endpoints or this node's name are other than before."""
    seen, now = before.workings, after.workings
    services = [one for side in differing(seen.services, now.services) for one in side.values()]
    moved = {name for side in differing(seen.slices, now.slices) for name in side}
    services += [now.services[name] for name in moved if name in now.services]
    return before.node != after.node or any(one.spec.health_check_node_port for one in services)


def health_ports(table: ServiceTable) -> dict[int, LocalEndpoints]:
    """The health check node ports that are wanted, with how many endpoints are ready here."""
    return {
        one.spec.health_check_node_port: LocalEndpoints(one.namespace, one.name, _ready_here(one, table))
        for one in table.workings.services.values()
        if one.spec.health_check_node_port and one.spec.type is ServiceType.LOAD_BALANCER and _local(one)
    }


def external_without_local(table: ServiceTable) -> int:
    """Ports that are reached from outside, by policy Local, and have endpoints, but none on this node."""
    services = (one for one in table.workings.services.values() if _local(one))
    return sum(_lacks_local(service, table) for service in services)


def _lacks_local(service: Service, table: ServiceTable) -> int:
    slices = table.workings.slices.get((service.namespace, service.name), ())
    choices = (
        select(candidates(port, slices, family), Policy(uses_cluster=False, uses_local=True), table.node)
        for family in cluster_addresses(service)
        for port in service.spec.ports
        if reached_from_outside(service, port)
    )
    return sum(choice.anywhere and not choice.local for choice in choices)


def _local(service: Service) -> bool:
    return service.spec.external_traffic_policy is TrafficPolicy.LOCAL


def _ready_here(service: Service, table: ServiceTable) -> int:
    """Endpoints that are ready on this node, by address; of two families the larger count: pods have both."""
    found: dict[object, set[str]] = {}
    for slice_ in table.workings.slices.get((service.namespace, service.name), ()):
        here = {one.addresses[0] for one in slice_.endpoints if one.ready and one.node_name == table.node.name}
        found.setdefault(slice_.address_type, set()).update(here)
    return max(map(len, found.values()), default=0)
