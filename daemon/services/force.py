"""What is in force: the blocks that the kernel was last brought to, and the names that stand for their numbers.

A new table shares the blocks that did not change with the one before, so the difference is found by identity. It is
kept up to date by differences, too, since a walk over ten thousand Services costs more than most changes do.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from daemon.model.directory import Frontend, ServiceName
from daemon.model.shelves import Draft, Shelves, differing
from daemon.services.plan import Delta, KernelState
from daemon.services.table import Block, Origin, PortKey, ServicePortEntry

K = TypeVar("K", bound=Hashable)
NumberOf = Callable[[ServicePortEntry], int]


@dataclass(frozen=True, slots=True)
class Applied:
    """A Service port in force and the number that the kernel knows it by."""

    number: int
    entry: ServicePortEntry


PortsInForce = Mapping[Origin, tuple[Applied, ...]]
"""By origin; never changes, and shares with the next one what stays."""


def every_port(ports: PortsInForce) -> tuple[Applied, ...]:
    """All of them."""
    return tuple(chain.from_iterable(ports.values()))


@dataclass(frozen=True, slots=True)
class Change:
    """The blocks that are no longer, and those that are new; a changed one is in both."""

    blocks: Mapping[Origin, Block]
    old: Mapping[Origin, Block]
    new: Mapping[Origin, Block]


class InForce:
    """The state after the last write; empty where the kernel's state was not written from here."""

    def __init__(self) -> None:
        self._names: Draft[int, ServiceName] = Draft()
        self._frontends: Draft[Frontend, ServiceName] = Draft()
        self._blocks: Mapping[Origin, Block] = Shelves()
        self._applied: Draft[Origin, tuple[Applied, ...]] = Draft()

    @property
    def names(self) -> Mapping[int, ServiceName]:
        """Names by number; the very same object until one changes."""
        return self._names.done()

    @property
    def frontends(self) -> Mapping[Frontend, ServiceName]:
        """Names by frontend; the very same object until one changes."""
        return self._frontends.done()

    @property
    def ports(self) -> PortsInForce:
        """The ports of each Service or pod; the very same object until one changes."""
        return self._applied.done()

    def change(self, blocks: Mapping[Origin, Block]) -> Change:
        """What differs from the blocks of a table."""
        return Change(blocks, *differing(self._blocks, blocks))

    def follow(self, change: Change, number_of: NumberOf) -> None:
        """Take over a change that was written; `number_of` still knows the numbers of what is gone."""
        for origin in change.old.keys() - change.new.keys():
            del self._applied[origin]
        for origin, block in change.new.items():
            self._applied[origin] = tuple(Applied(number_of(entry), entry) for entry in block.entries)
        old, new = ([entry for block in some.values() for entry in block.entries] for some in (change.old, change.new))
        _replace(self._names, _numbers(old, number_of), _numbers(new, number_of))
        _replace(self._frontends, _places(old), _places(new))
        self._blocks = change.blocks


def _replace(names: Draft[K, ServiceName], old: Mapping[K, ServiceName], new: Mapping[K, ServiceName]) -> None:
    """Take `old` out of the names and put `new` in."""
    for key in old.keys() - new.keys():
        del names[key]
    names.update((key, name) for key, name in new.items() if old.get(key) != name)


def _numbers(entries: Iterable[ServicePortEntry], number_of: NumberOf) -> dict[int, ServiceName]:
    return {number_of(entry): entry.key.name for entry in entries}


def _places(entries: Iterable[ServicePortEntry]) -> dict[Frontend, ServiceName]:
    return {place: entry.key.name for entry in entries for place in entry.frontends}


def gone_keys(change: Change) -> set[PortKey]:
    """The ports that a change removes."""
    return _keys(change.old) - _keys(change.new)


def delta_from(change: Change, number_of: NumberOf) -> Delta:
    """A change in the plan's words."""
    places = {place for block in change.old.values() for place in block.places()}
    places.difference_update(place for block in change.new.values() for place in block.places())
    gone = gone_keys(change)
    old = (entry for block in change.old.values() for entry in block.entries)
    return Delta(_in_order(change.new), places, [number_of(entry) for entry in old if entry.key in gone])


def delta_of_all(state: KernelState, blocks: Mapping[Origin, Block], number_of: NumberOf) -> Delta:
    """All blocks, and everything else that the kernel holds as stale: for a kernel that was not written from here."""
    wanted = _in_order(blocks)
    places = {place for block in wanted for place in block.places()}
    numbers = {number_of(entry) for block in wanted for entry in block.entries}
    stale = [place for place in state.entries if place not in places]
    return Delta(wanted, stale, [number for number in state.slots if number not in numbers])


def _in_order(blocks: Mapping[Origin, Block]) -> list[Block]:
    """By origin: so numbers are given."""
    return [blocks[origin] for origin in sorted(blocks)]


def _keys(blocks: Mapping[Origin, Block]) -> set[PortKey]:
    return {entry.key for block in blocks.values() for entry in block.entries}
