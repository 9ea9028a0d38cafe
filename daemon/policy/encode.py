"""Functions of protocol and port as entries with port prefixes, as few as nesting allows.

The longest prefix decides, so a run with an exception is one wide entry and one narrow one. And where nothing matches
the look-up goes on elsewhere ("miss"), to what holds for every class: what says the same as that needs no entry,
unless a wider entry of this class would hide it. The way is the one known for routing tables: go up through the
tree of prefixes and collect what each may say, then down and write where the one above says something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from daemon.policy.verdicts import OTHER, PROTOCOLS, Function, Plane, Verdict, cut

PORT_BITS = 16

Written = tuple[int, int, int, Verdict]  # protocol, port, bits, verdict
Choice = Verdict | None  # None: a miss


class _Node(NamedTuple):
    """A port prefix: what it may say, and its two halves where it is not the same throughout."""

    low: int
    bits: int
    may: tuple[Choice, ...]
    halves: tuple[_Node, ...] = ()


@lru_cache(4096)
def encode(function: Function, missed: Function) -> tuple[Written, ...]:
    """The entries after which a look-up says `function`, where a miss says `missed`."""
    trees = [_tree(function[plane], missed[plane], 0, 0) for plane in range(len(PROTOCOLS))]
    other = function[OTHER][0][1]
    wide = ((0, 0, 0, other), *_planes(trees, other))
    if other != missed[OTHER][0][1]:
        return wide
    narrow = tuple(_planes(trees, None))
    return narrow if len(narrow) <= len(wide) else wide


def _planes(trees: list[_Node], above: Choice) -> Iterator[Written]:
    for protocol, tree in zip(PROTOCOLS, trees, strict=True):
        for node, verdict in _write(tree, above):
            yield protocol, node.low, node.bits, verdict


def _tree(wanted: Plane, missed: Plane, low: int, bits: int) -> _Node:
    """The tree of a stretch, whose runs both planes contain from `low` on."""
    if len(wanted) == 1 and (len(missed) == 1 or all(run[1] != wanted[0][1] for run in missed)):
        verdict = wanted[0][1]
        return _Node(low, bits, (verdict, None) if missed[0][1] == verdict else (verdict,))
    half = 1 << (PORT_BITS - bits - 1)
    middle, last = low + half, low + 2 * half - 1
    left = _tree(cut(wanted, low, middle - 1), cut(missed, low, middle - 1), low, bits + 1)
    right = _tree(cut(wanted, middle, last), cut(missed, middle, last), middle, bits + 1)
    both = tuple(choice for choice in left.may if choice in right.may)
    either = tuple(dict.fromkeys((*left.may, *right.may)))
    return _Node(low, bits, both or either, (left, right))


def _write(node: _Node, above: Choice) -> Iterator[tuple[_Node, Verdict]]:
    if above not in node.may:
        verdict = next((choice for choice in node.may if choice is not None), None)
        if verdict is not None:
            yield node, verdict
            above = verdict
    for half in node.halves:
        yield from _write(half, above)
