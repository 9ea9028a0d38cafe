"""Between the plan's bytes and the kernel's columns: the only place that knows the fields of the two maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.model.directory import Frontend
from daemon.services.plan import MISSING, Entry, KernelState, Run
from daemon.services.table import RECORD_SIZE
from ebpf.maps import HashMap

Columns = npt.NDArray[Any]

_RECORD = np.dtype([("addr", np.uint32, 4), ("port", np.uint16)])  # 18 bytes; both fields as they lie in network order


def read_state(services: HashMap, backends: HashMap) -> KernelState:
    """What the maps hold. A slot beyond the map's size cannot be ours and is left out, but takes room."""
    entries = dict(_entries(*services.items()))
    keys, values = backends.items()
    plausible = keys["slot"] < backends.max_entries
    slots = dict(_slots(keys[plausible], values[plausible]))
    return KernelState(entries, slots, {}, len(keys))


def entry_columns(services: HashMap, entries: Mapping[Frontend, Entry]) -> tuple[Columns, Columns]:
    """Keys and values of the `services` map."""
    values = np.zeros(len(entries), services.value_dtype)
    if entries:
        columns = np.array(list(entries.values()), np.uint32).T
        for field, column in zip(Entry._fields, columns, strict=True):
            values[field] = column
    return frontend_keys(services, list(entries)), values


def frontend_keys(services: HashMap, frontends: Sequence[Frontend]) -> Columns:
    """Keys of the `services` map."""
    keys = np.zeros(len(frontends), services.key_dtype)
    keys["addr"] = np.frombuffer(b"".join(place.address for place in frontends), np.uint32).reshape(-1, 4)
    keys["port"] = np.array([place.port for place in frontends], ">u2").view(np.uint16)
    keys["proto"] = [place.protocol for place in frontends]
    keys["scope"] = [place.scope for place in frontends]
    return keys


def slot_columns(backends: HashMap, runs: Sequence[Run]) -> tuple[Columns, Columns]:
    """Keys and values of the `backends` map."""
    found = np.frombuffer(b"".join(run.blob for run in runs), _RECORD)
    values = np.zeros(len(found), backends.value_dtype)
    values["addr"], values["port"] = found["addr"], found["port"]
    return slot_keys(backends, runs), values


def slot_keys(backends: HashMap, runs: Sequence[Run]) -> Columns:
    """Keys of the `backends` map: every slot of every run."""
    lengths = np.array([run.length for run in runs], np.int64)
    ends = np.cumsum(lengths)
    keys = np.zeros(int(lengths.sum()), backends.key_dtype)
    keys["service"] = np.repeat(np.array([run.number for run in runs], np.uint32), lengths)
    starts = np.array([run.first for run in runs], np.int64) - (ends - lengths)
    keys["slot"] = np.arange(len(keys)) + np.repeat(starts, lengths)
    return keys


def _entries(keys: Columns, values: Columns) -> Iterator[tuple[Frontend, Entry]]:
    addresses = np.ascontiguousarray(keys["addr"]).tobytes()
    ports = np.ascontiguousarray(keys["port"]).view(">u2").tolist()
    rows = zip(ports, keys["proto"].tolist(), keys["scope"].tolist(), values[list(Entry._fields)].tolist(), strict=True)
    for index, (port, protocol, scope, value) in enumerate(rows):
        yield Frontend(addresses[index * 16 : index * 16 + 16], port, protocol, scope), Entry(*value)


def _slots(keys: Columns, values: Columns) -> Iterator[tuple[int, bytes]]:
    """Slots by number, in order, with MISSING in the gaps that an interrupted writer may have left."""
    order = np.lexsort((keys["slot"], keys["service"]))
    keys, values = keys[order], values[order]
    found = np.zeros(len(values), _RECORD)
    found["addr"], found["port"] = values["addr"], values["port"]
    blob = found.tobytes()
    numbers, starts = np.unique(keys["service"], return_index=True)
    bounds = [*starts.tolist(), len(keys)]
    for number, start, stop in zip(numbers.tolist(), bounds, bounds[1:], strict=False):
        run = blob[start * RECORD_SIZE : stop * RECORD_SIZE]
        yield number, _with_gaps(keys["slot"][start:stop], run)


def _with_gaps(slots: Columns, run: bytes) -> bytes:
    last = int(slots[-1])
    if last == len(slots) - 1:
        return run
    filled = bytearray(MISSING * (last + 1))
    for index, slot in enumerate(slots.tolist()):
        filled[slot * RECORD_SIZE : (slot + 1) * RECORD_SIZE] = run[index * RECORD_SIZE : (index + 1) * RECORD_SIZE]
    return bytes(filled)
