"""All objects of a kind, in the order of their names, of which a few change at a time.

A tuple of ten thousand is copied whole for each change, and looked through whole by each who wants to know what the
change was. So the objects lie in runs, each a tuple of some dozens. A change makes the run anew that it concerns and
shares the others with what was before, where they are found by identity.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Generic, TypeVar, overload

from daemon.model.objects import KubeObject

T = TypeVar("T")
N = TypeVar("N", bound=KubeObject)
Name = tuple[str, str]

_RUN = 64  # objects of a run when it is made; one of more than twice as many is made two


class Listing(Sequence[T]):
    """A sequence that never changes; `runs` are never empty."""

    __slots__ = ("runs",)

    def __init__(self, runs: Iterable[tuple[T, ...]] = ()) -> None:
        self.runs = tuple(runs)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice) or place < 0:
            return tuple(self)[place]
        for run in self.runs:
            if place < len(run):
                return run[place]
            place -= len(run)
        raise IndexError("there are fewer objects than that")

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self.runs)

    def __len__(self) -> int:
        return sum(map(len, self.runs))


class Ordered(Generic[N]):
    """Objects by namespace and name, kept in order while they come and go."""

    def __init__(self, objects: Iterable[N] = ()) -> None:
        every = sorted(objects, key=name_of)
        self._runs = [tuple(every[start : start + _RUN]) for start in range(0, len(every), _RUN)]
        self._firsts = [name_of(run[0]) for run in self._runs]
        self._listed: Listing[N] | None = None

    def all(self) -> Listing[N]:
        """All of them; the very same until something changes."""
        if self._listed is None:
            self._listed = Listing(self._runs)
        return self._listed

    def put(self, one: N) -> None:
        """Add an object, or replace the one of its name."""
        place = self._place(name_of(one))
        run = self._runs[place] if self._runs else ()
        here = bisect_left(run, name_of(one), key=name_of)
        known = here < len(run) and name_of(run[here]) == name_of(one)
        self._replace(place, (*run[:here], one, *run[here + known :]))

    def remove(self, name: Name) -> None:
        """Take away the object of that name, which is there."""
        place = self._place(name)
        self._replace(place, tuple(one for one in self._runs[place] if name_of(one) != name))

    def _place(self, name: Name) -> int:
        """Of the run that has the name, or would."""
        return max(0, bisect_right(self._firsts, name) - 1)

    def _replace(self, place: int, run: tuple[N, ...]) -> None:
        runs = [run[:_RUN], run[_RUN:]] if len(run) > 2 * _RUN else [run] if run else []
        self._runs[place : place + 1] = runs
        self._firsts[place : place + 1] = [name_of(one[0]) for one in runs]
        self._listed = None


def name_of(one: KubeObject) -> Name:
    """Namespace and name."""
    return one.metadata.namespace, one.metadata.name
