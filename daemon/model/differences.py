"""What changed from one tuple of objects to the next, at the price of a walk.

Objects that a source did not read again are the very same objects in its next snapshot, so identity tells what is new
without a look at what is in them.
"""

from __future__ import annotations

from itertools import compress, count
from operator import is_not
from typing import TypeVar

T = TypeVar("T")


def differences(before: tuple[T, ...], now: tuple[T, ...]) -> tuple[list[T], list[T]]:
    """The objects that are gone and those that are new, by identity, whatever the order; none is twice in one."""
    if before is now:
        return [], []
    shorter = min(len(before), len(now))
    head = next(compress(count(), map(is_not, before, now)), shorter)
    if head == len(before) == len(now):
        return [], []
    tail = next(compress(count(), map(is_not, reversed(before), reversed(now))), shorter)
    tail = min(tail, shorter - head)
    old = {id(one): one for one in before[head : len(before) - tail]}
    new = {id(one): one for one in now[head : len(now) - tail]}
    return [old[key] for key in old if key not in new], [new[key] for key in new if key not in old]
