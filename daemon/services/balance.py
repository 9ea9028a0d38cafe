"""Maglev in the kernel: which Services have a table, and that it is there before anything leads to it.

A table and a list of backends never change once written; a Service is led from one pair to another by one write, so no
client falls between two. Services with equal lists share both, those with equal addresses share the table. What
nothing leads to any more is deleted when no program can still look at it.

Building a table takes some milliseconds. So `want` only takes a Service away from what is no longer right, and `work`
builds the rest one by one; until then backends are drawn at random, as they are where there is no room.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from daemon.services.maglev import BACKENDS_MAX, names, places
from daemon.services.table import RECORD_SIZE
from ebpf.errors import MapFullError
from ebpf.maps import HashMap

VERSION = 1 << 24  # of the way tables are made, in the high bits of their numbers: others are not taken over

_RECORD = np.dtype([("addr", np.uint32, 4), ("port", np.uint16)])


class Pair(NamedTuple):
    """Where a Service is led, its fields as the kernel's struct names them; all 0: nowhere, there was no room."""

    table: int
    list: int
    places: int


NOWHERE = Pair(0, 0, 0)


class Balance:
    """The only writer of the maps `maglevs`, `maglev_rows` and `maglev_backends`; one call at a time."""

    def __init__(self, maps: Mapping[str, HashMap], size: int) -> None:
        self._services, self._rows, self._lists = (maps[name] for name in ("maglevs", "maglev_rows", "maglev_backends"))
        self._row = int(self._rows.value_dtype["index"].shape[0])
        self._size = size
        self._wanted: dict[int, bytes] = {}
        self._force: dict[int, Pair] = {}
        self._tables: dict[tuple[bytes, ...], int] = {}
        self._blobs: dict[bytes, int] = {}
        self._last = VERSION
        self._spare: dict[int, int] = {}  # tables and lists by number: since which change nothing leads there
        self._changes = 0
        self._adopted = False

    @property
    def pending(self) -> bool:
        """Whether a Service waits for its table."""
        return len(self._force) < len(self._wanted)

    @property
    def spare(self) -> int:
        """The newest change that left something to delete, 0: there is nothing."""
        return max(self._spare.values(), default=0)

    @property
    def left_out(self) -> int:
        """Services without a table, as there was no room."""
        return sum(pair == NOWHERE for pair in self._force.values())

    def want(self, wanted: Mapping[int, bytes]) -> None:
        """Sorted backends by Service number. Those that change lose their pair at once; raises KernelError."""
        if not self._adopted:
            self._adopt(wanted)
        gone = [number for number in self._force if wanted.get(number) != self._wanted.get(number)]
        gone += [number for number, pair in self._force.items() if pair == NOWHERE and number not in gone]
        self._services.delete(np.array(gone, self._services.key_dtype))
        for number in gone:
            del self._force[number]
        self._wanted = dict(wanted)
        self._retire()

    def work(self) -> None:
        """Give one Service its table, and all with equal backends theirs; what has no room is `left_out`."""
        number = next((number for number in self._wanted if number not in self._force), None)
        if number is None:
            return
        blob = self._wanted[number]
        alike = [one for one, other in self._wanted.items() if other == blob and one not in self._force]
        pair = NOWHERE
        with suppress(MapFullError):
            pair = Pair(self._table(names(blob)), self._list(blob), self._size)
        self._force.update(dict.fromkeys(alike, pair))
        values = np.array([tuple(pair)] * len(alike), self._services.value_dtype)
        self._services.update(np.array(alike, self._services.key_dtype), values)

    def collect(self, until: int) -> None:
        """Delete what is spare since the change `until`, where all programs that ran then have ended."""
        numbers = {number for number, since in self._spare.items() if since <= until}
        for table, field in ((self._rows, "table"), (self._lists, "service")):
            keys, _ = table.items()
            table.delete(keys[np.isin(keys[field], list(numbers))])
        self._spare = {number: since for number, since in self._spare.items() if number not in numbers}
        self._tables = {key: number for key, number in self._tables.items() if number not in numbers}
        self._blobs = {key: number for key, number in self._blobs.items() if number not in numbers}

    def _table(self, owners: tuple[bytes, ...]) -> int:
        if owners not in self._tables:
            if (len(self._tables) + 1) * -(-self._size // self._row) > self._rows.max_entries:
                raise MapFullError("no room for another Maglev table")
            number = self._next()
            index = np.zeros(-(-self._size // self._row) * self._row, np.uint16)
            index[: self._size] = places(owners, self._size)
            values = np.zeros(len(index) // self._row, self._rows.value_dtype)
            values["index"] = index.reshape(-1, self._row)
            self._rows.update(_keys(self._rows, number, len(values)), values)
            self._tables[owners] = number
        return self._used(self._tables[owners])

    def _list(self, blob: bytes) -> int:
        if blob not in self._blobs:
            number = self._next()
            found = np.frombuffer(blob, _RECORD)
            values = np.zeros(len(found), self._lists.value_dtype)
            values["addr"], values["port"] = found["addr"], found["port"]
            self._lists.update(_keys(self._lists, number, len(values)), values)
            self._blobs[blob] = number
        return self._used(self._blobs[blob])

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _used(self, number: int) -> int:
        self._spare.pop(number, None)
        return number

    def _retire(self) -> None:
        """What nothing leads to since now."""
        led = {number for pair in self._force.values() for number in pair[:2]}
        known = {*self._tables.values(), *self._blobs.values()}
        fresh = known - led - self._spare.keys()
        self._changes += bool(fresh)
        self._spare.update(dict.fromkeys(fresh, self._changes))

    def _adopt(self, wanted: Mapping[int, bytes]) -> None:
        """Go on with what an earlier agent wrote, where it is what this one would write; the rest is spare."""
        keys, values = self._services.items()
        rows, lists = _counts(self._rows.items()[0]["table"]), self._lists.items()
        blobs = _lists(*lists)
        for number, pair in zip(keys.tolist(), map(Pair._make, values.tolist()), strict=True):
            blob, whole = wanted.get(number), -(-self._size // self._row)
            if blob is None or blobs.get(pair.list) != blob or pair.places != self._size:
                self._services.delete(np.array([number], self._services.key_dtype))
            elif pair.table > VERSION and rows.get(pair.table) == whole:
                self._force[number], self._wanted[number] = pair, blob
                self._tables[names(blob)], self._blobs[blob] = pair.table, pair.list
        held = rows.keys() | blobs.keys()
        self._last = max([VERSION, *held])
        kept = {*self._tables.values(), *self._blobs.values()}
        self._changes += 1
        self._spare = dict.fromkeys(held - kept, self._changes)
        self._adopted = True


def usable(backends: bytes) -> bool:
    """Whether there is something to choose from, and a table can tell it."""
    return 1 < len(backends) // RECORD_SIZE <= BACKENDS_MAX


def _keys(table: HashMap, number: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    keys = np.zeros(count, table.key_dtype)
    first, second = table.key_dtype.names or ()
    keys[first], keys[second] = number, np.arange(count)
    return keys


def _counts(numbers: np.ndarray[tuple[int], np.dtype[np.uint32]]) -> dict[int, int]:
    found, counts = np.unique(numbers, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _lists(
    keys: np.ndarray[tuple[int], np.dtype[np.void]], values: np.ndarray[tuple[int], np.dtype[np.void]]
) -> dict[int, bytes]:
    """What lists hold, by number."""
    order = np.lexsort((keys["slot"], keys["service"]))
    found = np.zeros(len(values), _RECORD)
    found["addr"], found["port"] = values["addr"][order], values["port"][order]
    blob, numbers = found.tobytes(), keys["service"][order].tolist()
    lists: dict[int, bytes] = {}
    for index, number in enumerate(numbers):
        lists[number] = lists.get(number, b"") + blob[index * RECORD_SIZE : (index + 1) * RECORD_SIZE]
    return lists
