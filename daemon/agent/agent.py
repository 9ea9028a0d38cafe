"""The agent's life: start in order, run, stop in reverse order.

Nothing is programmed before the sources were read, and the socket programs go
on only when the Services that they look up are in place; so an agent that starts
on the pins of a dead one never shows traffic a half-filled map.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from daemon.agent import metrics, notify
from daemon.agent.metrics import AgentCollector
from daemon.agent.programmer import Programmer
from daemon.agent.proxy import Proxy
from daemon.agent.reader import Reader
from daemon.agent.view import View
from daemon.api import ApiServer
from daemon.endpoints import Devices, Discovery
from daemon.flows.builder import FlowBuilder
from daemon.flows.clock import Clock
from daemon.flows.metrics import FlowMetrics
from daemon.flows.pipeline import FlowPipeline
from daemon.flows.store import FlowStore
from daemon.model import Directory
from daemon.model.snapshot import Snapshot
from daemon.settings import Settings
from daemon.sources import FolderSource
from ebpf.datapath import Datapath

log = logging.getLogger(__name__)

VERIFY_INTERVAL = 30.0  # s between looks whether our programs are still where we put them
FIRST_SCAN_TIMEOUT = 5.0  # s that the first look for devices may take before the agent goes on without


class Agent:
    """One agent; `run` returns after `stop` was called. Raises RemoraError where it cannot start."""

    def __init__(self, settings: Settings, config: Path | None, datapath: Datapath) -> None:
        self.settings = settings
        self.config = config
        self.directory = Directory()
        self.clock = Clock()
        self.programmer = Programmer(settings, self.directory, datapath)
        self.source = FolderSource(settings.manifests)
        self.discovery = Discovery(self._devices_found)
        self.devices = Devices()
        self.proxy = Proxy(self.programmer.table.node)
        self._snapshot: Snapshot | None = None
        self._scanned = asyncio.Event()
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Ask the agent to end."""
        self._stop.set()

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
        server = ApiServer(view, Path(self.settings.socket))
        await server.start()
        stack.push_async_callback(server.stop)
        if self.settings.metrics_address:
            own = AgentCollector(self.programmer.datapath, view)
            stack.callback(metrics.serve(self.settings.metrics_address, self.flow_metrics, own, self.proxy))
        self._spawn("reconcile", self._reconcile)
        self._spawn("verify", self._verify)
        stack.push_async_callback(self._cancel)

    async def _see_all(self, stack: AsyncExitStack) -> None:
        """Read the sources and look for devices, then program both, before anything is attached to sockets."""
        await self.source.start(self._snapshot_read)
        stack.push_async_callback(self.source.stop)
        self._spawn("discovery", self.discovery.run)
        try:
            await asyncio.wait_for(self._scanned.wait(), FIRST_SCAN_TIMEOUT)
        except TimeoutError:
            log.warning("the devices of this host could not be read in %.0f s; going on", FIRST_SCAN_TIMEOUT)
        await self._apply()

    def _watch(self, stack: AsyncExitStack) -> View:
        datapath = self.programmer.datapath
        store = FlowStore(datapath.flow_dtype, self.settings.flow_capacity)
        self.flow_metrics = FlowMetrics(self.directory)
        pipeline = FlowPipeline(store, self.flow_metrics)
        reader = Reader(datapath, pipeline, self.flow_metrics)
        reader.start()
        stack.callback(reader.stop)
        builder = FlowBuilder(self.directory, self.settings.qualified_node, self.clock, pipeline.names)
        return View(self, store, builder, pipeline, reader)

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
            except Exception:
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
        if "services" not in self.programmer.failures:
            await self.proxy.synced(taken, self.programmer.table, whole=self.programmer.whole)

    async def _verify(self) -> None:
        while True:
            await asyncio.sleep(VERIFY_INTERVAL)
            await self.programmer.verify()
            if self.programmer.failures:
                self._changed.set()  # what failed may fit by now

    def _snapshot_read(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.proxy.queued(snapshot)
        self._changed.set()
        for problem in snapshot.problems:
            log.warning("%s", problem)

    def _devices_found(self, devices: Devices) -> None:
        self.devices = devices
        self._scanned.set()
        self._changed.set()
