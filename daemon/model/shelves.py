"""Large mappings of which a little changes at a time, followed by many.

To copy ten thousand entries costs more than most changes do, and to find what is different in the copy costs even
more, once for everybody who follows. Here entries lie on shelves, by their hash. A change copies the shelves that it
touches and shares the others with what was before, so what differs between two is on the shelves that are not the very
same. What was handed out never changes, so readers in other threads need no lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from itertools import chain
from typing import Any, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

_COUNT = 256  # shelves: of ten thousand entries each holds forty
_LAST = _COUNT - 1

Rows = tuple[dict[K, V], ...]


class Shelves(Mapping[K, V]):
    """A mapping that never changes; see `Draft` for how the next one is made. In no order."""

    __slots__ = ("_rows",)

    def __init__(self, entries: Mapping[K, V] | None = None) -> None:
        self._rows: Rows[K, V] = _rows(entries) if entries else _EMPTY

    def __getitem__(self, key: K) -> V:
        return self._rows[hash(key) & _LAST][key]

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V | D, /) -> V | D: ...
    def get(self, key: K, default: V | D | None = None, /) -> V | D | None:
        """The value of a key, else the default."""
        return self._rows[hash(key) & _LAST].get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._rows[hash(key) & _LAST]

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self._rows)

    def __len__(self) -> int:
        return sum(map(len, self._rows))


class Draft(MutableMapping[K, V]):
    """What becomes the next mapping; the one that it begins with stays as it is."""

    def __init__(self, base: Mapping[K, V] | None = None) -> None:
        self._base: Shelves[K, V] = base if isinstance(base, Shelves) else Shelves(base)
        self._rows = list(self._base._rows)
        self._own: set[int] = set()  # shelves that were copied

    def done(self) -> Shelves[K, V]:
        """The mapping as it is now, the very same object where nothing was written; the draft may go on from it."""
        if self._own:
            self._base = Shelves()
            self._base._rows = tuple(self._rows)
            self._own.clear()
        return self._base

    def __getitem__(self, key: K) -> V:
        return self._rows[hash(key) & _LAST][key]

    def __contains__(self, key: object) -> bool:
        return key in self._rows[hash(key) & _LAST]

    def __setitem__(self, key: K, value: V) -> None:
        self._writable(key)[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        del self._writable(key)[key]

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self._rows)

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    def _writable(self, key: K) -> dict[K, V]:
        place = hash(key) & _LAST
        if place not in self._own:
            self._own.add(place)
            self._rows[place] = dict(self._rows[place])
        return self._rows[place]


def differing(before: Mapping[K, V], after: Mapping[K, V]) -> tuple[dict[K, V], dict[K, V]]:
    """What is no longer, and what is new; what changed is in both. Equal is no difference."""
    if before is after:
        return {}, {}
    pairs = _unlike(before, after)
    return _lacking(pairs), _lacking((new, old) for old, new in pairs)


def _unlike(before: Mapping[K, V], after: Mapping[K, V]) -> list[tuple[Mapping[K, V], Mapping[K, V]]]:
    """The shelves in the same place that are not the very same; two plain mappings are one shelf each."""
    if not isinstance(before, Shelves) and not isinstance(after, Shelves):
        return [(before, after)]
    return [(old, new) for old, new in zip(_rows(before), _rows(after), strict=True) if old is not new]


def _lacking(pairs: Iterable[tuple[Mapping[K, V], Mapping[K, V]]]) -> dict[K, V]:
    """The entries of the first of each pair that the second has not."""
    return {
        key: value
        for these, those in pairs
        for key, value in these.items()
        if (other := those.get(key, _NOTHING)) is not value and other != value
    }


def _rows(entries: Mapping[K, V]) -> Rows[K, V]:
    if isinstance(entries, Shelves):
        return entries._rows
    rows: list[dict[K, V]] = [{} for _ in range(_COUNT)]
    for key, value in entries.items():
        rows[hash(key) & _LAST][key] = value
    return tuple(rows)


_EMPTY: Rows[Any, Any] = ({},) * _COUNT
_NOTHING = object()
