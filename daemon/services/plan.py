"""The difference between what the kernel balances by and what it should, as runs of slots and single entries.

Backends stand in numbered slots, and the kernel picks any slot below the count in the Service's entry. So a backend
that stays keeps its slot, new ones fill the holes of those that left, and what is then still a hole is filled
from the end before the count goes down. Every slot below a count thus resolves at every moment of the change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from daemon.model.directory import Frontend
from daemon.services.table import RECORD_SIZE, Block, ServicePortEntry, records
from ebpf.constants import FrontendFlag

MISSING = bytes(RECORD_SIZE)  # stands for a slot that the kernel's map lacks; no backend has port 0


class Entry(NamedTuple):
    """The value of a frontend, its fields as the kernel's struct names them: number, slots, FrontendFlag bits, s."""

    service: int
    backends: int
    flags: int
    affinity: int


ADDRESS = Entry(0, 0, int(FrontendFlag.ADDRESS), 0)


class Run(NamedTuple):
    """Neighbouring slots of one number, from `first` on, with what is in them."""

    number: int
    first: int
    blob: bytes

    @property
    def length(self) -> int:
        return len(self.blob) // RECORD_SIZE


@dataclass(frozen=True, slots=True)
class Delta:
    """What is to be in force, and what is not to be any more. What is in neither stays as it is."""

    wanted: Sequence[Block]
    stale_places: Collection[Frontend]
    stale_numbers: Collection[int]


class Spare(NamedTuple):
    """The slots of a number from `first` on, which nothing counts any more since the change numbered `since`."""

    first: int
    since: int


@dataclass(slots=True)
class KernelState:
    """What the two maps hold: entries by frontend, and slots by number, joined, with MISSING in gaps.

    `slots` includes the `spare` ones: no entry counts them, but a program that read an older count may look at them.
    """

    entries: dict[Frontend, Entry] = field(default_factory=dict)
    slots: dict[int, bytes] = field(default_factory=dict)
    wanted: dict[int, bytes] = field(default_factory=dict)  # the sorted backends that `slots` were arranged from
    slot_count: int = 0  # slots that the map holds, gaps not counted
    spare: dict[int, Spare] = field(default_factory=dict)

    def follow(self, plan: Plan, since: int) -> None:
        """Take over a plan that was written as change number `since`; slots that it leaves uncounted are spare now."""
        self.entries.update(plan.put_entries)
        for place in plan.drop_entries:
            del self.entries[place]
        self.wanted.update(plan.wanted)
        self.slot_count += plan.new_slots
        for number, slots in plan.slots.items():
            self.slots[number] = slots + self.slots.get(number, b"")[len(slots) :]
            self._count_only(number, len(slots) // RECORD_SIZE, since)
        for run in plan.drop_numbers:
            self.wanted.pop(run.number, None)
            self._count_only(run.number, 0, since)
            if run.number not in self.spare:
                del self.slots[run.number]

    def spare_runs(self, until: int) -> list[Run]:
        """The slots that are spare since change number `until` or an earlier one."""
        found = ((number, one.first) for number, one in self.spare.items() if one.since <= until)
        return [Run(number, first, self.slots[number][first * RECORD_SIZE :]) for number, first in found]

    def forget(self, runs: Iterable[Run]) -> None:
        """Take over that these slots, each run the last ones of its number, were deleted."""
        for number, first, blob in runs:
            self.slot_count -= _held(blob)
            self.slots[number] = self.slots[number][: first * RECORD_SIZE]
            self.spare.pop(number, None)
            if not self.slots[number] and number not in self.wanted:
                del self.slots[number]

    def _count_only(self, number: int, first: int, since: int) -> None:
        self.spare.pop(number, None)
        if len(self.slots.get(number, b"")) > first * RECORD_SIZE:
            self.spare[number] = Spare(first, since)


@dataclass(slots=True)
class Plan:
    """The writes that lead from one state to the next, by kind; `reconcile` knows their order."""

    put_slots: list[Run] = field(default_factory=list)
    put_entries: dict[Frontend, Entry] = field(default_factory=dict)
    drop_entries: list[Frontend] = field(default_factory=list)
    drop_slots: list[Run] = field(default_factory=list)  # beyond a lowered count
    drop_numbers: list[Run] = field(default_factory=list)  # of numbers that nothing leads to any more
    slots: dict[int, bytes] = field(default_factory=dict)  # of the numbers whose backends change, those that count
    wanted: dict[int, bytes] = field(default_factory=dict)
    new_slots: int = 0  # of put_slots, those that take room
    new_entries: int = 0  # of put_entries, those that take room
    added: int = 0  # frontends that are new, entries for whole addresses not counted
    changed: int = 0  # frontends that were there before and lead elsewhere, or otherwise, afterwards

    @property
    def empty(self) -> bool:
        puts, drops = self.put_slots or self.put_entries, self.drop_entries or self.drop_slots or self.drop_numbers
        return not (puts or drops)


def make_plan(state: KernelState, delta: Delta, number_of: Callable[[ServicePortEntry], int]) -> Plan:
    """The plan that brings a change to the kernel."""
    plan = Plan()
    for block in delta.wanted:
        for entry in block.entries:
            number = number_of(entry)
            moved = _place_backends(plan, state, entry, number)
            drop = FrontendFlag.DROP if entry.drop else 0
            for frontend, kind in entry.frontends.items():
                _put(plan, state, frontend, Entry(number, entry.count, int(kind) | drop, entry.affinity), moved)
        for frontend in block.addresses:
            _put(plan, state, frontend, ADDRESS, False)
    plan.drop_entries = [place for place in delta.stale_places if place in state.entries]
    plan.drop_numbers = [Run(number, 0, state.slots[number]) for number in delta.stale_numbers if number in state.slots]
    return plan


def removable_first(plan: Plan, state: KernelState) -> list[Run]:
    """Of `drop_numbers`, those that no entry leads to once `drop_entries` are removed, whatever else is written."""
    dropped = set(plan.drop_entries)
    used = {value.service for place, value in state.entries.items() if place not in dropped}
    return [run for run in plan.drop_numbers if run.number not in used]


def _put(plan: Plan, state: KernelState, frontend: Frontend, value: Entry, moved: bool) -> None:
    """Add one frontend to the plan where it differs; `moved`: its backends do."""
    held = state.entries.get(frontend)
    if held != value:
        plan.put_entries[frontend] = value
    if held is None:
        plan.new_entries += 1
        plan.added += frontend.port > 0
    elif moved or held != value:
        plan.changed += 1


def _place_backends(plan: Plan, state: KernelState, entry: ServicePortEntry, number: int) -> bool:
    """Add the slots of one port to the plan where they differ, and tell whether they do."""
    if state.wanted.get(number) == entry.backends:
        return False
    held = state.slots.get(number, b"")
    plan.wanted[number] = entry.backends
    slots = b"".join(arrange(records(held), records(entry.backends)))
    plan.slots[number] = slots
    plan.put_slots += _differences(number, held, slots)
    plan.new_slots += entry.count - _held(held[: len(slots)])
    if len(held) > len(slots):
        plan.drop_slots.append(Run(number, entry.count, held[len(slots) :]))
    return slots != held[: len(slots)]


def arrange(held: list[bytes], wanted: list[bytes]) -> list[bytes]:
    """The wanted backends by slot: those that are held keep their slot, new ones fill holes, the end fills the rest."""
    missing = dict.fromkeys(wanted)
    slots: list[bytes | None] = []
    for record in held:
        slots.append(record if record in missing else None)
        missing.pop(record, None)
    holes = [index for index, record in enumerate(slots) if record is None]
    for hole, record in zip(holes, missing, strict=False):
        slots[hole] = record
    slots += list(missing)[len(holes) :]
    return list(_compacted(slots))


def _compacted(slots: list[bytes | None]) -> Iterable[bytes]:
    """The slots without holes: each hole takes the last backend."""
    index = 0
    while index < len(slots):
        if slots[index] is None:
            slots[index] = slots[-1]
            slots.pop()
        else:
            index += 1
    return [record for record in slots if record is not None]


def _differences(number: int, held: bytes, slots: bytes) -> Iterator[Run]:
    """Runs of the slots that are to be written: changed ones one by one, those beyond the held ones in one run."""
    kept = min(len(held), len(slots))
    for start in range(0, kept, RECORD_SIZE):
        stop = start + RECORD_SIZE
        if held[start:stop] != slots[start:stop]:
            yield Run(number, start // RECORD_SIZE, slots[start:stop])
    if len(slots) > kept:
        yield Run(number, kept // RECORD_SIZE, slots[kept:])


def held_slots(runs: Iterable[Run]) -> int:
    """Slots of runs that the map really has."""
    return sum(_held(run.blob) for run in runs)


def _held(blob: bytes) -> int:
    count = len(blob) // RECORD_SIZE
    return count - records(blob).count(MISSING) if MISSING in blob else count
