"""Do the kernel's maps say what the objects say? Everything computed anew, read back, and compared.

The agent keeps a mirror of what it wrote and works by differences. Both could be wrong, by an error of ours or by
somebody else's hand, and traffic would tell late. So here nothing is believed: the table is compiled from the objects
alone, both maps are read, and what the reconciler would have to write is the difference. Nothing is written.

Reading and comparing take a second at ten thousand Services, and a change to the kernel must not wait for that. So
both go on beside the writer, and what was found counts only if nothing was written meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from daemon.agent.wording import flag_words, place_words, range_words, record_words
from daemon.model.directory import Frontend
from daemon.model.snapshot import Snapshot
from daemon.model.workload import Node
from daemon.services import compile_services
from daemon.services.columns import read_state
from daemon.services.force import Applied, delta_of_all
from daemon.services.plan import MISSING, Entry, KernelState, Plan, Run, make_plan
from daemon.services.ranges import SERVICE_BITS, compare_ranges
from daemon.services.table import RECORD_SIZE, PortKey, ServicePortEntry, ServiceTable, records
from ebpf.constants import FrontendFlag
from ebpf.maps import HashMap


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the kernel differs; `wanted` is "" where it has too much, `found` where it lacks something."""

    map: str
    place: str
    service: str = ""
    wanted: str = ""
    found: str = ""

    @property
    def kind(self) -> str:
        """missing, extra or different."""
        return "missing" if not self.found else "extra" if not self.wanted else "different"


@dataclass(frozen=True, slots=True)
class Report:
    """What differs, and how many entries of each map the objects want."""

    differences: tuple[Difference, ...]
    frontends: int
    slots: int


@dataclass(frozen=True, slots=True)
class Promised:
    """What the writer says that the kernel holds, after its change number `written`.

    `numbers` are those that were given out; `spare` the slots, by number from which one on, that nothing counts any
    more and that are deleted in a moment.
    """

    written: int
    snapshot: Snapshot
    node: Node
    numbers: Mapping[PortKey, int]
    spare: Mapping[int, int]


def verify(services: HashMap, backends: HashMap, ranges: HashMap, promised: Promised) -> Report:
    """Compare. Nobody may write meanwhile, else what is half written is taken for a difference."""
    table = compile_services(promised.snapshot, promised.node)
    state = read_state(services, backends)
    state.forget(_spare_runs(state, promised.spare))
    numbers = promised.numbers
    number_of = _numbering(state, numbers)
    plan = make_plan(state, delta_of_all(state, table.blocks, number_of), number_of)
    names = _Names(table, {number_of(entry): entry.key for entry in table.entries})
    found = (
        *_entries(plan, state, names),
        *_slots(plan, state, names),
        *_beyond(state),
        *verify_ranges(ranges, table, numbers),
    )
    return Report(found, len(table.frontends) + len(table.addresses), sum(entry.count for entry in table.entries))


def _spare_runs(state: KernelState, spare: Mapping[int, int]) -> list[Run]:
    held = ((number, first, state.slots.get(number, b"")) for number, first in spare.items())
    return [Run(number, first, blob[first * RECORD_SIZE :]) for number, first, blob in held if blob]


def verify_ranges(ranges: HashMap, table: ServiceTable, numbers: Mapping[PortKey, int]) -> Iterator[Difference]:
    """The same for the map of source ranges; a port that got no number is told as a missing frontend already."""
    known = [Applied(numbers[entry.key], entry) for entry in table.entries if entry.key in numbers]
    names = _Names(table, {one.number: one.entry.key for one in known})
    missing, extra = compare_ranges(ranges, known)
    for keys, found in ((missing, False), (extra, True)):
        for key in keys:
            number, prefix = int(key["service"]), bytes([int(key["prefix"]) - SERVICE_BITS]) + key["addr"].tobytes()
            words = range_words(prefix)
            where = f"service {number}"
            yield Difference(
                "source_ranges", where, names.number(number), "" if found else words, words if found else ""
            )


def _numbering(state: KernelState, numbers: Mapping[PortKey, int]) -> Callable[[ServicePortEntry], int]:
    """Numbers as given out; for a port that got none, one that the kernel does not know."""
    fresh = count(max([0, *numbers.values(), *state.slots, *(one.service for one in state.entries.values())]) + 1)
    known = dict(numbers)
    return lambda entry: known[entry.key] if entry.key in known else known.setdefault(entry.key, next(fresh))


@dataclass(frozen=True, slots=True)
class _Names:
    """Names of Service ports, by frontend and by number."""

    table: ServiceTable
    by_number: Mapping[int, PortKey]

    def place(self, place: Frontend) -> str:
        entry = self.table.frontends.get(place)
        return _name(entry.key) if entry else ""

    def number(self, number: int) -> str:
        return _name(self.by_number[number]) if number in self.by_number else ""


def _name(key: PortKey) -> str:
    port = f":{key.name.port_name}" if key.name.port_name else ""
    return f"{key.name.namespace}/{key.name.name}{port}"


def _entries(plan: Plan, state: KernelState, names: _Names) -> Iterator[Difference]:
    for place, wanted in sorted(plan.put_entries.items()):
        held = state.entries.get(place)
        words = _differing(wanted, held) if held else (_entry_words(wanted._asdict()), "")
        yield Difference("services", place_words(place), names.place(place), *words)
    for place in sorted(plan.drop_entries):
        yield Difference("services", place_words(place), found=_entry_words(state.entries[place]._asdict()))


def _differing(wanted: Entry, held: Entry) -> tuple[str, str]:
    """Both sides, the fields that differ and no others."""
    fields = [name for name in Entry._fields if getattr(wanted, name) != getattr(held, name)]
    wants, has = ({name: getattr(side, name) for name in fields} for side in (wanted, held))
    return _entry_words(wants), _entry_words(has)


def _entry_words(fields: Mapping[str, int]) -> str:
    words = {
        "service": lambda value: f"number {value}",
        "backends": lambda value: f"{value} backends",
        "flags": lambda value: flag_words(FrontendFlag(value)),
        "affinity": lambda value: f"affinity {value} s",
    }
    return ", ".join(words[name](value) for name, value in fields.items())


def _slots(plan: Plan, state: KernelState, names: _Names) -> Iterator[Difference]:
    for number, slot, record in _each(plan.put_slots):
        held = records(state.slots.get(number, b""))
        found = held[slot] if slot < len(held) else MISSING
        words = record_words(found) if found != MISSING else ""
        yield Difference("backends", _slot_words(number, slot), names.number(number), record_words(record), words)
    for number, slot, record in _each([*plan.drop_slots, *plan.drop_numbers]):
        if record != MISSING:
            yield Difference("backends", _slot_words(number, slot), names.number(number), "", record_words(record))


def _beyond(state: KernelState) -> Iterator[Difference]:
    """Slots with a number that no slot can have are counted only."""
    seen = sum(record != MISSING for blob in state.slots.values() for record in records(blob))
    if state.slot_count > seen:
        yield Difference("backends", "slots beyond the map's size", found=f"{state.slot_count - seen} entries")


def _each(runs: Iterable[Run]) -> Iterator[tuple[int, int, bytes]]:
    for run in runs:
        for index, record in enumerate(records(run.blob)):
            yield run.number, run.first + index, record


def _slot_words(number: int, slot: int) -> str:
    return f"service {number} slot {slot}"
