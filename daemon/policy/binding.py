"""Which policies bind which workloads of this node, and the rulesets that follow.

Workloads that the same policies select share a unit (see `units`). Units are made for the workloads that are here and
go with the last of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from daemon.policy.classes import Classes, Members, Numbers
from daemon.policy.inventory import Held, Inventory, Name
from daemon.policy.parsed import ParsedPolicy, ParsedRule, Peer, PodPeer
from daemon.policy.rulebook import RuleBook, RulesetBook, isolation, words
from daemon.policy.selectors import matches
from daemon.policy.table import Direction, Isolation, Rule, Ruleset
from daemon.policy.units import BoundRule, Defaults, Unit, UnitKey

UNRESTRICTED = 0


class Binder:
    """Units and rulesets of one node."""

    def __init__(
        self, inventory: Inventory, classes: Classes, members: Members, rules: Numbers, rulesets: Numbers
    ) -> None:
        self._inventory = inventory
        self._classes = classes
        self._members = members
        self._rules = RuleBook(rules)
        self._rulesets = RulesetBook(rulesets)
        self._policies: dict[str, set[ParsedPolicy]] = defaultdict(set)  # by namespace of the subject; "": any
        self._units: dict[UnitKey, Unit] = {}
        self._numbers_of: dict[UnitKey, list[int]] = {}
        self._users: dict[Peer, set[Unit]] = defaultdict(set)
        self._bound: dict[Name, tuple[Unit | None, Unit | None]] = {}
        self._dirty: set[Unit] = set()

    @property
    def rules(self) -> Mapping[int, Rule]:
        return self._rules.told()[0]

    @property
    def retired(self) -> Mapping[int, Rule]:
        return self._rules.told()[1]

    def selecting(self, name: Name, direction: Direction) -> tuple[ParsedPolicy, ...]:
        """The policies that bind a workload in a direction, in order of precedence."""
        unit = self._bound.get(name, (None, None))[direction is Direction.EGRESS]
        return unit.key.policies if unit else ()

    def bind(self, gone: Collection[ParsedPolicy], new: Collection[ParsedPolicy]) -> None:
        """Find anew what binds the workloads that the changed policies select, and those that changed themselves."""
        for policy in gone:
            self._policies[policy.subject.namespace].discard(policy)
        for policy in new:
            self._policies[policy.subject.namespace].add(policy)
        touched = self._inventory.touched
        touched.update(
            name
            for name, held in self._inventory.local.items()
            if any(self._selects(policy.subject, held) for policy in (*gone, *new))
        )
        for name in touched:
            self._bind(name)
        touched.clear()

    def admit(self) -> None:
        """Take in the classes that were born."""
        for number in self._classes.born:
            meant = {unit for peer in self._members.admit(number) for unit in self._users[peer]}
            meant.update(unit for unit in self._units.values() if unit.curious)
            for unit in meant:
                unit.place([number], self._classes.keys, self._members.of)
            self._dirty |= meant
            self._dirty.update(unit for unit in self._units.values() if unit.crowded)
        self._classes.born.clear()

    def forget(self, numbers: set[int]) -> None:
        """Classes that were empty for long are gone."""
        if numbers:
            self._members.forget(numbers)
            self._dirty.update(unit for unit in self._units.values() if unit.forget(numbers) or unit.crowded)

    def settle(self) -> Mapping[int, Ruleset]:
        """The rulesets, those of changed units made anew."""
        for unit in self._dirty:
            before = unit.ruleset
            unit.ruleset = self._rulesets.take(unit.content(self._classes.keys.keys()))
            if before:
                self._rulesets.drop(before)
        self._dirty.clear()
        return self._rulesets.told()

    def workloads(self) -> dict[bytes, Isolation]:
        """What binds every address of a workload here; of two that claim one, the first has it."""
        found: dict[bytes, Isolation] = {}
        for name, (ingress, egress) in self._bound.items():
            rulesets = Isolation(*(unit.ruleset if unit else UNRESTRICTED for unit in (ingress, egress)))
            held = self._inventory.local[name]
            found.update((one, rulesets) for one in held.addresses if self._inventory.holders[one][0] == name)
        return found

    def _bind(self, name: Name) -> None:
        held = self._inventory.local.get(name)
        before = self._bound.pop(name, (None, None))
        if held:
            own, common = self._policies.get(name[0], set()), self._policies[""]
            selecting = [policy for policy in (*own, *common) if self._selects(policy.subject, held)]
            selecting.sort(key=lambda policy: policy.order)
            self._bound[name] = (
                self._join(Direction.INGRESS, selecting, held),
                self._join(Direction.EGRESS, selecting, held),
            )
        for unit in before:
            if unit:
                self._leave(unit)

    def _selects(self, subject: PodPeer, held: Held) -> bool:
        namespace = held.pod.namespace
        return (
            subject.namespace in ("", namespace)
            and matches(subject.pods, held.pod.labels)
            and matches(subject.namespaces, self._inventory.labels_of(namespace))
        )

    def _join(self, direction: Direction, selecting: Iterable[ParsedPolicy], held: Held) -> Unit | None:
        policies = tuple(policy for policy in selecting if policy.concerns(direction))
        if not policies:
            return None
        named = direction is Direction.INGRESS and any(policy.ingress_names for policy in policies)
        key = UnitKey(direction, policies, held.ports if named else ())
        unit = self._units.get(key) or self._made(key)
        unit.users += 1
        return unit

    def _made(self, key: UnitKey) -> Unit:
        taken: list[int] = []

        def number(rule: Rule | None, content: ParsedRule | None = None) -> int:
            if rule is None:
                return 0
            taken.append(self._rules.take(rule, content))
            return taken[-1]

        rules = [
            BoundRule(policy.layer, policy.audit, number(words(policy, key.direction, rule), rule), rule)
            for policy in key.policies
            for rule in policy.rules[key.direction]
        ]
        defaults = Defaults(
            number(Rule((), key.direction)),
            number(isolation(key.policies, key.direction, audited=False)),
            number(isolation(key.policies, key.direction, audited=True)),
        )
        unit = self._units[key] = Unit(key, rules, defaults)
        self._numbers_of[key] = taken
        self._members.use(unit.peers)
        for peer in unit.peers:
            self._users[peer].add(unit)
        meant = {number for peer in unit.peers for number in self._members.of[peer]}
        unit.place(self._classes.keys.keys() if unit.curious else meant, self._classes.keys, self._members.of)
        self._dirty.add(unit)
        return unit

    def _leave(self, unit: Unit) -> None:
        unit.users -= 1
        if unit.users:
            return
        del self._units[unit.key]
        self._dirty.discard(unit)
        self._rules.drop(self._numbers_of.pop(unit.key))
        if unit.ruleset:
            self._rulesets.drop(unit.ruleset)
        self._members.leave(unit.peers)
        for peer in unit.peers:
            self._users[peer].discard(unit)
