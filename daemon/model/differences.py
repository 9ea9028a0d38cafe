"""What changed from one sequence of objects to the next, at the price of a glance.

Objects that a source did not read again are the very same objects in its next snapshot, and so are runs of a listing in
which nothing changed. What is left of both without the runs that they share, and tuples are one run, is compared in
blocks, by identity first, in C. So what is the same is passed over without a look at what is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TypeVar

from daemon.model.listing import Listing

T = TypeVar("T")

_STEPS = (1024, 32, 1)  # objects that are compared at once, while that finds no difference


def differences(before: Sequence[T], now: Sequence[T]) -> tuple[list[T], list[T]]:
    """The objects that are gone and those that are new, whatever the order; none is twice in one.

    One that was read again and is equal to what stood in its place is no difference.
    """
    if before is now:
        return [], []
    left, come = _unshared(before, now), _unshared(now, before)
    head, tail = _common_ends(left, come)
    old = {id(one): one for one in left[head : len(left) - tail]}
    new = {id(one): one for one in come[head : len(come) - tail]}
    return [old[key] for key in old if key not in new], [new[key] for key in new if key not in old]


def _unshared(these: Sequence[T], those: Sequence[T]) -> tuple[T, ...]:
    """The objects in runs that only the first has."""
    known = set(map(id, _runs(those)))
    return tuple(chain.from_iterable(run for run in _runs(these) if id(run) not in known))


def _runs(objects: Sequence[T]) -> Sequence[Sequence[T]]:
    return objects.runs if isinstance(objects, Listing) else (objects,)


def _common_ends(before: tuple[T, ...], now: tuple[T, ...]) -> tuple[int, int]:
    """How many objects are the same at the beginning, and, of the others, at the end."""
    shorter = min(len(before), len(now))
    head = 0
    for step in _STEPS:
        while head + step <= shorter and before[head : head + step] == now[head : head + step]:
            head += step
    tail, old, new = 0, len(before), len(now)
    for step in _STEPS:
        while head + tail + step <= shorter and before[old - step : old] == now[new - step : new]:
            tail, old, new = tail + step, old - step, new - step
    return head, tail
