"""The two ends of a flow as label values, by small numbers that fit into a packed key.

Many workloads share one set of label values (all pods of a Deployment), and a workload's number outlives its name. So
what a record carries, the workload's number, is turned into the number of a peer: one per distinct set of values.
The way from one to the other is a direct-mapped table that numpy can read for a whole column at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from daemon.model import Directory, Workload

BITS = 15
"""Width of a peer's number."""

_SLOTS = 65_536
_FIRST_IDENTITY = 256  # smaller ones are reserved

Numbers = np.ndarray[Any, np.dtype[Any]]


class Peer(NamedTuple):
    """Label values of one end; `text` is `namespace/workload`, the name of a plain host, or `reserved:world`."""

    text: str
    namespace: str
    workload: str


OTHER = Peer("other", "", "")
"""Stands for every end beyond the peers that can be numbered."""

_UNKNOWN = Peer("reserved:unknown", "", "")
_WORLD = Peer("reserved:world", "", "")


class PeerTable:
    """Numbers peers. A number keeps its meaning; which workload is which peer is looked up again on `refresh`."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._peers: list[Peer] = [OTHER]
        self._numbers: dict[Peer, int] = {OTHER: 0}
        self._keys = np.zeros(_SLOTS, np.uint32)
        self._values = np.zeros(_SLOTS, np.uint16)
        self.refresh()

    def refresh(self) -> None:
        """Forget what workloads were called; a network namespace may have become a pod since."""
        self._keys.fill(0)
        self._values[0] = self._number(_WORLD)  # workload 0: an address nobody claims

    def column(self, workloads: Numbers) -> Numbers:
        """Peer numbers (n,) uint64 of workload numbers (n,) uint32."""
        slots = workloads & (_SLOTS - 1)
        known = self._keys.take(slots) == workloads
        peers = self._values.take(slots).astype(np.uint64)
        if not known.all():
            numbers, inverse = np.unique(workloads[~known], return_inverse=True)
            peers[~known] = np.array([self.number(int(number)) for number in numbers], np.uint64)[inverse]
        return peers

    def number(self, workload: int) -> int:
        """The peer number of a workload number."""
        slot = workload & (_SLOTS - 1)
        if self._keys[slot] == workload:
            return int(self._values[slot])
        found = self._directory.by_id(workload)
        if found is None:  # not told to the directory yet: ask again next time
            return self._number(_UNKNOWN)
        self._keys[slot], self._values[slot] = workload, self._number(_peer(found))
        return int(self._values[slot])

    def peer(self, number: int) -> Peer:
        return self._peers[number]

    def _number(self, peer: Peer) -> int:
        number = self._numbers.get(peer)
        if number is None:
            if len(self._peers) >> BITS:
                return 0
            number = self._numbers[peer] = len(self._peers)
            self._peers.append(peer)
        return number


def _peer(workload: Workload) -> Peer:
    if workload.identity < _FIRST_IDENTITY:
        return Peer(workload.labels[0] if workload.labels else workload.name, "", "")
    name = workload.owners[0].name if workload.owners else workload.name
    return Peer(f"{workload.namespace}/{name}" if workload.namespace else name, workload.namespace, name)
