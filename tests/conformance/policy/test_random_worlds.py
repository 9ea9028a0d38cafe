"""Thousands of random clusters: the compiler against an evaluator that shares nothing with it, step by step.

Each seed is a cluster that is built up and then changed one object at a time. After each change the tables that the
compiler gives, coming from the step before, are asked the same as the oracle and as a compiler that starts anew; and
while the kernel goes from one table to the next, no packet may get a verdict that neither of the two gives.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from daemon.policy import Direction, PolicyTable, classes, units
from daemon.policy.compile import PolicyCompiler
from daemon.policy.evaluate import Evaluator
from ebpf.addresses import pack
from tests.support.policies import HERE
from tests.support.policy_oracle import Answer, Oracle, Probe
from tests.support.policy_worlds import World

SEEDS = int(os.environ.get("REMORA_TEST_SEEDS", "420"))
BUILT, STEPS, PROBES = 14, 6, 60
CHUNKS = 12


def told(table: PolicyTable, probe: Probe) -> tuple[Answer, object]:
    """A table's answer, and the rule behind it in words."""
    direction = Direction.INGRESS if probe.ingress else Direction.EGRESS
    local = next(raw for raw in map(pack, probe.local.addresses) if raw in table.workloads)
    verdict = Evaluator(table).verdict(direction, local, pack(probe.remote), probe.protocol, probe.port)
    if verdict is None:
        return Answer.ALLOW, None
    passed = Answer.AUDIT if verdict.audit else Answer.ALLOW
    return (passed if verdict.passes else Answer.DENY), table.rules[verdict.rule]


def askable(probes: list[Probe], *tables: PolicyTable) -> list[Probe]:
    """Probes whose local pod has an address of its own in all tables (another pod may have claimed it first)."""
    return [
        probe
        for probe in probes
        if all(any(pack(one) in table.workloads for one in probe.local.addresses) for table in tables)
    ]


def halfway(before: PolicyTable, after: PolicyTable) -> PolicyTable:
    """The kernel in the middle: rulesets switched, addresses not moved yet."""
    return PolicyTable(before.classes, before.networks, after.rulesets, after.workloads, after.rules)


def assert_well_formed(table: PolicyTable) -> None:
    """What the datapath relies on without looking."""
    used = {isolation[side] for isolation in table.workloads.values() for side in (0, 1)} - {0}
    assert used <= table.rulesets.keys()
    for number, ruleset in table.rulesets.items():
        assert number == ruleset.number
        assert ruleset.default_rule in table.rules
        places = [(entry.peer, entry.protocol, entry.port, entry.bits) for entry in ruleset.entries]
        assert len(set(places)) == len(places)
        for entry in ruleset.entries:
            assert entry.rule in table.rules
            assert entry.protocol or entry.bits == 0
            assert entry.port & ((1 << (16 - entry.bits)) - 1) == 0


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_compiler_says_what_the_policies_mean(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some chunks with thresholds that small clusters would not reach."""
    monkeypatch.setattr(units, "MAJORITY", 0 if chunk % 2 else units.MAJORITY)
    monkeypatch.setattr(classes, "EMPTY_MAX", chunk % 3 if chunk % 4 else classes.EMPTY_MAX)
    for seed in range(chunk, SEEDS, CHUNKS):
        world, compiler = World(Random(seed)), PolicyCompiler(HERE)
        for _ in range(BUILT):
            world.change()
        before = PolicyTable()
        for step in range(STEPS):
            snapshot = world.snapshot()
            probes, oracle = world.probes(snapshot, PROBES), Oracle(snapshot, world.named)
            tables = compiler.compile(snapshot, world.names)
            anew = PolicyCompiler(HERE).compile(snapshot, world.names)[-1]
            for probe in askable(probes, tables[-1]):
                where = f"seed {seed}, step {step}: {probe}"
                if oracle.owner(probe.local.addresses[0]) is not probe.local:
                    continue
                assert told(anew, probe)[0] is oracle.ask(probe), where
                assert told(tables[-1], probe) == told(anew, probe), where
            for table in tables:
                assert_well_formed(table)
                for probe in askable(probes, before, table) if step else ():
                    if probe.remote not in probe.local.addresses:
                        between = told(halfway(before, table), probe)[0]
                        where = f"seed {seed}, step {step}: {probe}"
                        assert between in (told(before, probe)[0], told(table, probe)[0]), where
                before = table
            world.change()
