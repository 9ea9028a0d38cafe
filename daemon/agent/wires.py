"""The XDP program on the devices that lead outside: where it runs on each, and why not better.

XDP is never needed: what it does not decide goes to TC, which does the same. So a driver that cannot, or a program of
somebody else, costs speed and nothing more; but nobody should have to guess why, and every step back is told.
"""

from __future__ import annotations

import errno
import logging

from daemon.endpoints import Devices, Uplink
from daemon.settings import Settings, XdpMode
from ebpf.datapath import Datapath
from ebpf.errors import AttachError
from ebpf.xdp import Mode

log = logging.getLogger(__name__)

_MODES = {XdpMode.OFF: Mode.OFF, XdpMode.NATIVE: Mode.NATIVE, XdpMode.GENERIC: Mode.GENERIC}


class Wires:
    """What of it is in force; for the programmer's thread."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._done: dict[int, tuple[str, XdpMode]] = {}
        self.fallbacks: dict[str, str] = {}
        """device to why it does not have the mode that was asked for, or that `auto` begins with"""

    def due(self, devices: Devices, settings: Settings) -> list[Uplink]:
        """Uplinks whose mode is to be set, once; those that an earlier agent left with another one are among them."""
        present = {one.ifindex for one in devices.uplinks}
        self._done = {ifindex: done for ifindex, done in self._done.items() if ifindex in present}
        return [one for one in devices.uplinks if self._done.get(one.ifindex) != (one.name, settings.xdp_of(one.name))]

    def attach(self, uplink: Uplink, settings: Settings) -> None:
        """Set the mode of one; raises AttachError where it cannot be, and TC serves the device alone."""
        wanted = settings.xdp_of(uplink.name)
        self.fallbacks.pop(uplink.name, None)
        if wanted is not XdpMode.OFF and not self._datapath.has_xdp:
            what = f"XDP on {uplink.name}: no program for it was made"
            raise AttachError(
                what, hint="restart the agent, which touches no traffic; `remora status` says if it fails"
            )
        try:
            self._attach(uplink, wanted)
        except AttachError as error:
            if error.errno != errno.ENODEV:
                raise
            return  # gone since it was found; the next scan will say so
        self._done[uplink.ifindex] = uplink.name, wanted

    def _attach(self, uplink: Uplink, wanted: XdpMode) -> None:
        if wanted in _MODES:
            self._set(uplink, _MODES[wanted])
            return
        try:
            self._set(uplink, Mode.NATIVE)
        except AttachError as error:
            if error.errno in (errno.ENODEV, errno.EBUSY):
                raise
            self._set(uplink, Mode.GENERIC)
            self._tell(uplink, f"is generic, which is slower: the driver cannot do native ({error})")

    def _set(self, uplink: Uplink, mode: Mode) -> None:
        before = self._datapath.wires.get(uplink.ifindex, Mode.OFF)
        self._datapath.attach_wire(uplink.ifindex, mode)
        now = self._datapath.wires.get(uplink.ifindex, Mode.OFF)
        if now is not before:
            log.info("XDP on %s: %s", uplink.name, now)
        if now is not mode:
            self._tell(uplink, f"is {now} and not {mode}, as the dispatcher is that it joined")

    def _tell(self, uplink: Uplink, words: str) -> None:
        self.fallbacks[uplink.name] = f"XDP on {uplink.name} {words}"
        log.warning("%s", self.fallbacks[uplink.name])


def wired(datapath: Datapath) -> list[str]:
    """Uplinks that the program runs on, with its mode and the programs of others beside it."""
    names = datapath.uplinks
    return [
        f"{names[one]} {mode}{_beside(datapath, one)}" for one, mode in list(datapath.wires.items()) if one in names
    ]


def _beside(datapath: Datapath, ifindex: int) -> str:
    others = datapath.beside(ifindex)
    return f" beside {', '.join(others)}" if others else ""
