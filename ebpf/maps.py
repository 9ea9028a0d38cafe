"""Pinned maps as columns: keys and values are numpy arrays, whole batches a call.

One system call writes thousands of entries, and what comes back is an array
that can be compared, sorted and counted without a Python object per entry.
"""

from __future__ import annotations

import ctypes as ct
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebpf import libbpf
from ebpf.errors import KernelError, MapFullError

Columns = npt.NDArray[Any]
_BOUNDED = (libbpf.MapType.HASH, libbpf.MapType.LPM_TRIE)  # kinds that refuse what does not fit
_READ_CHUNK = 8192  # entries a batch look-up asks for; grows where a bucket holds more
_NO_BATCHES = 524  # ENOTSUPP: tries of prefixes know no batches before Linux 5.13
_PROBE_LIMIT = 512  # up to so many keys it is cheaper to ask for each than to read the map


@dataclass(frozen=True, slots=True)
class MapSpec:
    """What a map is: its kind, the dtypes of key and value, and how many entries it can hold."""

    name: str
    kind: libbpf.MapType
    key: np.dtype[Any]
    value: np.dtype[Any]
    max_entries: int


class HashMap:
    """A hash, LRU hash, array or trie of prefixes. Not thread-safe; the agent is the only writer."""

    def __init__(self, spec: MapSpec, path: Path) -> None:
        self.spec = spec
        self.fd = libbpf.obj_get(path)
        self._size: int | None = None

    @property
    def name(self) -> str:
        """Name of the map."""
        return self.spec.name

    @property
    def key_dtype(self) -> np.dtype[Any]:
        """dtype of a key."""
        return self.spec.key

    @property
    def value_dtype(self) -> np.dtype[Any]:
        """dtype of a value."""
        return self.spec.value

    @property
    def max_entries(self) -> int:
        """Entries that the map can hold."""
        return self.spec.max_entries

    @property
    def fill(self) -> int | None:
        """Entries that the map held when it was last read or written from here; None before that."""
        return self._size

    def close(self) -> None:
        """Close the descriptor; the pinned map stays."""
        os.close(self.fd)

    @contextmanager
    def beside(self) -> Iterator[HashMap]:
        """The same map, for reading in one thread while another one works with this."""
        twin = copy(self)
        twin.fd = os.dup(self.fd)
        try:
            yield twin
        finally:
            twin.close()

    def items(self) -> tuple[Columns, Columns]:
        """All keys and values, shape (n,) each. A snapshot only as far as nobody writes meanwhile."""
        chunks = list(self.chunks())
        return np.concatenate([keys for keys, _ in chunks]), np.concatenate([values for _, values in chunks])

    def chunks(self) -> Iterator[tuple[Columns, Columns]]:
        """All keys and values, some thousand at a time; what was read already may be deleted meanwhile."""
        token = ct.create_string_buffer(max(self.spec.key.itemsize, 8))
        first, size, done, seen = True, _READ_CHUNK, False, 0
        while not done:
            keys, values = np.empty(size, self.spec.key), np.empty(size, self.spec.value)
            count = ct.c_uint32(size)
            source = None if first else ct.byref(token)
            result = libbpf.library().bpf_map_lookup_batch(
                self.fd, source, ct.byref(token), _at(keys), _at(values), ct.byref(count), None
            )
            if result == -errno.ENOSPC:
                size *= 2
                continue
            if result == -_NO_BATCHES:
                yield self._read_singly()
                return
            done = result == -errno.ENOENT
            if result < 0 and not done:
                raise KernelError(f"cannot read map {self.name}", -result)
            seen += count.value
            yield keys[: count.value], values[: count.value]
            first = False
        self._size = seen

    def count(self) -> int:
        """Entries that the map holds now; reads all of it, some thousand at a time."""
        return sum(len(keys) for keys, _ in self.chunks())

    def lookup(self, key: Columns) -> Columns | None:
        """The value of one key (shape (1,)) or None."""
        value = np.empty(1, self.spec.value)
        result = libbpf.library().bpf_map_lookup_elem(self.fd, _at(self._keys(key)), _at(value))
        return value if result >= 0 else None

    def update(self, keys: Columns, values: Columns) -> None:
        """Write all pairs. Raises MapFullError, with nothing written, where they would not fit; else KernelError."""
        keys, values = self._keys(keys), np.ascontiguousarray(values, self.spec.value)
        if len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys and {len(values)} values for map {self.name}")
        if not len(keys):
            return
        added = self._reserve(keys)
        count = ct.c_uint32(len(keys))
        result = libbpf.library().bpf_map_update_batch(self.fd, _at(keys), _at(values), ct.byref(count), None)
        if result == -_NO_BATCHES:
            self._write_singly(keys, values)
        elif result < 0:
            raise KernelError(f"cannot write {len(keys)} entries to map {self.name}", -result)
        if self._size is not None:
            self._size += added

    def delete(self, keys: Columns) -> None:
        """Remove keys; those that are not there are passed over. Raises KernelError."""
        keys = self._keys(keys)
        start = gone = 0
        while start < len(keys):
            count = ct.c_uint32(len(keys) - start)
            result = libbpf.library().bpf_map_delete_batch(self.fd, _at(keys[start:]), ct.byref(count), None)
            if result == -_NO_BATCHES:
                gone = self._delete_singly(keys)
                break
            if result < 0 and result != -errno.ENOENT:
                raise KernelError(f"cannot delete from map {self.name}", -result)
            gone += count.value
            start += count.value + (1 if result < 0 else 0)
        if self._size is not None:
            self._size -= gone

    def _read_singly(self) -> tuple[Columns, Columns]:
        keys, values = [np.empty(0, self.spec.key)], [np.empty(0, self.spec.value)]
        key, following, last = np.empty(1, self.spec.key), np.empty(1, self.spec.key), None
        while libbpf.library().bpf_map_get_next_key(self.fd, last, _at(following)) >= 0:
            key[:] = following
            last, value = _at(key), self.lookup(key)
            if value is not None:  # it may be deleted meanwhile, where this reads beside the writer
                keys.append(key.copy())
                values.append(value)
        self._size = len(keys) - 1
        return np.concatenate(keys), np.concatenate(values)

    def _write_singly(self, keys: Columns, values: Columns) -> None:
        for place in range(len(keys)):
            what, key, value = f"cannot write to map {self.name}", _at(keys[place:]), _at(values[place:])
            libbpf.call(what, "bpf_map_update_elem", self.fd, key, value, 0)

    def _delete_singly(self, keys: Columns) -> int:
        """How many were there."""
        gone = 0
        for place in range(len(keys)):
            result = libbpf.library().bpf_map_delete_elem(self.fd, _at(keys[place:]))
            if result < 0 and result != -errno.ENOENT:
                raise KernelError(f"cannot delete from map {self.name}", -result)
            gone += result >= 0
        return gone

    def _keys(self, keys: Columns) -> Columns:
        return np.ascontiguousarray(keys, self.spec.key)

    def _reserve(self, keys: Columns) -> int:
        """How many of the keys are new; raises MapFullError where they would not fit."""
        if self.spec.kind not in _BOUNDED:
            return 0
        if self._size is None or len(keys) > _PROBE_LIMIT:
            present, _ = self.items()
            new = len(np.setdiff1d(_opaque(keys), _opaque(present)))
        else:
            new = len(np.unique(_opaque(keys))) - sum(self.lookup(key) is not None for key in np.unique(keys))
        assert self._size is not None
        if self._size + new > self.max_entries:
            raise MapFullError(
                f"map {self.name} holds at most {self.max_entries} entries; {self._size} are there and {new} more"
                " do not fit; nothing was changed",
                hint=f"raise `{self.name}` in the settings",
            )
        return new


class PerCpuHash:
    """A hash of u64 counters, one or a struct of them, that each CPU counts on its own; for one thread."""

    def __init__(self, spec: MapSpec, path: Path) -> None:
        cells = np.dtype((spec.value, (possible_cpus(),)))
        self._table = HashMap(replace(spec, value=cells), path)
        self._fields = spec.value.names

    def totals(self) -> dict[int, int]:
        """Sums over all CPUs by key, for keys and values of one number; raises KernelError."""
        keys, cells = self._table.items()
        return dict(zip(keys.tolist(), _sums(cells).tolist(), strict=True))

    def struct_totals(self) -> dict[int, dict[str, int]]:
        """Sums over all CPUs by key and field, for keys of one number; raises KernelError."""
        assert self._fields is not None, f"map {self._table.name} has plain numbers"
        keys, cells = self._table.items()
        columns = [_sums(cells[name]).tolist() for name in self._fields]
        rows = (dict(zip(self._fields, row, strict=True)) for row in zip(*columns, strict=True))
        return dict(zip(keys.tolist(), rows, strict=True))

    def forget(self, keys: Iterable[int]) -> None:
        """Remove keys; raises KernelError."""
        self._table.delete(np.fromiter(keys, self._table.key_dtype))

    def close(self) -> None:
        """Close the descriptor; the pinned map stays."""
        self._table.close()


class PerCpuArray:
    """An array of u64 counters that each CPU counts on its own."""

    def __init__(self, spec: MapSpec, path: Path) -> None:
        self.spec = spec
        self.fd = libbpf.obj_get(path)

    def per_cpu(self) -> npt.NDArray[np.uint64]:
        """The counters of each CPU, shape (max_entries, possible_cpus()); raises KernelError."""
        cells = np.zeros((self.spec.max_entries, possible_cpus()), np.uint64)
        what = f"cannot read map {self.spec.name}"
        for index, row in enumerate(cells):
            libbpf.call(what, "bpf_map_lookup_elem", self.fd, ct.byref(ct.c_uint32(index)), _at(row))
        return cells

    def sums(self) -> npt.NDArray[np.uint64]:
        """Totals over all CPUs, shape (max_entries,); raises KernelError."""
        totals: npt.NDArray[np.uint64] = self.per_cpu().sum(axis=1, dtype=np.uint64)
        return totals

    def close(self) -> None:
        """Close the descriptor; the pinned map stays."""
        os.close(self.fd)


@cache
def possible_cpus() -> int:
    """CPUs that the kernel keeps per-CPU values for."""
    return libbpf.call("cannot count the CPUs", "libbpf_num_possible_cpus")


def _at(array: Columns) -> ct.c_void_p:
    return ct.c_void_p(array.ctypes.data)


def _sums(cells: Columns) -> npt.NDArray[np.uint64]:
    sums: npt.NDArray[np.uint64] = cells.sum(axis=1, dtype=np.uint64)
    return sums


def _opaque(keys: Columns) -> Columns:
    return keys.view(np.dtype((np.void, keys.dtype.itemsize)))
