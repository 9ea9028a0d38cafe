"""From one table to the next in the real maps: at once, whole or not at all, and on from what another agent left."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from daemon.policy.reconcile import Guard, PolicyReconciler
from daemon.policy.table import ANY_CLASS, Action, Entry, Isolation, PolicyTable, Ruleset
from ebpf.addresses import pack
from ebpf.constants import PolicyFlag
from ebpf.errors import MapFullError
from ebpf.maps import HashMap
from tests.bpf.conftest import Wire
from tests.bpf.gate import ALLOWED, FAMILIES, FRIEND, STRANGER, Gate, allow, deny, made, tcp
from tests.conformance.policy.kernel import LOOPBACK, POLICY_MAPS, TCP, clear, reconciler

LAN, OFFICE = (pack("192.168.0.0"), 112), (pack("192.168.7.0"), 120)


@pytest.fixture
def gate(wire: Wire) -> Iterator[Gate]:
    yield made(wire, FAMILIES[0])
    clear(wire.datapath)


def contents(gate: Gate) -> dict[str, list[bytes]]:
    """All policy maps, byte by byte."""
    maps = (gate.wire.datapath.maps[name].items() for name in POLICY_MAPS)
    rows = (sorted(key.tobytes() + value.tobytes() for key, value in zip(*both, strict=True)) for both in maps)
    return dict(zip(POLICY_MAPS, rows, strict=True))


def ruleset(number: int, *entries: Entry) -> Ruleset:
    return Ruleset(number, entries, Action.DENY, 9, default_audit=False)


def test_nothing_is_written_when_nothing_changed(gate: Gate) -> None:
    assert gate.rules(ingress=[allow(FRIEND)])
    before = contents(gate)
    assert not gate.apply(gate.table)
    assert contents(gate) == before


def test_what_is_gone_leaves_nothing_behind(gate: Gate) -> None:
    gate.apply(replace(gate.table, networks={LAN: 20}))
    gate.rules(ingress=[allow(FRIEND)], egress=[allow(20, TCP, 80, 16)])
    gate.policies.apply(PolicyTable(), {})
    assert contents(gate) == {name: [] for name in POLICY_MAPS}


def test_an_agent_that_starts_on_the_maps_of_another_changes_nothing_that_is_right(gate: Gate) -> None:
    gate.apply(replace(gate.table, networks={LAN: 20, OFFICE: 21}))
    gate.rules(ingress=[allow(FRIEND), deny(20)], egress=[allow(ANY_CLASS, TCP, 1024, 6)])
    before = contents(gate)
    gate.settings(PolicyFlag(0))
    renumbered = {number + 70: one._replace(number=number + 70) for number, one in gate.table.rulesets.items()}
    gate.isolation = Isolation(*(number + 70 for number in gate.isolation))
    assert not gate.apply(replace(gate.table, rulesets=renumbered))
    assert contents(gate) == before


def test_a_number_that_another_agent_gave_to_other_content_is_not_mixed_up(gate: Gate) -> None:
    gate.rules(ingress=[allow(FRIEND)])
    old = gate.table
    gate.settings(PolicyFlag(0))
    number = gate.isolation.ingress
    gate.apply(replace(old, rulesets={number: ruleset(number, allow(STRANGER))}))
    assert not gate.gets(gate.into(tcp(40000, 80)))
    assert gate.gets(gate.into(tcp(40000, 80), gate.family.stranger))


def test_a_table_that_does_not_fit_is_refused_whole_and_the_old_one_stays(gate: Gate) -> None:
    gate.rules(ingress=[allow(FRIEND, TCP, 80, 16)])
    before, table, isolation = contents(gate), gate.table, gate.isolation
    room = gate.wire.datapath.maps["policies"].max_entries
    entries = [allow(16 + index // 65000, TCP, index % 65000 + 1, 16) for index in range(room)]
    with pytest.raises(MapFullError, match=r"map policies has room for \d+ entries .* nothing was changed"):
        gate.rules(ingress=entries)
    assert contents(gate) == before
    assert gate.gets(gate.into(tcp(40000, 80)))
    gate.isolation = isolation
    gate.apply(replace(table, classes={}))
    assert not gate.gets(gate.into(tcp(40001, 80))), "what fits goes on being put into force"


def test_a_guard_without_its_ruleset_is_refused(gate: Gate) -> None:
    gate.isolation = Isolation(77, 0)
    with pytest.raises(ValueError, match="ruleset 77"):
        gate.apply(gate.table)


def test_only_guards_whose_verdicts_may_differ_get_a_new_generation(gate: Gate) -> None:
    table = gate.table
    table = replace(
        table, rulesets={1: ruleset(1, allow(FRIEND)), 2: ruleset(2, allow(STRANGER)), 3: ruleset(3, allow(ANY_CLASS))}
    )
    guards = {device: Guard(Isolation(number, 0)) for device, number in ((11, 1), (12, 2), (13, 3))}
    gate.policies.apply(table, guards)

    def generations() -> dict[int, int]:
        keys, values = gate.wire.datapath.maps["guards"].items()
        assert (values["side"][:, 0] == values["side"][:, 1]).all()
        return dict(zip(keys.tolist(), values["side"]["generation"][:, 0].tolist(), strict=True))

    first = generations()
    table = replace(table, classes={**table.classes, pack("10.0.0.77"): FRIEND})
    gate.policies.apply(table, guards)
    second = generations()
    assert (second[11] > first[11], second[12], second[13]) == (True, first[12], first[13])
    gate.policies.apply(replace(table, networks={LAN: STRANGER}), guards | {13: Guard(Isolation(0, 3))})
    third = generations()
    assert (third[11], third[12] > second[12], third[13] > second[13]) == (second[11], True, True)


def test_narrower_networks_hide_wider_ones_and_uncover_them_again(gate: Gate) -> None:
    gate.rules(egress=[allow(20), deny(21), allow(1)])

    def passes(port: int) -> tuple[bool, ...]:
        return tuple(gate.sends(gate.out(tcp(port, 80), peer)) for peer in ("192.168.1.1", "192.168.7.1", "8.8.8.8"))

    gate.apply(replace(gate.table, networks={LAN: 20, OFFICE: 21}))
    assert passes(40000) == (True, False, True)
    gate.apply(replace(gate.table, networks={LAN: 20}))
    assert passes(40001) == (True, True, True)
    gate.apply(replace(gate.table, networks={LAN: 21}))
    assert passes(40002) == (False, False, True)
    gate.apply(replace(gate.table, networks={}))
    assert passes(40003) == (True, True, True)


class Dying(Exception):
    """The agent was killed here."""


class Mortal:
    """A map of an agent that dies before its n-th write; what is left over then judges by the old or the new state."""

    def __init__(self, table: HashMap, life: list[int]) -> None:
        self._table, self._life = table, life

    def __getattr__(self, name: str) -> object:
        found = getattr(self._table, name)
        return self._counted(found) if name in ("update", "delete") else found

    def _counted(self, write: object) -> object:
        def counted(*arguments: np.ndarray) -> None:
            if len(arguments[0]):
                self._life[0] -= 1
                if self._life[0] < 0:
                    raise Dying
            write(*arguments)  # type: ignore[operator]

        return counted


PEERS = [f"10.1.0.{index}" for index in range(1, 9)]


def world(generator: random.Random, number: int) -> tuple[PolicyTable, Guard]:
    """A random table and guard: peers move between classes and networks, rulesets change at the same time."""
    classes = {pack(peer): generator.choice((16, 17, 18)) for peer in PEERS if generator.random() < 0.6}
    networks = {
        (pack("10.1.0.0"), 96 + bits): generator.choice((16, 19))
        for bits in generator.sample((16, 24, 29, 30), k=generator.randrange(4))
    }
    entries = tuple(
        (allow if generator.random() < 0.5 else deny)(peer)
        for peer in (16, 17, 18, 19, ANY_CLASS)
        if generator.random() < 0.7
    )
    one = ruleset(number, *entries)
    return PolicyTable(classes, networks, {number: one}), Guard(Isolation(0, number))


def answers(gate: Gate) -> tuple[bool, ...]:
    """Which peers the workload may reach."""
    port = next(_ports)
    found = tuple(gate.sends(gate.out(tcp(port, 80), peer)) for peer in PEERS)
    gate.records()
    return found


_ports = iter(range(33000, 60000))


@pytest.mark.parametrize("seed", range(25))
def test_between_two_writes_there_is_the_old_state_or_the_new_one_and_never_a_mixture(gate: Gate, seed: int) -> None:
    generator = random.Random(seed)
    datapath = gate.wire.datapath
    old_table, old_guard = world(generator, 1)
    new_table, new_guard = world(generator, 2)
    gate.policies.apply(new_table, {LOOPBACK: new_guard})
    new = answers(gate)
    gate.policies.apply(old_table, {LOOPBACK: old_guard})
    old = answers(gate)
    seen = []
    for writes in range(20):
        life = [writes]
        mortals = {name: Mortal(table, life) for name, table in datapath.maps.items()}
        dying = PolicyReconciler(datapath.maps, datapath.rule_hits, PolicyFlag(0), lambda: None)
        dying._maps = mortals  # type: ignore[assignment]
        try:
            dying.apply(new_table, {LOOPBACK: new_guard})
        except Dying:
            seen.append(answers(gate))
            assert seen[-1] in (old, new), f"after {writes} writes"
            reconciler(datapath)
            assert answers(gate) == seen[-1], "reading the maps back changes no verdict"
            reconciler(datapath).apply(old_table, {LOOPBACK: old_guard})
            assert answers(gate) == old
        else:
            break
    assert answers(gate) == new
    assert seen[0] == old


def test_rules_that_are_gone_are_not_counted_any_more(gate: Gate) -> None:
    gate.apply(replace(gate.table, rules={ALLOWED: None}))  # type: ignore[dict-item]
    gate.rules(egress=[allow(FRIEND)])
    assert gate.sends(gate.out(tcp(40000, 80)))
    assert gate.hits(ALLOWED) == 1
    gate.table = replace(gate.table, rules={})
    gate.rules(egress=[])
    assert gate.hits(ALLOWED) == 0
