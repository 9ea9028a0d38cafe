"""Gives every workload its numbers, and tells them to the kernel and to the directory.

The `addresses` map lets the packet path name both ends of a flow by number; the directory turns the numbers into
words. Both get the same content from here, the map by difference to what is in it, so that an agent that starts on
the pins of another changes nothing that is right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

import numpy as np

from daemon.endpoints.device import Devices
from daemon.endpoints.joining import Key, Party, join
from daemon.endpoints.numbers import Numbers
from daemon.model.directory import FIRST_IDENTITY, FIRST_WORKLOAD, HOST, Directory, packed
from daemon.model.objects import Pod
from daemon.model.workload import Identity, Workload, WorkloadId
from ebpf.maps import Columns, HashMap


class Entry(NamedTuple):
    """A value of the `addresses` map."""

    workload: int
    identity: int
    ifindex: int
    netns: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """What one `apply` did to the map, in entries; `contested` are addresses that a second pod claims too."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    contested: tuple[IPv4Address | IPv6Address, ...] = ()


class WorkloadRegistry:
    """The only writer of the `addresses` map and of the directory's workloads. Not thread-safe."""

    def __init__(self, directory: Directory, addresses: HashMap) -> None:
        """Reads the map; raises KernelError when that fails."""
        self._directory = directory
        self._map = addresses
        self._written: dict[bytes, Entry] | None = self._read()
        self._workloads = Numbers(FIRST_WORKLOAD, {raw: entry.workload for raw, entry in self._written.items()})
        self._identities = Numbers(FIRST_IDENTITY, {raw: entry.identity for raw, entry in self._written.items()})
        self._holders: dict[int, Key] = {}

    def apply(self, devices: Devices, pods: Iterable[Pod]) -> Changes:
        """Make map and directory say exactly this.

        Raises MapFullError with map and directory as they were, or KernelError; then the next call reads the map anew.
        """
        joined = join(devices, pods)
        self._hand_down(joined.parties)
        workloads = [self._numbered(party) for party in joined.parties]
        host = replace(HOST, addresses=tuple(sorted(devices.node_addresses, key=packed)))
        wanted = _host_entries(host)
        for party, workload in zip(joined.parties, workloads, strict=True):
            wanted.update(_entries(party, workload))
        changes = self._write(wanted, [host, *workloads])
        self._workloads.forget(party.key for party in joined.parties)
        return replace(changes, contested=joined.contested)

    def _hand_down(self, parties: Iterable[Party]) -> None:
        """A device that had no name and turns out to be a pod's keeps its number: it was that pod all along."""
        holders = {device.ifindex: party.key for party in parties for device in party.devices}
        for ifindex, key in holders.items():
            before = self._holders.get(ifindex)
            if before and not before[0]:
                self._workloads.inherit(key, before)
        self._holders = holders

    def _numbered(self, party: Party) -> Workload:
        raws = [packed(address) for address in party.addresses]
        return Workload(
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

    def _write(self, wanted: dict[bytes, Entry], workloads: list[Workload]) -> Changes:
        before = self._written if self._written is not None else self._read()
        fresh = {raw: entry for raw, entry in wanted.items() if before.get(raw) != entry}
        gone = [raw for raw in before if raw not in wanted]
        self._written = None  # unknown until all is written
        self._map.update(self._keys(fresh), self._values(fresh.values()))
        self._directory.update_workloads(workloads)
        self._map.delete(self._keys(gone))
        self._written = wanted
        added = sum(raw not in before for raw in fresh)
        return Changes(added, len(fresh) - added, len(gone))

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


def _host_entries(host: Workload) -> dict[bytes, Entry]:
    return {packed(address): Entry(host.id, host.identity, 0) for address in host.addresses}


def _entries(party: Party, workload: Workload) -> dict[bytes, Entry]:
    devices = {address: device for device in party.devices for address in device.addresses}
    nsids = {device.ifindex: device.nsid + 1 for device in party.devices}
    entries = {}
    for address in workload.addresses:
        ifindex = devices[address].ifindex if address in devices else workload.ifindex
        entries[packed(address)] = Entry(workload.id, workload.identity, ifindex, nsids.get(ifindex, 0))
    return entries
