"""Bring the kernel's maps to a table without one connection noticing.

Order is everything, as programs read while this writes: first slots, then the entries that count them, then entries go.
With that the table is in force. The slots that nothing counts any more are deleted later, when nobody can look at them:
whoever calls `apply` waits for readers and then calls `collect`. An agent that dies before leaves them to the next one,
which finds them when it reads the maps. Only where there is no room for the new beside the old, `apply` itself waits.

What does not fit is refused whole before anything is in force. The maps are read once; from then on a mirror of them
saves the reading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from daemon.model.directory import Frontend, ServiceName
from daemon.services.columns import entry_columns, frontend_keys, read_state, slot_columns, slot_keys
from daemon.services.force import InForce, NumberOf, PortsInForce, delta_from, delta_of_all, gone_keys
from daemon.services.numbers import NumberBook
from daemon.services.plan import Delta, KernelState, Plan, Run, held_slots, make_plan, removable_first
from daemon.services.table import ServiceTable
from ebpf.errors import MapFullError
from ebpf.grace import wait_for_readers
from ebpf.maps import HashMap


@dataclass(frozen=True, slots=True)
class Changes:
    """How many frontends an apply added, changed (value or backends) and removed."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


class ServiceReconciler:
    """The only writer of the maps `services` and `backends`. One call at a time, from any thread.

    `grace` waits until no program can still use a count that was lowered; `apply` needs it where a map is full.
    """

    def __init__(self, services: HashMap, backends: HashMap, grace: Callable[[], None] = wait_for_readers) -> None:
        self._services = services
        self._backends = backends
        self._grace = grace
        self._state: KernelState | None = None  # None: the maps are to be read first
        self._numbers: NumberBook | None = None
        self._force = InForce()
        self.written = 0
        """the number of the last change that was begun to be written to the maps, `collect` included"""
        self.whole = False
        """whether the last apply compared everything with the kernel, as the first one does, or only what changed"""

    def apply(self, table: ServiceTable) -> Changes:
        """Make the kernel balance by the table.

        Raises MapFullError, with nothing changed, where it does not fit; KernelError where a write failed, after which
        the next apply reads the maps again and goes on from there.
        """
        self.whole = self._state is None
        if self._state is None:
            return self._apply_all(table)
        assert self._numbers is not None, "set with the state"
        change = self._force.change(table.blocks)
        number_of = self._numbers.number
        plan = self._carry_out(self._state, delta_from(change, number_of), number_of)
        self._force.follow(change, number_of)
        self._numbers.forget(gone_keys(change))
        return _changes(plan)

    @property
    def spare(self) -> Mapping[int, int]:
        """Slots that nothing counts and that are still there: from which slot on, by number."""
        return {number: one.first for number, one in self._state.spare.items()} if self._state else {}

    def collect(self, until: int) -> None:
        """Delete what is spare since the change `until`, where all programs that ran then have ended."""
        state = self._state
        if state is not None and (runs := state.spare_runs(until)):
            self._state = None
            self.written += 1
            self._backends.delete(slot_keys(self._backends, runs))
            state.forget(runs)
            self._state = state

    @property
    def in_force(self) -> PortsInForce:
        """The ports in force of each Service or pod."""
        return self._force.ports

    def names(self) -> Mapping[int, ServiceName]:
        """Names by number, as the directory takes them."""
        return self._force.names

    def frontends(self) -> Mapping[Frontend, ServiceName]:
        """Names by frontend, as the directory takes them."""
        return self._force.frontends

    def _apply_all(self, table: ServiceTable) -> Changes:
        """Apply to a kernel whose state is not known, adopting numbers where this agent has given none yet."""
        state = read_state(self._services, self._backends)
        numbers = self._numbers or _number_book(state, table)
        plan = self._carry_out(state, delta_of_all(state, table.blocks, numbers.number), numbers.number)
        self._numbers, self._force = numbers, InForce()
        self._force.follow(self._force.change(table.blocks), numbers.number)
        numbers.keep_only(entry.key for entry in table.entries)
        return _changes(plan)

    def _carry_out(self, state: KernelState, delta: Delta, number_of: NumberOf) -> Plan:
        """Write what leads to the delta; raises MapFullError before anything of it is written."""
        plan = make_plan(state, delta, number_of)
        if state.spare and not self._has_room(plan, state):
            self._grace()
            self.collect(self.written)
            plan = make_plan(state, delta, number_of)
        early = None if self._has_room(plan, state) else self._removable_first(plan, state)
        self._state = None
        if not plan.empty:
            self.written += 1
            self._write(plan, state, early)
        state.follow(plan, self.written)
        self._state = state
        return plan

    def _write(self, plan: Plan, state: KernelState, early: Sequence[Run] | None) -> None:
        """All writes of a plan; `early` are the slots to remove before anything is put, None where there is room."""
        if early is not None:
            self._drop_entries(plan.drop_entries)
            self._remove(state, early)
        if plan.put_slots:
            self._backends.update(*slot_columns(self._backends, plan.put_slots))
        if plan.put_entries:
            self._services.update(*entry_columns(self._services, plan.put_entries))
        if early is None:
            self._drop_entries(plan.drop_entries)

    def _drop_entries(self, frontends: Sequence[Frontend]) -> None:
        if frontends:
            self._services.delete(frontend_keys(self._services, frontends))

    def _remove(self, state: KernelState, runs: Sequence[Run]) -> None:
        """Delete slots that nothing counts when nobody can look at them any more."""
        if runs:
            self._grace()
            self._backends.delete(slot_keys(self._backends, runs))
            state.forget(runs)

    def _has_room(self, plan: Plan, state: KernelState) -> bool:
        """Whether the new fits in beside all that is to go."""
        entries, slots = len(state.entries) + plan.new_entries, state.slot_count + plan.new_slots
        return entries <= self._services.max_entries and slots <= self._backends.max_entries

    def _removable_first(self, plan: Plan, state: KernelState) -> list[Run]:
        """What must go before the new comes; raises MapFullError where there is no room even then."""
        runs = removable_first(plan, state)
        _check_room(self._services, len(state.entries) + plan.new_entries - len(plan.drop_entries))
        _check_room(self._backends, state.slot_count + plan.new_slots - held_slots(runs))
        return runs


def _check_room(table: HashMap, needed: int) -> None:
    if needed > table.max_entries:
        what = f"map {table.name} has room for {table.max_entries} entries and the Services need {needed}"
        raise MapFullError(f"{what}; nothing was changed", hint=f"raise {table.name}_max in the settings")


def _number_book(state: KernelState, table: ServiceTable) -> NumberBook:
    return NumberBook({place: entry.service for place, entry in state.entries.items()}, state.slots, table)


def _changes(plan: Plan) -> Changes:
    removed = sum(place.port > 0 for place in plan.drop_entries)
    return Changes(plan.added, plan.changed, removed)
