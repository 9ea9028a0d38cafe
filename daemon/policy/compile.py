"""Snapshots compiled to tables, at the price of what changed.

The compiler remembers: which class each address has, which classes each peer means, which policies select each pod of
this node, and what ruleset that came to. A pod that comes or goes costs its own address; a policy that changes costs
the pods that it selects here; a namespace with new labels costs the pods in it.

Now and then what comes out is two tables, to be put in force one after the other. When a policy looks at something
that none has looked at before, addresses that were one class become several. The first table says what was in force
before with the finer classes, the second says what is new. In one step there would be a moment in which new rules
are asked about old classes, and nobody knows what they should answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from daemon.model.differences import differences
from daemon.model.objects import ObjectRef
from daemon.model.policies import LabelSelector
from daemon.model.shelves import Draft
from daemon.model.snapshot import Snapshot
from daemon.policy.binding import Binder
from daemon.policy.classes import Classes, Members, Numbers
from daemon.policy.inventory import Inventory, Name, labels_alone
from daemon.policy.lens import ClassKey, NamedPort, Need, Projection
from daemon.policy.names import Names
from daemon.policy.networks import BARRIER, Network
from daemon.policy.parse import parse
from daemon.policy.parsed import ParsedPolicy
from daemon.policy.selectors import selector_of
from daemon.policy.table import FIRST_CLASS, WORLD_CLASS, Direction, PolicyTable

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class FirstNumbers:
    """Where counting begins: above all that the kernel still holds of an agent before."""

    class_: int = FIRST_CLASS
    ruleset: int = 1
    rule: int = 1


class PolicyCompiler:
    """One node's compiler. Not thread-safe. An exception leaves it as if it had never compiled, its numbers apart."""

    def __init__(self, node: str, first: FirstNumbers = FirstNumbers(), audited: LabelSelector | None = None) -> None:
        self._node = node
        self._class_numbers = Numbers(first.class_)
        self._rule_numbers = Numbers(first.rule)
        self._ruleset_numbers = Numbers(first.ruleset)
        self._audited = selector_of(audited) if audited else None
        self._reset()

    def compile(
        self, snapshot: Snapshot, names: Names | None = None, here: frozenset[bytes] = frozenset()
    ) -> tuple[PolicyTable, ...]:
        """The tables to put in force, in order; the last one is what the snapshot means.

        `here` are addresses of workloads that were found on this node, besides those of pods that say so.
        """
        try:
            return self._compile(snapshot, Names() if names is None else names, here)
        except BaseException:
            self._reset()
            raise

    def policies(self) -> Mapping[ObjectRef, ParsedPolicy]:
        """The policies in force, as they were understood; another object after every change of them."""
        return self._policies

    def local(self) -> Collection[Name]:
        """The workloads of this node, as far as policies know them."""
        return self._inventory.local

    def selecting(self, name: Name) -> dict[Direction, tuple[ParsedPolicy, ...]]:
        """The policies that bind a pod of this node, in order of precedence."""
        return {direction: self._binder.selecting(name, direction) for direction in Direction}

    def holder(self, address: bytes) -> Name | None:
        """The pod that has an address."""
        return next(iter(self._inventory.holders.get(address, ())), None)

    def description(self, address: bytes) -> ClassKey:
        """An address as policies see it."""
        lens = self._projection.lens
        return self._inventory.key(address, lens) or ClassKey(zone=lens.zones.zone(int.from_bytes(address)))

    def named_ports(self, address: bytes) -> tuple[NamedPort, ...]:
        """What the pod that has an address calls its ports."""
        name = self.holder(address)
        return self._inventory.pods[name].ports if name else ()

    def _reset(self) -> None:
        self._snapshot = Snapshot()
        self._policies: Mapping[ObjectRef, ParsedPolicy] = {}
        self._projection = Projection()
        self._inventory = Inventory(self._node)
        self._classes = Classes(self._class_numbers)
        self._members = Members(self._classes)
        self._binder = Binder(self._inventory, self._classes, self._members, self._rule_numbers, self._ruleset_numbers)
        self._by_address: Draft[bytes, int] = Draft()
        self._by_network: dict[Network, int] = {}
        self._table: PolicyTable | None = None

    def _compile(self, snapshot: Snapshot, names: Names, here: frozenset[bytes]) -> tuple[PolicyTable, ...]:
        gone, new = self._policy_changes(snapshot)
        self._binder.forget(self._classes.sweep())
        self._inventory.take(snapshot, here)
        self._inventory.follow(names.view)
        for address in self._inventory.dirty:
            self._put(address, self._inventory.key(address, self._projection.lens))
        self._inventory.dirty.clear()
        self._binder.admit()
        tables = []
        needs = self._projection.add(new)
        if needs:
            self._look_anew(names, needs)
        if needs and self._table is not None:
            self._binder.bind((), ())
            tables.append(self._finished())
        if gone or new:
            left = {policy.ref for policy in gone}
            kept = {ref: policy for ref, policy in self._policies.items() if ref not in left}
            self._policies = kept | {policy.ref: policy for policy in new}
        over = self._projection.remove(gone)
        if over:
            self._look_anew(names, over)
        self._binder.bind(gone, new)
        return *tables, self._finished()

    def _policy_changes(self, snapshot: Snapshot) -> tuple[list[ParsedPolicy], list[ParsedPolicy]]:
        """Policies that are gone and those that are new; one that was written again is neither."""
        before, self._snapshot = self._snapshot, snapshot
        left, come = differences(before.policies, snapshot.policies)
        cluster_left, cluster_come = differences(before.cluster_policies, snapshot.cluster_policies)
        wanted: dict[ObjectRef, ParsedPolicy | None] = {one.ref: None for one in (*left, *cluster_left)}
        wanted.update((one.ref, parse(one, self._audited)) for one in come)
        wanted.update((one.ref, parse(one, self._audited)) for one in cluster_come)
        changed = {ref: found for ref, found in wanted.items() if found != self._policies.get(ref)}
        gone = [self._policies[ref] for ref in changed if ref in self._policies]
        return gone, [found for found in changed.values() if found]

    def _look_anew(self, names: Names, needs: set[Need]) -> None:
        """What policies look at changed, so addresses of one class may be told apart now, or no more."""
        inventory, lens = self._inventory, self._projection.lens
        names.follow(lens.names)
        inventory.follow(names.view)
        inventory.look(needs)
        groups: dict[int, dict[ClassKey, list[bytes]]] = defaultdict(lambda: defaultdict(list))
        alike: dict[tuple[object, ...], ClassKey | None] = {}
        labels = labels_alone(needs)
        for address in inventory.dirty:
            before = self._by_address.get(address)
            if before is None or labels is None:
                key = inventory.key(address, lens)
            else:
                token = inventory.token(address, labels), before
                key = alike[token] if token in alike else inventory.key(address, lens)
                alike[token] = key
            if before is None or key is None:
                self._put(address, key)
            else:
                groups[before][key].append(address)
        inventory.dirty.clear()
        for number, group in groups.items():
            self._classes.rename(number, group)
            for key, addresses in group.items():
                if key != self._classes.keys[number]:
                    for address in addresses:
                        self._put(address, key)
        self._follow_networks(set(lens.networks))
        self._binder.admit()

    def _follow_networks(self, wanted: set[Network]) -> None:
        for network in self._by_network.keys() - wanted:
            self._classes.drop(self._by_network.pop(network))
        for network in wanted - self._by_network.keys():
            self._by_network[network] = self._classes.take(ClassKey(zone=network))

    def _put(self, address: bytes, key: ClassKey | None) -> None:
        before = self._by_address.get(address)
        now = None if key is None else self._classes.take(key)
        if before is not None:
            self._classes.drop(before)
        if now is None:
            self._by_address.pop(address, None)
        elif now != before:
            self._by_address[address] = now

    def _finished(self) -> PolicyTable:
        """The table of what is known now; parts that did not change are the very same objects as before."""
        before, binder, lens = self._table or PolicyTable(), self._binder, self._projection.lens
        rulesets = binder.settle()
        networks = {network.raw: number for network, number in self._by_network.items()}
        if lens.zones.barrier():
            networks[BARRIER.raw] = WORLD_CLASS
        self._table = PolicyTable(
            self._by_address.done(),
            _same(before.networks, networks),
            rulesets,
            _same(before.workloads, binder.workloads()),
            binder.rules,
            binder.retired,
        )
        return self._table


def _same(before: Mapping[K, V], now: Mapping[K, V]) -> Mapping[K, V]:
    return before if before == now else dict(now)
