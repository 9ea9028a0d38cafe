"""Bring the kernel's policy maps to a table in one instant.

Classes, networks and guards have two sides, and one number says which is in force. New rulesets are written first,
under numbers that nothing refers to; then the other side of whatever changes; then the number is flipped, and from
that instant every packet on the node is judged by the new state, where it was judged by the old one until then: never
by a mixture, also where several workloads and classes change at once. When no program can still be at work with the
old side, it is brought up to date and the old rulesets go.

What does not fit is refused whole before anything is written. The maps are read once; from then on a mirror of them
saves the reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from daemon.model.shelves import differing
from daemon.policy.compile import FirstNumbers
from daemon.policy.kernel_columns import (
    NOT_HELD,
    Held,
    Network,
    address_keys,
    class_values,
    default_columns,
    device_keys,
    entry_columns,
    guard_values,
    network_keys,
)
from daemon.policy.kernel_covers import Covers
from daemon.policy.kernel_state import KernelPolicy, Maps, read_policy, write_state
from daemon.policy.table import ANY_CLASS, FIRST_CLASS, Isolation, PolicyTable, Ruleset
from ebpf.constants import GuardFlag, PolicyFlag
from ebpf.errors import MapFullError
from ebpf.grace import wait_for_readers
from ebpf.maps import PerCpuHash

T = TypeVar("T")

RULE_STRIDE = 1 << 16  # numbers of rules that one agent may use up

_BOUNDED = ("classes", "networks", "rulesets", "policies", "guards")


class Guard(NamedTuple):
    """What a workload's device is to enforce: its rulesets by the table's numbers, and whether sources are checked."""

    isolation: Isolation
    source_check: bool = True


@dataclass(frozen=True, slots=True)
class Changes:
    """How many rulesets, addresses and networks, and guarded devices an apply wrote or removed."""

    rulesets: int = 0
    classes: int = 0
    guards: int = 0

    def __bool__(self) -> bool:
        return bool(self.rulesets or self.classes or self.guards)


@dataclass(slots=True)
class _Plan:
    """The way from one state to the next."""

    before: KernelPolicy
    after: KernelPolicy
    addresses: list[bytes] = field(default_factory=list)  # whose class differs
    networks: list[Network] = field(default_factory=list)
    guards: list[int] = field(default_factory=list)
    put: dict[int, Ruleset] = field(default_factory=dict)
    drop: list[int] = field(default_factory=list)

    @property
    def flips(self) -> bool:
        return bool(self.addresses or self.networks or self.guards)


class PolicyReconciler:
    """The only writer of the policy maps. One call at a time, from any thread."""

    def __init__(
        self, maps: Maps, hits: PerCpuHash, flags: PolicyFlag, grace: Callable[[], None] = wait_for_readers
    ) -> None:
        """Reads the maps and puts the settings into force; raises KernelError."""
        self._maps, self._hits, self._flags, self._grace = maps, hits, int(flags), grace
        self._numbers: dict[int, int] = {}
        self._rules: Mapping[int, object] = {}
        self._held: KernelPolicy | None = read_policy(maps)
        self._next_number = max(self._held.rulesets, default=0) + 1
        self._generation = max((one.generation for one in self._held.guards.values()), default=0)
        self._held.epoch += 2  # the same side, and connections ask anew: what holds for them may hang on the settings
        write_state(maps, self._held.epoch, self._flags)

    @property
    def numbers(self) -> Mapping[int, int]:
        """The kernel's number of each of the table's rulesets that is in force."""
        return self._numbers

    @property
    def restricted(self) -> int:
        """Devices that the state in force restricts."""
        guards = self._held.guards.values() if self._held else ()
        return sum(bool(one.ingress or one.egress) for one in guards)

    def first_numbers(self) -> FirstNumbers:
        """Where a compiler begins to count, so that no number of an agent before comes to mean something else."""
        held = self._held or KernelPolicy()
        entries = [entry for one in held.rulesets.values() for entry in one.entries]
        classes = [*held.classes.values(), *held.networks.values(), *(entry.peer for entry in entries)]
        rules = [entry.rule for entry in entries] + [one.default_rule for one in held.rulesets.values()]
        highest = max((*rules, *self._hits.totals()), default=0)
        # Connections carry rules that may be gone from the maps by now, so rules begin well above those that are left.
        rule = (highest // RULE_STRIDE + 1) * RULE_STRIDE if highest else 1
        return FirstNumbers(max((*classes, FIRST_CLASS - 1)) + 1, rule=rule)

    def apply(self, table: PolicyTable, guards: Mapping[int, Guard]) -> Changes:
        """Make the kernel judge by the table, each device by its guard.

        Raises ValueError for a guard without its ruleset and MapFullError where it does not fit, with nothing written;
        KernelError where a write failed, after which the next apply reads the maps again and goes on from there.
        """
        before = self._held if self._held is not None else read_policy(self._maps)
        numbers = self._numbered(table, before)
        plan = self._plan(before, table, guards, numbers)
        self._check_room(plan)
        self._held = None
        self._write(plan)
        self._held, self._numbers = plan.after, numbers
        self._tidy_hits(table, plan)
        return Changes(len(plan.put) + len(plan.drop), len(plan.addresses) + len(plan.networks), len(plan.guards))

    def _numbered(self, table: PolicyTable, before: KernelPolicy) -> dict[int, int]:
        """The table's numbers in the kernel's: known ones, then what the kernel holds already, then new ones."""
        known = {ours: theirs for ours, theirs in self._numbers.items() if theirs in before.rulesets}
        fresh = [one for number, one in table.rulesets.items() if number not in known]
        found = {_content(one): number for number, one in before.rulesets.items()} if fresh and not known else {}
        numbers = {number: known[number] for number in table.rulesets if number in known}
        for one in fresh:
            numbers[one.number] = found.get(_content(one)) or self._new_number()
        return numbers

    def _new_number(self) -> int:
        self._next_number += 1
        return self._next_number - 1

    def _plan(
        self, before: KernelPolicy, table: PolicyTable, guards: Mapping[int, Guard], numbers: Mapping[int, int]
    ) -> _Plan:
        rulesets = {numbers[one.number]: one for one in table.rulesets.values()}
        after = KernelPolicy(before.epoch, table.classes, table.networks, rulesets)
        plan = _Plan(before, after)
        plan.addresses = _differing(before.classes, after.classes)
        plan.networks = _differing(before.networks, after.networks)
        after.guards = self._guards(plan, guards, numbers)
        plan.guards = _differing(before.guards, after.guards)
        plan.put = {number: one for number, one in rulesets.items() if number not in before.rulesets}
        plan.drop = [number for number in before.rulesets if number not in rulesets]
        if plan.flips:
            after.epoch += 1
        return plan

    def _guards(self, plan: _Plan, guards: Mapping[int, Guard], numbers: Mapping[int, int]) -> dict[int, Held]:
        """All guards; those whose verdicts may differ get a new generation."""
        touched = _touched_rulesets(plan)
        fresh = self._generation + 1
        found = {}
        for device, guard in guards.items():
            ingress, egress = (_number(numbers, number) for number in guard.isolation)
            flags = int(GuardFlag.SOURCE) if guard.source_check else 0
            held = plan.before.guards.get(device, NOT_HELD)
            same = held._replace(generation=0) == Held(ingress, egress, 0, flags)
            stays = same and held.generation and not touched & {ingress, egress}
            found[device] = Held(ingress, egress, held.generation if stays else fresh, flags)
        return found

    def _check_room(self, plan: _Plan) -> None:
        """Raise MapFullError where old and new do not fit together, as they must for a moment."""
        before = plan.before
        needed = (
            len(before.classes) + len(_without(plan.addresses, before.classes)),
            len(before.networks) + len(_without(plan.networks, before.networks)),
            len(before.rulesets) + len(plan.put),
            before.entries + sum(len(one.entries) for one in plan.put.values()),
            len(before.guards) + len(_without(plan.guards, before.guards)),
        )
        for name, count in zip(_BOUNDED, needed, strict=True):
            room = self._maps[name].max_entries
            if count > room:
                what = f"map {name} has room for {room} entries and the policies need {count}, old and new together"
                raise MapFullError(f"{what}; nothing was changed", hint=f"raise {name} in the settings")

    def _write(self, plan: _Plan) -> None:
        maps, before, after = self._maps, plan.before, plan.after
        if plan.put:
            maps["policies"].update(*entry_columns(maps["policies"], plan.put))
            maps["rulesets"].update(*default_columns(maps["rulesets"], plan.put))
        if plan.flips:
            self._write_sides(plan)
            write_state(maps, after.epoch, self._flags)
            self._generation = max([self._generation, *(one.generation for one in after.guards.values())])
            self._grace()
            self._settle(plan)
        if plan.drop:
            gone = {number: before.rulesets[number] for number in plan.drop}
            maps["rulesets"].delete(device_keys(maps["rulesets"], gone))
            maps["policies"].delete(entry_columns(maps["policies"], gone)[0])

    def _write_sides(self, plan: _Plan) -> None:
        """Write what changes: the old state on the side in force, the new one on the other."""
        before, after = plan.before, plan.after
        old, new = Covers(before.networks), Covers(after.networks)

        def both(was: T, becomes: T) -> tuple[T, T]:
            return (becomes, was) if before.side else (was, becomes)

        self._put_addresses(
            plan.addresses,
            [both(before.classes.get(one, ANY_CLASS), after.classes.get(one, ANY_CLASS)) for one in plan.addresses],
        )
        self._put_networks(plan.networks, [both(old.own(one), new.own(one)) for one in plan.networks])
        self._put_guards(
            plan.guards,
            [both(before.guards.get(one, NOT_HELD), after.guards.get(one, NOT_HELD)) for one in plan.guards],
        )

    def _settle(self, plan: _Plan) -> None:
        """Let both sides say the new state, and remove what it does not have."""
        maps, after = self._maps, plan.after
        addresses = [one for one in plan.addresses if one in after.classes]
        networks = [one for one in plan.networks if one in after.networks]
        guards = [one for one in plan.guards if one in after.guards]
        self._put_addresses(addresses, [(after.classes[one],) * 2 for one in addresses])
        self._put_networks(networks, [(after.networks[one],) * 2 for one in networks])
        self._put_guards(guards, [(after.guards[one],) * 2 for one in guards])
        maps["classes"].delete(address_keys(maps["classes"], _without(plan.addresses, after.classes)))
        maps["networks"].delete(network_keys(maps["networks"], _without(plan.networks, after.networks)))
        maps["guards"].delete(device_keys(maps["guards"], _without(plan.guards, after.guards)))

    def _put_addresses(self, addresses: Sequence[bytes], sides: Sequence[tuple[int, int]]) -> None:
        table = self._maps["classes"]
        table.update(address_keys(table, addresses), class_values(table, sides))

    def _put_networks(self, networks: Sequence[Network], sides: Sequence[tuple[int, int]]) -> None:
        table = self._maps["networks"]
        table.update(network_keys(table, networks), class_values(table, sides))

    def _put_guards(self, devices: Sequence[int], sides: Sequence[tuple[Held, Held]]) -> None:
        table = self._maps["guards"]
        table.update(device_keys(table, devices), guard_values(table, sides))

    def _tidy_hits(self, table: PolicyTable, plan: _Plan) -> None:
        """Forget the counts of rules that are gone, so that the map has room for those that come."""
        if table.rules is not self._rules and (plan.put or plan.drop):
            self._hits.forget([rule for rule in self._hits.totals() if rule not in table.rules])
        self._rules = table.rules


def _touched_rulesets(plan: _Plan) -> set[int]:
    """Rulesets, by the kernel's numbers, that may judge an address differently because its class has changed."""
    before, after = plan.before, plan.after
    if not before.guards or not (plan.addresses or plan.networks):
        return set()
    old, new = Covers(before.networks), Covers(after.networks)
    touched = {covers.own(one) for one in plan.networks for covers in (old, new)}
    touched |= {before.classes.get(one) or old.of(one) for one in plan.addresses}
    touched |= {after.classes.get(one) or new.of(one) for one in plan.addresses}
    return {number for number, one in after.rulesets.items() if any(entry.peer in touched for entry in one.entries)}


def _content(one: Ruleset) -> tuple[object, ...]:
    return one.default, one.default_rule, one.default_audit, frozenset(one.entries)


def _number(numbers: Mapping[int, int], number: int) -> int:
    if number and number not in numbers:
        raise ValueError(f"a workload refers to ruleset {number}, which the policy table does not have")
    return numbers[number] if number else 0


def _differing(before: Mapping[T, object], after: Mapping[T, object]) -> list[T]:
    old, new = differing(before, after)
    return [*new, *_without(old, new)]


def _without(keys: Iterable[T], kept: Mapping[T, object]) -> list[T]:
    return [key for key in keys if key not in kept]
