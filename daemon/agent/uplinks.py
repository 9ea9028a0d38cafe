"""The devices that lead outside: told to the programs, and the programs attached to them.

Beside the programs themselves each such device has an entry with the node's addresses on it, behind which clients from
outside are hidden. The entry is there before the programs are, and stays until they are gone.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterable

import numpy as np

from daemon.endpoints import Devices, Uplink
from daemon.model.workload import IPAddress
from ebpf.addresses import pack
from ebpf.datapath import Datapath, wire_mode
from ebpf.errors import AttachError, KernelError
from ebpf.xdp import Mode

log = logging.getLogger(__name__)

NOWHERE = bytes(16)


class Uplinks:
    """What of them is in force; for the programmer's thread."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._attached: dict[int, Uplink] = {}
        self._told: Devices | None = None
        self._swept = False

    def tell(self, devices: Devices) -> None:
        """Write what is known of the uplinks, and of the node, where the programs read it; raises KernelError."""
        if self._told is devices:
            return
        table = self._datapath.maps["uplinks"]
        held, _ = table.items()
        keys = np.array([one.ifindex for one in devices.uplinks], table.key_dtype)
        values = np.zeros(len(keys), table.value_dtype)
        for value, uplink in zip(values, devices.uplinks, strict=True):
            value["mac"] = np.frombuffer(bytes.fromhex(uplink.mac.replace(":", "")) or bytes(6), np.uint16)
            value["wire"] = wire_mode(self._datapath.wires.get(uplink.ifindex, Mode.OFF))
            for version in (4, 6):
                value[f"address{version}"] = np.frombuffer(_first(uplink.addresses, version), np.uint32)
        table.update(keys, values)
        table.delete(np.setdiff1d(held, keys))
        own = [address for uplink in devices.uplinks for address in uplink.addresses]
        own += sorted(devices.node_addresses, key=str)
        self._datapath.tell_node(_first(own, 4), _first(own, 6))
        self._told = devices

    def leave(self, devices: Devices) -> None:
        """Take the programs off devices that are uplinks no more, also those that an earlier agent left behind."""
        wanted = {one.ifindex for one in devices.uplinks}
        watched = {one.ifindex for one in devices.devices}
        for ifindex in self._attached.keys() - wanted:
            del self._attached[ifindex]
            self._let_go(ifindex, watched)
        if not self._swept:
            self._swept = True
            for ifindex, _ in socket.if_nameindex():
                if ifindex not in wanted | watched and self._datapath.has_filter(ifindex):
                    self._let_go(ifindex, watched)

    def missing(self, devices: Devices) -> list[Uplink]:
        """Those that the programs are still to be attached to."""
        return [one for one in devices.uplinks if one.ifindex not in self._attached]

    def attach(self, uplink: Uplink) -> None:
        """Attach the programs to one; raises AttachError."""
        if not uplink.mac:
            what = f"{uplink.name} has no Ethernet header, as tunnels have none; clients behind it are not served"
            raise AttachError(what, hint="leave it out of the setting `uplinks`")
        try:
            self._datapath.attach_uplink(uplink.ifindex, uplink.name)
        except AttachError as error:
            if error.errno != errno.ENODEV:
                raise
            return  # gone since it was found; the next scan will say so
        self._attached[uplink.ifindex] = uplink
        log.info(
            "serving clients outside on %s (%s)", uplink.name, ", ".join(map(str, uplink.addresses)) or "no address"
        )

    def restore(self) -> Iterable[Uplink]:
        """Those that somebody took our programs off; raises AttachError."""
        return [one for one in self._attached.values() if not self._datapath.is_attached(one.ifindex)]

    def _let_go(self, ifindex: int, watched: set[int]) -> None:
        """A device that became a workload's gets other programs in the same place; any other loses ours."""
        self._datapath.uplinks.pop(ifindex, None)
        try:
            if ifindex in watched:
                self._datapath.attach_wire(ifindex, Mode.OFF)
                return
            self._datapath.detach_device(ifindex)
        except KernelError as error:
            log.warning("%s", error)


def _first(addresses: Iterable[IPAddress], version: int) -> bytes:
    return next((pack(address) for address in addresses if address.version == version), NOWHERE)
