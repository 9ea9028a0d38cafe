"""The ends of flows by small numbers that fit into a packed key.

Many workloads share one set of names (all pods of a Deployment), and a workload's number outlives its name. So what a
record carries, the workload's number, is turned into the number of an end: one per distinct set of names. The way from
one to the other is a direct-mapped table that numpy can read for a whole column at once. Where a label says addresses,
the table goes by workload and address together.

An end whose workloads are all gone is given up a minute later; its number serves another one then.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

import numpy as np

from daemon.flows.metrics.contexts import End, describe
from daemon.model import FIRST_IDENTITY, WORLD, Directory, Workload
from daemon.model.directory import packed

BITS = 15
"""Width of an end's number."""

GONE_NS = 60 * 10**9
"""Time after which the series of a workload that is gone go: Hubble's minute, in which the last scrape comes."""

OTHER = End(reserved="other")
"""Stands for every end beyond those that can be numbered."""

WORLD_NAME = "reserved:world"

_UNKNOWN = End(reserved="reserved:unknown")
_SLOTS = 65_536

Numbers = np.ndarray[Any, np.dtype[Any]]


class EndTable:
    """Numbers ends; `fields` are those of `End` that somebody asks for. A number keeps its meaning until released."""

    def __init__(self, directory: Directory, fields: frozenset[str]) -> None:
        self._directory = directory
        self._fields = fields
        self.by_address = "address" in fields
        self._ends: list[End] = [OTHER]
        self._numbers: dict[End, int] = {OTHER: 0}
        self._free: list[int] = []
        self._bound: set[int] = set()  # numbers of ends that are workloads
        self._gone: dict[int, int] = {}  # when their workloads were first missed (ns)
        self._seen: tuple[Workload, ...] | None = None
        self.outside = np.zeros(1 << BITS, np.bool_)
        """by number: is this the world?"""
        self._mixers = [np.uint64(secrets.randbits(64) | 1) for _ in range(3)]
        self._keys = np.zeros(_SLOTS, np.uint64 if self.by_address else np.uint32)
        self._values = np.zeros(_SLOTS, np.uint16)
        self.refresh()

    def refresh(self) -> None:
        """Forget what workloads were called; a network namespace may have become a pod since."""
        self._keys.fill(0)
        if not self.by_address:
            self._values[0] = self._number(describe(WORLD, b"", self._fields))  # workload 0: nobody claims the address

    def column(self, workloads: Numbers, hosts: Numbers) -> Numbers:
        """Numbers (n,) uint64 of workload numbers (n,) uint32 at addresses (n, 4) uint32."""
        keys = self._mixed(workloads, hosts) if self.by_address else workloads
        slots = (keys & (_SLOTS - 1)).astype(np.intp)
        known = self._keys.take(slots) == keys
        numbers = self._values.take(slots).astype(np.uint64)
        if not known.all():
            missing = np.flatnonzero(~known)
            _, first, inverse = np.unique(keys[missing], return_index=True, return_inverse=True)
            found = [self._look_up(workloads, hosts, keys, int(missing[index])) for index in first]
            numbers[missing] = np.array(found, np.uint64)[inverse]
        return numbers

    def number(self, workload: int, address: bytes) -> int:
        """The number of a workload number at an address (16 bytes)."""
        hosts = np.frombuffer(address, np.uint32).reshape(1, 4)
        return int(self.column(np.array([workload], np.uint32), hosts)[0])

    def end(self, number: int) -> End:
        return self._ends[number]

    def gone(self, now: int) -> set[int]:
        """Numbers whose workloads are gone for a minute at `now` (ns); to be released once nothing refers to them."""
        if self._directory.workloads() is not self._seen:
            self._seen = self._directory.workloads()
            missing = self._bound - {number for one in self._seen for number in self._present(one)}
            self._gone = {number: self._gone.get(number, now) for number in missing}
        return {number for number, since in self._gone.items() if now - since >= GONE_NS}

    def release(self, numbers: Iterable[int]) -> None:
        """Give numbers up; nothing may refer to them any more."""
        for number in numbers:
            del self._numbers[self._ends[number]]
            self._gone.pop(number, None)
            self._bound.discard(number)
            self._free.append(number)
        self.refresh()

    def _present(self, workload: Workload) -> list[int]:
        hosts = [packed(address) for address in workload.addresses] if self.by_address else [b""]
        ends = (describe(workload, host, self._fields) for host in hosts)
        return [self._numbers[end] for end in ends if end in self._numbers]

    def _mixed(self, workloads: Numbers, hosts: Numbers) -> Numbers:
        """One key (n,) uint64 of workload and address; nobody outside can foresee which addresses collide."""
        halves = np.ascontiguousarray(hosts).view(np.uint64)
        first, second, third = self._mixers
        mixed = (
            (halves[:, 0] * first) ^ (halves[:, 1] * second) ^ ((workloads.astype(np.uint64) + np.uint64(1)) * third)
        )
        mixed ^= mixed >> np.uint64(29)
        mixed *= first
        keys: Numbers = mixed ^ (mixed >> np.uint64(32))
        return keys

    def _look_up(self, workloads: Numbers, hosts: Numbers, keys: Numbers, row: int) -> int:
        workload = int(workloads[row])
        found = self._directory.by_id(workload) if workload else WORLD
        if found is None:  # not told to the directory yet: ask again next time
            return self._number(_UNKNOWN)
        end = describe(found, hosts[row].tobytes() if self.by_address else b"", self._fields)
        number = self._number(end)
        if found.identity >= FIRST_IDENTITY and number and number not in self._bound:
            self._bound.add(number)
            self._seen = None  # it may be gone already: a record tells of the past
        slot = int(keys[row]) & (_SLOTS - 1)
        self._keys[slot], self._values[slot] = keys[row], number
        return number

    def _number(self, end: End) -> int:
        number = self._numbers.get(end)
        if number is None:
            if self._free:
                number = self._free.pop()
                self._ends[number] = end
            elif len(self._ends) >> BITS:
                return 0
            else:
                number = len(self._ends)
                self._ends.append(end)
            self._numbers[end] = number
            self.outside[number] = end.reserved == WORLD_NAME
        return number
