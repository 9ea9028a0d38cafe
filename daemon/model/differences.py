"""What changed from one tuple of objects to the next, at the price of a glance.

Objects that a source did not read again are the very same objects in its next snapshot, and tuples are compared by
identity first, in C. So runs that are the same are passed over in blocks, without a look at what is in them.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")

_STEPS = (1024, 32, 1)  # objects that are compared at once, while that finds no difference


def differences(before: tuple[T, ...], now: tuple[T, ...]) -> tuple[list[T], list[T]]:
    """The objects that are gone and those that are new, whatever the order; none is twice in one.

    One that was read again and is equal to what stood in its place is no difference.
    """
    if before is now:
        return [], []
    head, tail = _common_ends(before, now)
    old = {id(one): one for one in before[head : len(before) - tail]}
    new = {id(one): one for one in now[head : len(now) - tail]}
    return [old[key] for key in old if key not in new], [new[key] for key in new if key not in old]


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
