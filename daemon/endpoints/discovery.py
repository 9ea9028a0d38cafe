"""Finds the devices behind which workloads run, and keeps finding them.

A scan is cheap, so nothing is tracked: any event about a link or an address, here or in a workload's namespace,
means that everything is read again a moment later. That leaves no order of events that could be got wrong (a veth
moved before or after it got its address, a namespace deleted with all that is in it), and lost events cost nothing.

Race-free by this order: the kernel numbers a workload's namespace when the link is read, only then are its addresses
read, and from the numbering on we are told of changes inside.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

from daemon.endpoints.device import Device, Devices, Uplink
from daemon.endpoints.namespaces import NetworkNamespace, by_nsid
from daemon.endpoints.netlink import Link, Netlink, open_events
from daemon.model.workload import IPAddress

DEBOUNCE = 0.05  # s from the first event to the scan, in which a burst of events gathers
RESYNC = 30.0  # s; catches what sends no event, such as a name mounted for a namespace later
KINDS = frozenset({"veth", "netkit"})
OVERLAYS = frozenset({"vxlan", "geneve"})  # backends behind them answer by them

_GONE = {errno.ENODEV, errno.ENOENT, errno.EINVAL}
_UNKNOWN = NetworkNamespace("", 0)
_log = logging.getLogger(__name__)

OnChange = Callable[[Devices], None]


def scan(uplinks: Sequence[str] = ()) -> Devices:
    """Read everything once, in the network namespace of the calling thread. Raises OSError.

    `uplinks` are names or patterns of devices that lead outside; without one those count that carry a default route,
    and overlays.
    """
    with Netlink() as netlink:
        every = netlink.links()
        outside = _uplinks(netlink, every, uplinks)
        taken = {uplink.ifindex for uplink in outside}
        links = [link for link in every if link.kind in KINDS and link.peer_nsid >= 0 and link.index not in taken]
        spaces = by_nsid(netlink, {link.peer_nsid for link in links})
        found = [_device(netlink, link, spaces.get(link.peer_nsid, _UNKNOWN)) for link in links]
        own = frozenset(address for address in netlink.addresses() if _tellable(address))
    return Devices(tuple(sorted(device for device in found if device)), own, tuple(sorted(outside)))


def _uplinks(netlink: Netlink, links: Sequence[Link], patterns: Sequence[str]) -> list[Uplink]:
    """The devices that lead outside. Those without Ethernet addresses cannot be read: named ones are refused later."""
    routed = set() if patterns else netlink.default_routes()
    chosen = [
        link
        for link in links
        if any(fnmatchcase(link.name, pattern) for pattern in patterns)
        or (not patterns and link.mac and (link.index in routed or link.kind in OVERLAYS))
    ]
    return [
        Uplink(link.index, link.name, tuple(filter(_tellable, netlink.addresses(link.index))), link.mac)
        for link in chosen
    ]


def _device(netlink: Netlink, link: Link, space: NetworkNamespace) -> Device | None:
    try:
        peer = netlink.link(link.peer, link.peer_nsid)
        addresses = netlink.addresses(link.peer, link.peer_nsid)
    except OSError as error:
        if error.errno in _GONE:  # deleted since the links were read
            return None
        raise
    tellable = tuple(address for address in addresses if _tellable(address))
    return Device(link.index, link.name, space.name, space.inode, tellable, peer.mac, link.peer_nsid)


def _tellable(address: IPAddress) -> bool:
    """Whether an address stands for one workload: link-local ones repeat from link to link."""
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


class Discovery:
    """Scans when something changed and tells `on_change`, on the event loop, when the result differs."""

    def __init__(
        self,
        on_change: OnChange,
        *,
        uplinks: Sequence[str] = (),
        debounce: float = DEBOUNCE,
        resync: float = RESYNC,
    ) -> None:
        self.current = Devices()
        self._uplinks = tuple(uplinks)
        self._on_change = on_change
        self._debounce = debounce
        self._resync = resync
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled; a scan that fails is logged and tried again. `on_change` is called at once first."""
        loop = asyncio.get_running_loop()
        with open_events() as events:
            loop.add_reader(events, self._drain, events)
            try:
                await self._follow()
            finally:
                loop.remove_reader(events)

    async def _follow(self) -> None:
        first = True
        while True:
            self._woken.clear()
            try:
                found = await asyncio.to_thread(scan, self._uplinks)
            except OSError as error:
                _log.warning("devices could not be read: %s; trying again in %g s", error, self._debounce)
                self._woken.set()
            else:
                if first or found != self.current:
                    first = False
                    self.current = found
                    self._on_change(found)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._resync):
                    await self._woken.wait()
            await asyncio.sleep(self._debounce)

    def _drain(self, events: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                try:
                    events.recv(1 << 16)
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
        self._woken.set()
