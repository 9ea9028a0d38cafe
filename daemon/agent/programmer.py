"""Everything that writes to the kernel, on one thread.

Netlink dialogues and batch writes block for milliseconds, so they do not belong
on the event loop; and two writers at once would need locks. So there is one
thread, and it is handed the newest state: what is wanted (a source's snapshot)
and what is there (the devices that were found). Each step is guarded: a map that
is full or a device that went away must not keep the other steps from their work.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from prometheus_client import Histogram

from daemon.agent.api_server import served_addresses
from daemon.agent.enforcement import Enforcement
from daemon.agent.shielding import Shielding
from daemon.agent.spreading import Spreading
from daemon.agent.uplinks import Uplinks
from daemon.agent.verify import Promised
from daemon.agent.wires import Wires
from daemon.endpoints import Device, Devices, PacketPath, Rule, WorkloadRegistry
from daemon.model import Directory, IPAddress, Node
from daemon.model.shelves import Shelves, differing
from daemon.model.snapshot import Snapshot
from daemon.services import Applied, PortsInForce, ServiceReconciler, ServiceTable, compile_services, every_port
from daemon.services.datagrams import keepable, lost_datagrams
from daemon.services.ranges import write_ranges
from daemon.services.translations import cut_stale
from daemon.services.udp import close_stale
from daemon.settings import PolicyDefault, Settings
from ebpf.datapath import Datapath
from ebpf.errors import AttachError, RemoraError
from ebpf.features import cgroup2_mount
from ebpf.grace import wait_for_readers

log = logging.getLogger(__name__)

SECOND_LOOK = 0.5  # s after which stale sockets are looked for once more
COLLECT_DELAY = 0.1  # s after a change until the slots that it left are collected; more changes may come meanwhile

T = TypeVar("T")


class Programmer:
    """Owns the datapath and its single thread. `failures` says which steps failed when last tried, and why."""

    def __init__(self, settings: Settings, directory: Directory, datapath: Datapath) -> None:
        self._settings = settings
        self._directory = directory
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="remora-programmer")
        self.datapath = datapath
        self.table = ServiceTable(Node(settings.node, settings.zone))
        self.in_force: PortsInForce = Shelves()
        """the ports in force of each Service or pod; replaced as a whole"""
        self.failures: dict[str, str] = {}
        self.last_sync = 0.0
        """seconds that the last reconciliation took"""
        self.syncs = Histogram("remora_sync_seconds", "Time that a reconciliation took.", registry=None)
        self._attached: dict[int, Device] = {}
        self._contested: set[IPAddress] = set()
        self._ranges_due = True  # an earlier agent may have left others in the map
        self.api_server: frozenset[bytes] = frozenset()
        """addresses (16 bytes) of the API server beside those that the cluster names"""
        self._uplinks = Uplinks(datapath)
        self.wires = Wires(datapath)
        self._released = False  # UDP flows that an earlier agent left behind were looked at
        self._second_look = False
        self.sockets_closed = 0
        """connected UDP sockets that were closed because their backend was gone"""
        self.flows_cut = 0
        """UDP flows from outside that were taken from backends that are gone"""
        self.sockets_left = 0
        """those that could not be closed at the last attempt"""
        self._collect_due = self._spread_due = False
        self._collector: asyncio.Task[None] | None = None
        self._spreader: asyncio.Task[None] | None = None

    @property
    def applied(self) -> tuple[Applied, ...]:
        """All ports in force."""
        return every_port(self.in_force)

    @property
    def watched(self) -> dict[int, str]:
        """Devices by number: "" where our programs are attached, else why they could not be."""
        failed = {
            int(step.removeprefix("device ")): reason
            for step, reason in list(self.failures.items())
            if step.startswith("device ")
        }
        return {**dict.fromkeys(list(self._attached), ""), **failed}

    async def start(self) -> None:
        """Read what the maps hold already; raises RemoraError."""
        await self._run(self._open)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings; what is fixed when maps are made stays as it is."""
        self._settings = settings
        self.packet_path.rule = _packet_rule(settings)

    async def apply(self, snapshot: Snapshot, devices: Devices) -> None:
        """Make the kernel say this; problems are in `failures` and in the log, never raised."""
        await self._run(self._apply, snapshot, devices)
        if self._collect_due and (self._collector is None or self._collector.done()):
            self._collector = asyncio.create_task(self._collect(), name="collect")
        if self._spread_due and (self._spreader is None or self._spreader.done()):
            self._spreader = asyncio.create_task(self._spread(), name="spread")
        if self._second_look:
            self._second_look = False
            asyncio.get_running_loop().call_later(SECOND_LOOK, self._look_again)

    async def enter(self) -> None:
        """Attach the socket programs, once Services are in place; let go of older builds. Raises RemoraError."""
        await self._run(self._enter)

    async def verify(self) -> None:
        """Attach again where somebody took our programs off a device."""
        await self._run(self._verify)

    async def stop(self) -> None:
        """Let go of the kernel; everything stays in place there."""
        for task in (self._collector, self._spreader):
            if task:
                task.cancel()
        await self._run(self._close)
        self._thread.shutdown()

    def promised(self) -> Promised:
        """What the kernel's maps of Services must hold now; for `read`."""
        numbers = {one.entry.key: one.number for one in self.applied}
        services, table = self._services, self.table
        return Promised(services.written, table.workings.snapshot, table.node, numbers, services.spare)

    @property
    def whole(self) -> bool:
        """Whether the last reconciliation compared all Services with the kernel, or only those that changed."""
        return self._services.whole

    async def read(self, work: Callable[[], T]) -> T:
        """What `work` finds while nobody writes."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _run(self, work: Callable[..., None], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _collect(self) -> None:
        """Delete slots that no entry counts any more. The wait for programs that look at them keeps no change back."""
        while (until := await self.read(self._spare_since)) is not None:
            await asyncio.sleep(COLLECT_DELAY)
            await asyncio.to_thread(wait_for_readers)
            await self._run(self._guarded, "old slots", partial(self._services.collect, until))

    async def _spread(self) -> None:
        """Build the tables that are missing, one at a time, so that no change waits for all; then tidy up."""
        while await self.read(lambda: self.spreading.pending):
            await self._run(self._guarded, "maglev tables", self.spreading.work)
            if "maglev tables" in self.failures:
                return  # the next change tries again
        await self._run(self._guarded, "maglev", self.spreading.check)
        while until := await self.read(lambda: self.spreading.spare):
            await asyncio.to_thread(wait_for_readers)
            await self._run(self._guarded, "old maglev tables", partial(self.spreading.collect, until))
            if "old maglev tables" in self.failures:
                return

    def _spare_since(self) -> int | None:
        return self._services.written if self._services.spare else None

    def _look_again(self) -> None:
        """For sockets that were just connecting when their backend went."""
        with suppress(RuntimeError):  # the thread has ended meanwhile
            self._thread.submit(self._guarded, "stale sockets", self._close_stale)

    def _open(self) -> None:
        maps = self.datapath.maps
        self._services = ServiceReconciler(maps["services"], maps["backends"])
        self._registry = WorkloadRegistry(self._directory, maps["addresses"], self._settings.node_port_networks)
        self.spreading = Spreading(maps, self._settings.maglev_places, self._settings.outside_algorithm)
        self.datapath.tell_flags(self._settings.node_flags())
        self.packet_path = PacketPath(_packet_rule(self._settings), maps["packet_clients"])
        self.policies = Enforcement(self.datapath, self._settings)
        self.shield = Shielding(self.datapath, self._settings)

    def _close(self) -> None:
        self.datapath.close()

    def _apply(self, snapshot: Snapshot, devices: Devices) -> None:
        started = time.monotonic()
        if self._settings.policy_default is PolicyDefault.DENY:
            self._sync_devices(devices)  # first: nothing must pass before its verdict
        self._guarded("services", lambda: self._sync_services(snapshot))
        self._guarded("workloads", lambda: self._sync_workloads(snapshot, devices))
        self._guarded("packet path", lambda: self.packet_path.apply(self._registry.local, self._registry.pods))
        self._sync_devices(devices)
        if devices != Devices():  # until devices were looked for, what an earlier agent left stays
            self._guarded("shield", lambda: self._sync_shield(snapshot, devices))
        self._sync_uplinks(devices)
        if devices != Devices():
            self._guarded("policies", lambda: self._sync_policies(snapshot))
        self._collect_due, self._spread_due = bool(self._services.spare), self.spreading.due
        self.last_sync = time.monotonic() - started
        self.syncs.observe(self.last_sync)

    def _sync_services(self, snapshot: Snapshot) -> None:
        before = self.table
        table = compile_services(snapshot, self._node(snapshot), before)
        changes = self._services.apply(table)
        self.table = table  # only now: what could not be programmed is not in force
        self._services_changed()
        self._guarded("maglev tables", lambda: self.spreading.follow(table, self.in_force))
        if changes:
            log.info("services: %s", changes)
        self._backends_moved(before, table)

    def _services_changed(self) -> None:
        """Bring what follows from the Services up to date, where it is concerned."""
        services = self._services
        sides = differing(self.in_force, services.in_force)
        self.in_force = services.in_force
        ports = (one for side in sides for some in side.values() for one in some)
        self._ranges_due = self._ranges_due or any(one.entry.ranges for one in ports)
        if self._ranges_due:
            write_ranges(self.datapath.maps["source_ranges"], self.applied)
            self._ranges_due = False
        self._directory.update_services(services.names(), services.frontends())

    def _backends_moved(self, before: ServiceTable, table: ServiceTable) -> None:
        """Let go of UDP flows whose backend serves no more, also of those that lost it while no agent ran."""
        if self._released and not lost_datagrams(before, table):
            return
        self._released = self._second_look = True
        self._close_stale()
        self.flows_cut += cut_stale(self.datapath.maps["translations"], keepable(self.applied))

    def _node(self, snapshot: Snapshot) -> Node:
        """This node; its zone is the Node object's where there is one."""
        known = snapshot.node(self._settings.node)
        return Node(self._settings.node, known.zone if known else self._settings.zone)

    def _close_stale(self) -> None:
        """Close connected UDP sockets whose backend serves no more."""
        done = close_stale(self.datapath.maps["reverses"], keepable(self.applied))
        self.sockets_closed += done.closed
        self.sockets_left = done.left
        if done.closed or done.failures:
            log.info("connected UDP sockets of backends that are gone: %s", done)

    def _sync_workloads(self, snapshot: Snapshot, devices: Devices) -> None:
        changes = self._registry.apply(devices, snapshot.pods)
        for address in set(changes.contested) - self._contested:
            log.warning("two pods claim %s; the first one has it", address)
        self._contested = set(changes.contested)

    def _sync_policies(self, snapshot: Snapshot) -> None:
        """After the devices are attached: what a workload sends before its verdict is left to `policy_default`."""
        self.policies.apply(snapshot, self._registry.local, self._settings.source_check)

    def _sync_shield(self, snapshot: Snapshot, devices: Devices) -> None:
        """Before the uplinks: what comes in by them meets it from the first frame on."""
        known = snapshot.node(self._settings.node)
        labels = {**self._settings.label_map, **(known.labels if known else {})}
        served = served_addresses(snapshot) if snapshot.shields else frozenset()
        self.shield.apply(snapshot, devices, labels, self.api_server | served)

    def _sync_devices(self, devices: Devices) -> None:
        wanted = {device.ifindex: device for device in devices.devices}
        for ifindex in self._attached.keys() - wanted.keys():
            del self._attached[ifindex]
            self.datapath.devices.pop(ifindex, None)
            self.failures.pop(f"device {ifindex}", None)
        for ifindex, device in wanted.items():
            before = self._attached.get(ifindex)
            if not before or (before.name, before.netns_inode) != (device.name, device.netns_inode):
                self._guarded(f"device {ifindex}", lambda device=device: self._attach(device))  # type: ignore[misc]

    def _attach(self, device: Device) -> None:
        try:
            self.datapath.attach_device(device.ifindex, device.name)
        except AttachError as error:
            if error.errno != errno.ENODEV:
                raise
            return  # gone since it was found; the next scan will say so
        self._attached[device.ifindex] = device
        log.info("watching %s (%s)", device.name, device.netns_name or f"netns {device.netns_inode}")

    def _sync_uplinks(self, devices: Devices) -> None:
        if devices == Devices():
            return  # nobody has looked yet: what an earlier agent attached goes on serving
        self._guarded("uplinks", lambda: self._uplinks.tell(devices))
        self._guarded("acceleration", lambda: self.datapath.tell_flags(self._settings.node_flags()))
        self._guarded("uplinks left", lambda: self._uplinks.leave(devices))
        for uplink in self._uplinks.missing(devices):
            self._guarded(f"uplink {uplink.name}", lambda uplink=uplink: self._uplinks.attach(uplink))  # type: ignore[misc]
        for uplink in self.wires.due(devices, self._settings):
            self._guarded(f"xdp {uplink.name}", partial(self.wires.attach, uplink, self._settings))

    def _restore_uplinks(self) -> None:
        for uplink in self._uplinks.restore():
            log.warning("somebody took our programs off %s; they are attached again", uplink.name)
            self._uplinks.attach(uplink)
            self.wires.attach(uplink, self._settings)

    def _enter(self) -> None:
        mount = cgroup2_mount()
        cgroup = Path(self._settings.cgroup) if self._settings.cgroup else mount
        assert cgroup is not None, "features.require() has seen to it"
        self.datapath.attach_cgroup(cgroup)
        self.datapath.remove_old()

    def _verify(self) -> None:
        for device in list(self._attached.values()):
            self._guarded(f"device {device.ifindex}", lambda device=device: self._restore(device))  # type: ignore[misc]
        self._guarded("uplinks", self._restore_uplinks)

    def _restore(self, device: Device) -> None:
        try:
            intact = self.datapath.is_attached(device.ifindex)
        except AttachError as error:
            if error.errno != errno.ENODEV:
                raise
            return
        if not intact:
            log.warning("somebody took our programs off %s; they are attached again", device.name)
            self._attach(device)

    def _guarded(self, step: str, work: Callable[[], None]) -> None:
        try:
            work()
        except (RemoraError, OSError, ValueError) as error:
            if self.failures.get(step) != str(error):
                log.error("%s: %s", step, error)
            self.failures[step] = str(error)
        else:
            self.failures.pop(step, None)


def _packet_rule(settings: Settings) -> Rule:
    return Rule(settings.packet_path_runtimes, settings.packet_path_labels)
