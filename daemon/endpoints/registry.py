"""Gives every workload its numbers, and tells them to the kernel and to the directory.

The `addresses` map lets the packet path name both ends of a flow by number; the directory turns the numbers into
words. Both get the same content from here, the map by difference to what is in it, so that an agent that starts on
the pins of another changes nothing that is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

import numpy as np

from daemon.endpoints.device import Devices
from daemon.endpoints.joining import Key, Party
from daemon.endpoints.numbers import Numbers
from daemon.endpoints.parties import PartyBook
from daemon.model.directory import FIRST_IDENTITY, FIRST_WORKLOAD, HOST, Directory, packed
from daemon.model.objects import Pod
from daemon.model.workload import Identity, IPAddress, Workload, WorkloadId
from ebpf.constants import AddressFlag
from ebpf.maps import Columns, HashMap

HOST_KEY: Key = ("", "", 0)
"""under which the node itself is kept"""
IPNetwork = IPv4Network | IPv6Network


class Entry(NamedTuple):
    """A value of the `addresses` map."""

    workload: int
    identity: int
    ifindex: int
    flags: int = 0
    netns: int = 0


class Held(NamedTuple):
    """A workload, and its entries in the map by address."""

    workload: Workload
    entries: dict[bytes, Entry]


@dataclass(frozen=True, slots=True)
class Changes:
    """What one `apply` did to the map, in entries; `contested` are addresses that a second pod claims too."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    contested: tuple[IPv4Address | IPv6Address, ...] = ()


class WorkloadRegistry:
    """The only writer of the `addresses` map and of the directory's workloads. Not thread-safe."""

    def __init__(self, directory: Directory, addresses: HashMap, node_ports: Sequence[IPNetwork] = ()) -> None:
        """Reads the map; raises KernelError when that fails.

        `node_ports`: on which of the node's own addresses node ports answer; on all where none is named.
        """
        self._directory = directory
        self._node_ports = tuple(node_ports)
        self._map = addresses
        self._written: dict[bytes, Entry] = self._read()
        self._workloads = Numbers(FIRST_WORKLOAD, {raw: entry.workload for raw, entry in self._written.items()})
        self._identities = Numbers(FIRST_IDENTITY, {raw: entry.identity for raw, entry in self._written.items()})
        self._holders: dict[int, Key] = {}
        self._book = PartyBook()
        self._held: dict[Key, Held] | None = None  # None: the map may hold more than is known
        """what each party has in the map and in the directory"""

    @property
    def local(self) -> tuple[Party, ...]:
        """The parties of this node."""
        return self._book.local

    @property
    def pods(self) -> Mapping[tuple[str, str], Pod]:
        """All pods by namespace and name."""
        return self._book.pods

    def apply(self, devices: Devices, pods: Sequence[Pod]) -> Changes:
        """Make map and directory say exactly this, at the price of what changed since the last call.

        Raises MapFullError with map and directory as they were, or KernelError; then the next call reads the map anew.
        """
        if self._held is None:
            self._book = PartyBook()
        difference = self._book.update(devices, pods)
        self._hand_down(self._book.local)
        host = self._host(devices)
        now = {} if self._held and self._held[HOST_KEY] == host else {HOST_KEY: host}
        now.update((party.key, self._taken(party)) for party in difference.changed)
        try:
            changes = self._write(now, difference.gone)
        except BaseException:
            self._held, self._written = None, self._read()
            raise
        self._workloads.forget(difference.gone)
        return replace(changes, contested=difference.contested)

    def _hand_down(self, parties: Iterable[Party]) -> None:
        """A device that had no name and turns out to be a pod's keeps its number: it was that pod all along."""
        holders = {device.ifindex: party.key for party in parties for device in party.devices}
        for ifindex, key in holders.items():
            before = self._holders.get(ifindex)
            if before and not before[0]:
                self._workloads.inherit(key, before)
        self._holders = holders

    def _taken(self, party: Party) -> Held:
        """A party under its number."""
        raws = [packed(address) for address in party.addresses]
        workload = Workload(
            WorkloadId(self._workloads.of(party.key, raws)),
            Identity(self._identities.of(party.labels, raws)),
            party.namespace,
            party.name,
            party.labels,
            party.owners,
            party.addresses,
            party.ifindex,
            party.devices[0].name if party.devices else "",
        )
        return Held(workload, _entries(party, workload))

    def _write(self, now: dict[Key, Held], gone: Iterable[Key]) -> Changes:
        """Write what differs, first what is new; `now` are the parties that changed, `gone` those that are no more."""
        held, written = self._held, self._written
        before = [held[key] for key in (*now, *gone) if key in held] if held is not None else []
        wanted = {raw: entry for one in now.values() for raw, entry in one.entries.items()}
        fresh = {raw: entry for raw, entry in wanted.items() if written.get(raw) != entry}
        candidates = written if held is None else {raw: None for one in before for raw in one.entries}
        left = [raw for raw in candidates if raw not in wanted]
        self._map.update(self._keys(fresh), self._values(fresh.values()))
        if held is None:
            self._directory.update_workloads(one.workload for one in now.values())
        else:
            lost = [held[key].workload.id for key in gone]
            self._directory.change_workloads([one.workload for one in now.values()], lost)
        self._map.delete(self._keys(left))
        return self._remember(now, gone, fresh, left)

    def _remember(
        self, now: dict[Key, Held], gone: Iterable[Key], fresh: dict[bytes, Entry], left: Sequence[bytes]
    ) -> Changes:
        added = sum(raw not in self._written for raw in fresh)
        self._written.update(fresh)
        for raw in left:
            del self._written[raw]
        self._held = self._held if self._held is not None else {}
        self._held.update(now)
        for key in gone:
            self._held.pop(key, None)
        return Changes(added, len(fresh) - added, len(left))

    def _host(self, devices: Devices) -> Held:
        host = replace(HOST, addresses=tuple(sorted(devices.node_addresses, key=packed)))
        return Held(host, {packed(one): Entry(host.id, host.identity, 0, self._flags(one)) for one in host.addresses})

    def _flags(self, address: IPAddress) -> int:
        served = not self._node_ports or any(address in network for network in self._node_ports)
        return 0 if served else int(AddressFlag.NO_NODE_PORTS)

    def _read(self) -> dict[bytes, Entry]:
        keys, values = self._map.items()
        columns = (values[name].tolist() for name in Entry._fields)
        raws = (key.tobytes() for key in keys)
        return {raw: Entry(*row) for raw, row in zip(raws, zip(*columns, strict=True), strict=True)}

    def _keys(self, raws: Iterable[bytes]) -> Columns:
        return np.frombuffer(b"".join(raws), self._map.key_dtype)

    def _values(self, entries: Iterable[Entry]) -> Columns:
        rows = list(entries)
        values = np.zeros(len(rows), self._map.value_dtype)
        for name, column in zip(Entry._fields, zip(*rows, strict=True), strict=False):
            values[name] = column
        return values


def _entries(party: Party, workload: Workload) -> dict[bytes, Entry]:
    devices = {address: device for device in party.devices for address in device.addresses}
    nsids = {device.ifindex: device.nsid + 1 for device in party.devices}
    entries = {}
    for address in workload.addresses:
        ifindex = devices[address].ifindex if address in devices else workload.ifindex
        entries[packed(address)] = Entry(workload.id, workload.identity, ifindex, netns=nsids.get(ifindex, 0))
    return entries
