"""The difference between what the kernel balances by and what it should, as runs of slots and single entries.

Backends stand in numbered slots, and the kernel picks any slot below the count in the Service's entry. So a backend
that stays keeps its slot, new ones fill the holes of those that left, and what is then still a hole is filled
from the end before the count goes down. Every slot below a count thus resolves at every moment of the change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from daemon.model.directory import Frontend
from daemon.services.table import RECORD_SIZE, ServicePortEntry, ServiceTable, records
from ebpf.constants import FrontendFlag

MISSING = bytes(RECORD_SIZE)  # stands for a slot that the kernel's map lacks; no backend has port 0


class Entry(NamedTuple):
    """The value of a frontend: its Service port's number, how many slots there are, and FrontendFlag bits."""

    number: int
    backends: int
    flags: int


class Run(NamedTuple):
    """Neighbouring slots of one number, from `first` on, with what is in them."""

    number: int
    first: int
    blob: bytes

    @property
    def length(self) -> int:
        return len(self.blob) // RECORD_SIZE


@dataclass(slots=True)
class KernelState:
    """What the two maps hold: entries by frontend, and slots by number, joined, with MISSING in gaps."""

    entries: dict[Frontend, Entry] = field(default_factory=dict)
    slots: dict[int, bytes] = field(default_factory=dict)
    wanted: dict[int, bytes] = field(default_factory=dict)  # the sorted backends that `slots` were arranged from
    slot_count: int = 0  # slots that the map holds, gaps not counted


@dataclass(slots=True)
class Plan:
    """The writes that lead to `after`, by kind; `reconcile` knows their order."""

    after: KernelState
    put_slots: list[Run] = field(default_factory=list)
    put_entries: dict[Frontend, Entry] = field(default_factory=dict)
    drop_entries: list[Frontend] = field(default_factory=list)
    drop_slots: list[Run] = field(default_factory=list)  # beyond a lowered count
    drop_numbers: list[Run] = field(default_factory=list)  # of numbers that nothing leads to any more
    new_slots: int = 0  # of put_slots, those that take room
    touched: set[int] = field(default_factory=set)  # numbers whose slots change

    @property
    def empty(self) -> bool:
        puts, drops = self.put_slots or self.put_entries, self.drop_entries or self.drop_slots or self.drop_numbers
        return not (puts or drops)


def make_plan(state: KernelState, table: ServiceTable, number_of: Callable[[ServicePortEntry], int]) -> Plan:
    """The plan from `state` to what the table wants."""
    plan = Plan(KernelState())
    for entry in table.entries:
        _place(plan, state, entry, number_of(entry))
    after = plan.after.entries
    plan.put_entries = {place: value for place, value in after.items() if state.entries.get(place) != value}
    plan.drop_entries = [place for place in state.entries if place not in after]
    kept = plan.after.slots
    plan.drop_numbers = [Run(number, 0, blob) for number, blob in state.slots.items() if blob and number not in kept]
    plan.after.slot_count = state.slot_count + plan.new_slots - held_slots([*plan.drop_slots, *plan.drop_numbers])
    return plan


def removable_first(plan: Plan, state: KernelState) -> list[Run]:
    """Of `drop_numbers`, those that no entry leads to once `drop_entries` are removed, whatever else is written."""
    dropped = set(plan.drop_entries)
    used = {value.number for place, value in state.entries.items() if place not in dropped}
    return [run for run in plan.drop_numbers if run.number not in used]


def _place(plan: Plan, state: KernelState, entry: ServicePortEntry, number: int) -> None:
    """Add one port to the plan: its slots where they differ, and its entries to what is after."""
    for frontend in entry.frontends:
        plan.after.entries[frontend] = Entry(number, entry.count, int(FrontendFlag.CLUSTER_IP))
    held = state.slots.get(number, b"")
    plan.after.wanted[number] = entry.backends
    if state.wanted.get(number) == entry.backends:
        plan.after.slots[number] = held
        return
    slots = arrange(records(held), records(entry.backends))
    plan.after.slots[number] = b"".join(slots)
    plan.put_slots += _differences(number, held, plan.after.slots[number])
    plan.new_slots += entry.count - _held(held[: len(entry.backends)])
    if len(held) > len(entry.backends):
        plan.drop_slots.append(Run(number, entry.count, held[len(entry.backends) :]))
    if plan.after.slots[number] != held:
        plan.touched.add(number)


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
