"""The agent's life: start in order, run, stop in reverse order.

Nothing is programmed before the sources were read, and the socket programs go
on only when the Services that they look up are in place; so an agent that starts
on the pins of a dead one never shows traffic a half-filled map.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from daemon.agent import exposition, lists, logs, notify
from daemon.agent.api_server import named_addresses
from daemon.agent.events import Witness
from daemon.agent.exposition import Exposition
from daemon.agent.metrics import AgentCollector
from daemon.agent.programmer import Programmer
from daemon.agent.proxy import Proxy
from daemon.agent.reader import Reader
from daemon.agent.reload import taken_over
from daemon.agent.report import Reporter
from daemon.agent.serving import listener, peer
from daemon.agent.view import View, agent_version
from daemon.api import ApiServer, EventLog
from daemon.endpoints import Devices, Discovery
from daemon.flows.builder import FlowBuilder
from daemon.flows.cgroups import Cgroups
from daemon.flows.clock import Clock
from daemon.flows.metrics import FlowMetrics, parse
from daemon.flows.names import DnsNames
from daemon.flows.pipeline import FlowPipeline
from daemon.flows.store import FlowStore
from daemon.model import Directory
from daemon.model.snapshot import Snapshot
from daemon.settings import Settings
from daemon.settings_file import load
from daemon.sources import Source, open_source
from ebpf.datapath import Datapath
from ebpf.errors import RemoraError
from ebpf.memory import release_freed

log = logging.getLogger(__name__)

FIRST_SCAN_TIMEOUT = 5.0  # s that the first look for devices may take before the agent goes on without


class Agent:
    """One agent; `run` returns after `stop` was called. Raises RemoraError where it cannot start."""

    def __init__(self, settings: Settings, config: Path | None, datapath: Datapath) -> None:
        self.settings = settings
        self.config = config
        self.directory = Directory()
        self.clock = Clock()
        self.programmer = Programmer(settings, self.directory, datapath)
        self.source: Source = open_source(settings)
        self.discovery = Discovery(self._devices_found, uplinks=settings.uplinks)
        self.devices = Devices()
        self.proxy = Proxy(self.programmer.table.node)
        self._metrics = parse(settings.metrics)
        self.events = EventLog()
        self.witness = Witness(self.events, self.clock)
        self._snapshot: Snapshot | None = None
        self._scanned = asyncio.Event()
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.stumbles: dict[str, tuple[float, str]] = {}
        """when each task failed last (s, CLOCK_MONOTONIC), and why"""

    def stop(self) -> None:
        """Ask the agent to end."""
        self._stop.set()

    def reload(self) -> None:
        """Take the settings file over anew, as far as that goes without a restart; an error in it changes nothing."""
        notify.reloading()
        try:
            self.settings = taken_over(self.settings, load(self.config))
        except RemoraError as error:
            log.error("the settings stay as they are: %s", error)
        else:
            logs.begin(self.settings)
            self.programmer.reload(self.settings)
            self._changed.set()
        notify.ready()

    async def run(self) -> None:
        """Start everything, serve until stop(), stop everything."""
        async with AsyncExitStack() as stack:
            await self._start(stack)
            notify.ready()
            log.info(
                "ready: API on %s, metrics on %s", self.settings.socket, self.settings.metrics_address or "no port"
            )
            await self._stop.wait()
            notify.stopping()
            log.info("stopping; programs and maps stay in the kernel and go on serving")

    async def _start(self, stack: AsyncExitStack) -> None:
        await self.proxy.start(stack, self.settings)
        await self.programmer.start()
        stack.push_async_callback(self.programmer.stop)
        await self._see_all(stack)
        await self.programmer.enter()
        view = self._watch(stack)
        own = peer(self.settings, self.devices.node_addresses)
        server = ApiServer(view, Path(self.settings.socket), listener(self.settings), own)
        await server.start()
        self.witness.started()
        stack.push_async_callback(server.stop)
        collector = AgentCollector(self.programmer.datapath, view, server.calls)
        told = Exposition([self.flow_metrics.text], [collector, self.proxy])
        view.reporter = Reporter(self, told)
        if self.settings.metrics_address:
            stack.callback(exposition.serve(self.settings.metrics_address, told))
        self._spawn("reconcile", self._reconcile)
        self._spawn("verify", self._verify)
        self._spawn("lists", self._follow_lists)
        if notify.watchdog():
            self._spawn("watchdog", self._tell_alive)
        stack.push_async_callback(self._cancel)

    async def _see_all(self, stack: AsyncExitStack) -> None:
        """Read the sources and look for devices, then program both, before anything is attached to sockets."""
        await self.source.start(self._snapshot_read)
        stack.push_async_callback(self.source.stop)
        self._spawn("discovery", self.discovery.run)
        try:
            async with asyncio.timeout(FIRST_SCAN_TIMEOUT):
                await self._scanned.wait()
        except TimeoutError:
            log.warning("the devices of this host could not be read in %.0f s; going on", FIRST_SCAN_TIMEOUT)
        self.programmer.api_server = await named_addresses(self.source.peer)
        await self._apply()
        release_freed()
        gc.freeze()  # a cluster's objects stay; looking through them for cycles takes a tenth of a second each time

    def _watch(self, stack: AsyncExitStack) -> View:
        datapath = self.programmer.datapath
        store = FlowStore(datapath.flow_dtype, self.settings.flow_capacity)
        names = DnsNames()
        enforcement = self.programmer.policies
        series = self.settings.metric_series
        self.flow_metrics = FlowMetrics(self.directory, self._metrics, series, names, enforcement.policy_of)
        pipeline = FlowPipeline(store, self.flow_metrics, names)
        cgroups = Cgroups(datapath.features.cgroup)
        answers = enforcement.answers
        names.subscribe(answers.heard)
        answers.wake = partial(asyncio.get_running_loop().call_soon_threadsafe, self._changed.set)
        self._reader = Reader(datapath, pipeline, self.flow_metrics, cgroups, answers)
        self._reader.start()
        stack.callback(self._reader.stop)
        builder = FlowBuilder(
            self.directory,
            self.settings.qualified_node,
            self.clock,
            pipeline.names,
            version=agent_version(),
            cluster=self.settings.cluster_name or "default",
            node_labels=self.settings.labels,
            cgroups=cgroups,
            ruled_by=enforcement.ruled_by,
            shield_rule=self.programmer.shield.name_of,
        )
        return View(self, store, builder, pipeline, self._reader)

    def _spawn(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.create_task(self._guard(name, work), name=name)
        self._tasks.add(task)

    async def _guard(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """A task that fails is logged and started anew; the agent goes on."""
        while True:
            try:
                await work()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self.stumbles[name] = (time.monotonic(), f"{type(error).__name__}: {error}")
                log.exception("task %s failed; it starts anew in a second", name)
            await asyncio.sleep(1)

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _reconcile(self) -> None:
        while True:
            await self._changed.wait()
            await self._apply()

    async def _apply(self) -> None:
        self._changed.clear()
        if self._snapshot is None:
            return
        taken = self.proxy.begin()
        await self.programmer.apply(self._snapshot, self.devices)
        self.witness.look(self.directory.present, self.programmer.in_force, self.programmer.watched)
        if "policies" not in self.programmer.failures:
            enforced = self.programmer.policies
            self.witness.look_at_policies(enforced.revision, enforced.in_force)
        if "services" not in self.programmer.failures:
            await self.proxy.synced(taken, self.programmer.table, whole=self.programmer.whole)

    async def _tell_alive(self) -> None:
        """systemd starts anew what is silent: a loop that hangs, and a reader that has ended."""
        while self._reader.is_alive():
            notify.alive()
            await asyncio.sleep(notify.watchdog())
        await asyncio.Event().wait()

    async def _verify(self) -> None:
        while True:
            await asyncio.sleep(self.settings.verify_interval)
            await self._look_for_server()
            await self.programmer.verify()
            if self.programmer.failures:
                self._changed.set()  # what failed may fit by now

    async def _look_for_server(self) -> None:
        """A new address of the API server is protected at once: who is locked out hears of no change that does it."""
        found = await named_addresses(self.source.peer)
        if found and found != self.programmer.api_server:
            self.programmer.api_server = found
            self._changed.set()

    async def _follow_lists(self) -> None:
        await lists.follow(self.programmer.shield.folder, self._look_at_lists)

    def _look_at_lists(self) -> None:
        if self.programmer.shield.lists:
            self._changed.set()

    def _snapshot_read(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        own = snapshot.node(self.settings.node)
        self.proxy.health.eligible = not (own and own.leaving)
        self.proxy.queued(snapshot)
        self._changed.set()
        for problem in snapshot.problems:
            log.warning("%s", problem)

    def _devices_found(self, devices: Devices) -> None:
        self.devices = devices
        self._scanned.set()
        self._changed.set()
