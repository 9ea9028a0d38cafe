"""How many connections a Service has now, counted in the kernel's connection table.

A connection between two workloads of this node stands in the table twice, once for each device. So both are turned to
the initiator's side, and equal ones count once. A workload that is its own backend sees the frontend's address from
both ends; it is counted as the initiator, and who the backend is stands in the map `detours`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.services.table import RECORD_SIZE
from daemon.services.translations import FIN, RST, backends
from ebpf.constants import Direction, TranslationMark

Columns = npt.NDArray[Any]
Live = Counter[tuple[int, bytes]]
"""Connections by service number and backend (RECORD_SIZE bytes)."""

_ONE = np.dtype(
    [("backend", np.void, RECORD_SIZE), ("initiator", np.void, RECORD_SIZE), ("service", "<u4"), ("proto", "u1")]
)


def count(
    chunks: Iterable[tuple[Columns, Columns]], services: Iterable[int], detour_of: Callable[[Columns], Columns | None]
) -> Live:
    """Connections of these numbers that have not ended.

    `chunks` are keys and values of the map `connections`; `detour_of` finds the value of one key in `detours`.
    """
    wanted = np.array(sorted(services), np.uint32)
    found = [_turned(*_of(keys, values, wanted), detour_of) for keys, values in chunks]
    together = np.unique(np.concatenate(found).view((np.void, _ONE.itemsize))) if found else np.empty(0, _ONE)
    rows = together.view(_ONE)
    return Counter(zip(rows["service"].tolist(), map(bytes, rows["backend"]), strict=True))


def count_outside(chunks: Iterable[tuple[Columns, Columns]], services: Iterable[int]) -> Live:
    """Connections from outside that their clients have not ended; `chunks` are of the map `translations`."""
    wanted = np.array(sorted(services), np.uint32)
    found: Live = Counter()
    for _, values in chunks:
        opened = values["marks"] & TranslationMark.REPLY == 0
        values = values[opened & np.isin(values["service"], wanted) & (values["flags"] & (FIN | RST) == 0)]
        found.update(zip(values["service"].tolist(), map(bytes, backends(values)), strict=True))
    return found


def _of(keys: Columns, values: Columns, wanted: Columns) -> tuple[Columns, Columns]:
    own = (values["detoured"] != 0) & (values["direction"] != Direction.EGRESS)
    mask = np.isin(values["service"], wanted) & (values["ended"] == 0) & ~own
    return keys[mask], values[mask]


def _turned(keys: Columns, values: Columns, detour_of: Callable[[Columns], Columns | None]) -> Columns:
    """The connections from their initiators' side, shape (n,)."""
    rows = np.zeros(len(keys), _ONE)
    egress = values["direction"] == Direction.EGRESS
    local, remote = _places(keys, "local"), _places(keys, "remote")
    rows["backend"] = np.where(egress, remote, local)
    rows["initiator"] = np.where(egress, local, remote)
    rows["service"], rows["proto"] = values["service"], keys["proto"]
    for index in np.flatnonzero(values["detoured"]).tolist():
        detour = detour_of(keys[index : index + 1])
        if detour is not None:
            rows["backend"][index] = detour["backend"].tobytes()[:RECORD_SIZE]
    return rows


def _places(keys: Columns, side: str) -> Columns:
    """Address and port of a side, both in network order, as opaque values of RECORD_SIZE bytes."""
    places = np.zeros(len(keys), [("addr", np.uint32, 4), ("port", ">u2")])
    places["addr"], places["port"] = keys[side], keys[f"{side}_port"]
    return places.view((np.void, RECORD_SIZE))
