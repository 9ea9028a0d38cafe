"""Keys that wait to be counted together, and the cells that each key counts in.

Of each record, what a group of metrics distinguishes is packed into one integer. Integers are staged over several
batches, sorted and counted by numpy, and only the distinct ones are visited in Python: some hundred for sixteen
thousand records. Which cells an integer counts in is worked out once and remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np

from daemon.flows.metrics.series import Cell, HistogramCell

STAGED = 16_384  # records that wait to be counted: 128 KB a stage
_CACHED = 65_536  # keys whose cells are remembered
_FORGOTTEN = _CACHED // 8  # of them go, the oldest first, when there is no room for another

Stale = Callable[[int, Iterable[Cell | HistogramCell]], bool]
"""Must the cells of a talk be asked for anew?"""

Keys = np.ndarray[Any, np.dtype[Any]]


class CountStage:
    """Counts keys; `resolve` names the cells of one. The key without its `low` bits is who talks."""

    def __init__(self, resolve: Callable[[int], Iterable[Cell]], low: int = 0) -> None:
        self._resolve = resolve
        self._low = low
        self._keys = np.empty(STAGED, np.uint64)
        self._used = 0
        self._cells: dict[int, tuple[Cell, ...]] = {}

    def put(self, keys: Keys) -> None:
        """Take up to STAGED keys."""
        if self._used + len(keys) > STAGED:
            self.flush()
        self._keys[self._used : self._used + len(keys)] = keys
        self._used += len(keys)

    def add(self, key: int, count: int) -> None:
        """Count one key at once, `count` times."""
        for cell in self._cells.get(key) or self._remember(key):
            cell.value += count

    def flush(self) -> None:
        """Count what is staged."""
        keys, counts = np.unique(self._keys[: self._used], return_counts=True)
        self._used = 0
        known = self._cells
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            for cell in known.get(key) or self._remember(key):
                cell.value += count

    def forget(self, stale: Stale) -> None:
        """Ask anew for cells that are stale; to be called after `flush`."""
        gone = [key for key, cells in self._cells.items() if stale(key >> self._low, cells)]
        for key in gone:
            del self._cells[key]

    def _remember(self, key: int) -> tuple[Cell, ...]:
        make_room(self._cells)
        cells = self._cells[key] = tuple(self._resolve(key))
        return cells


class ValueStage:
    """Adds up measured values by who talks and bucket; `resolve` names the histogram of a talk."""

    def __init__(self, buckets: tuple[float, ...], resolve: Callable[[int], HistogramCell]) -> None:
        self._resolve = resolve
        self._bounds = np.array(buckets)
        self._staged: list[tuple[Keys, Keys]] = []
        self._used = 0
        self._cells: dict[int, HistogramCell] = {}

    def put(self, keys: Keys, values: Keys) -> None:
        """Take keys, below 2**56, and a value for each."""
        if len(keys):
            self._staged.append((keys, values))
            self._used += len(keys)
            if self._used > STAGED:
                self.flush()

    def flush(self) -> None:
        """Count what is staged."""
        if not self._staged:
            return
        keys = np.concatenate([keys for keys, _ in self._staged])
        values = np.concatenate([values for _, values in self._staged])
        self._staged, self._used = [], 0
        whole = keys << np.uint64(8) | np.searchsorted(self._bounds, values).astype(np.uint64)
        distinct, inverse, counts = np.unique(whole, return_inverse=True, return_counts=True)
        sums = np.bincount(inverse, weights=values)
        for key, count, total in zip(distinct.tolist(), counts.tolist(), sums.tolist(), strict=True):
            self._cell(key >> 8).add(key & 0xFF, count, total)

    def forget(self, stale: Stale) -> None:
        """Ask anew for cells that are stale; to be called after `flush`."""
        gone = [key for key, cell in self._cells.items() if stale(key, (cell,))]
        for key in gone:
            del self._cells[key]

    def _cell(self, key: int) -> HistogramCell:
        cell = self._cells.get(key)
        if cell is None:
            make_room(self._cells)
            cell = self._cells[key] = self._resolve(key)
        return cell


def make_room(cells: dict[Any, Any], most: int = _CACHED) -> None:
    """Let the oldest entries go where another would be too many."""
    if len(cells) >= most:
        for oldest in list(islice(cells, min(_FORGOTTEN, most))):
            del cells[oldest]
