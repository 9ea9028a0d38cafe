"""What a change costs and what it leaves alone: numbers, objects, and the steps from one table to the next."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from daemon.policy import FIRST_CLASS, Action
from daemon.policy.classes import EMPTY_MAX
from daemon.policy.compile import FirstNumbers, PolicyCompiler
from daemon.policy.evaluate import Evaluator, Packet
from ebpf.addresses import pack
from tests.support.policies import HERE, Object, namespace, pod, policy, said, snapshot_of

CLUSTER: tuple[Object, ...] = (
    namespace("x", team="a"),
    namespace("y", team="b"),
    pod("x/a", "10.0.0.1", {"app": "a", "tier": "front"}),
    pod("x/b", "10.0.0.2", {"app": "b", "tier": "back"}),
    pod("y/a", "10.0.1.1", {"app": "a", "tier": "front"}),
)
FROM_B = policy("x/p", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "b"}}}]}])


def test_nothing_changed_is_the_very_same_parts() -> None:
    compiler = PolicyCompiler(HERE)
    snapshot = snapshot_of([*CLUSTER, FROM_B])
    (before,) = compiler.compile(snapshot)
    (after,) = compiler.compile(snapshot_of([*CLUSTER, FROM_B]))
    assert after.classes is before.classes
    assert after.rulesets is before.rulesets
    assert after.workloads is before.workloads
    assert after.rules is before.rules


def test_a_pod_of_a_known_kind_costs_its_own_address() -> None:
    compiler = PolicyCompiler(HERE)
    (before,) = compiler.compile(snapshot_of([*CLUSTER, FROM_B]))
    (after,) = compiler.compile(snapshot_of([*CLUSTER, FROM_B, pod("y/c", "10.0.1.3", {"app": "a"}, nodeName="far")]))
    assert after.classes.keys() - before.classes.keys() == {pack("10.0.1.3")}
    assert after.rulesets is before.rulesets
    assert after.workloads is before.workloads


def test_a_policy_costs_the_workloads_that_it_selects() -> None:
    compiler = PolicyCompiler(HERE)
    (before,) = compiler.compile(snapshot_of([*CLUSTER, FROM_B]))
    other = policy("y/q", ingress=[{"ports": [{"port": 80}]}])
    after = compiler.compile(snapshot_of([*CLUSTER, FROM_B, other]))[-1]
    changed = {address for address in after.workloads if after.workloads[address] != before.workloads[address]}
    assert changed == {pack("10.0.1.1")}


def test_a_replaced_pod_finds_its_class_and_rulesets_as_they_were() -> None:
    compiler = PolicyCompiler(HERE)
    before = compiler.compile(snapshot_of([*CLUSTER, FROM_B]))[-1]
    without = [one for one in CLUSTER if one.name != "b"]
    compiler.compile(snapshot_of([*without, FROM_B]))
    after = compiler.compile(snapshot_of([*without, FROM_B, pod("x/b2", "10.0.0.9", {"app": "b"})]))[-1]
    assert after.classes[pack("10.0.0.9")] == before.classes[pack("10.0.0.2")]
    assert after.workloads[pack("10.0.0.1")] == before.workloads[pack("10.0.0.1")]


def test_numbers_begin_where_they_are_told_and_never_come_back_for_something_else() -> None:
    compiler = PolicyCompiler(HERE, FirstNumbers(class_=500, ruleset=70, rule=9000))
    seen: dict[int, object] = {}
    for port in range(1, 30):
        other = policy("x/p", ingress=[{"from": [{"podSelector": {}}], "ports": [{"port": port}]}])
        table = compiler.compile(snapshot_of([*CLUSTER, other]))[-1]
        assert min(table.rulesets) >= 70
        assert min(table.rules) >= 9000
        assert all(number >= 500 for number in table.classes.values())
        for number, ruleset in table.rulesets.items():
            assert seen.setdefault(number, ruleset) == ruleset
    assert FIRST_CLASS == 16


def test_a_rule_that_binds_nobody_any_more_is_still_told() -> None:
    compiler = PolicyCompiler(HERE)
    before = compiler.compile(snapshot_of([*CLUSTER, FROM_B]))[-1]
    after = compiler.compile(snapshot_of(CLUSTER))[-1]
    assert after.rules == {}
    assert after.retired == before.rules


def test_a_label_that_nobody_looked_at_is_looked_at_before_it_decides() -> None:
    compiler = PolicyCompiler(HERE)
    compiler.compile(snapshot_of([*CLUSTER, FROM_B]))
    finer = policy("x/q", ingress=[{"from": [{"podSelector": {"matchLabels": {"tier": "front"}}}]}])
    first, second = compiler.compile(snapshot_of([*CLUSTER, FROM_B, finer]))
    local, remote = pack("10.0.0.2"), pack("10.0.0.1")
    assert first.classes[remote] == second.classes[remote]
    verdicts = [Evaluator(table).outcome(Packet(remote, local, 6, 80)).ingress for table in (first, second)]
    assert [verdict and verdict.action for verdict in verdicts] == [Action.DENY, Action.ALLOW]


def test_empty_classes_go_when_there_are_too_many_of_them() -> None:
    labelled = {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}
    compiler, every = PolicyCompiler(HERE), policy("x/p", ingress=[{"from": [labelled]}])
    for number in range(EMPTY_MAX * 2):
        wanted = snapshot_of([*CLUSTER, every, pod("x/n", "10.0.0.7", {"app": f"n{number}"})])
        table = compiler.compile(wanted)[-1]
    assert max(len(ruleset.entries) for ruleset in table.rulesets.values()) < EMPTY_MAX + 20
    assert said(table) == said(PolicyCompiler(HERE).compile(wanted)[-1])


def test_what_fails_leaves_a_compiler_that_starts_anew() -> None:
    compiler = PolicyCompiler(HERE)
    compiler.compile(snapshot_of([*CLUSTER, FROM_B]))
    broken = policy("x/q", ingress=[{"from": [{"ipBlock": {"cidr": "nonsense"}}]}])
    with pytest.raises(ValueError, match="nonsense"):
        compiler.compile(snapshot_of([*CLUSTER, broken]))
    wanted = snapshot_of([*CLUSTER, FROM_B])
    assert said(compiler.compile(wanted)[-1]) == said(PolicyCompiler(HERE).compile(wanted)[-1])


def test_many_pods_that_all_may_come_in_share_one_entry() -> None:
    pods = [
        pod(f"x/p{number}", f"10.1.{number >> 8}.{number & 255}", {"app": f"app-{number}"}) for number in range(300)
    ]
    one = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "app-7"}}}
    looks = policy("y/looks", ingress=[{"from": [one]}])
    everyone = policy("x/p", ingress=[{"from": [{"namespaceSelector": {}}]}])
    wanted = snapshot_of([*CLUSTER, *pods, looks, everyone])
    table = PolicyCompiler(HERE).compile(wanted)[-1]
    ruleset = table.rulesets[table.workloads[pack("10.0.0.1")].ingress]
    assert len(set(table.classes.values())) > 300
    assert len(ruleset.entries) < 10
    asked = Evaluator(table)
    assert asked.outcome(Packet(pack("10.1.0.9"), pack("10.0.0.1"), 6, 80)).passes
    assert not asked.outcome(Packet(pack("192.0.2.1"), pack("10.0.0.1"), 6, 80)).passes


def test_a_pod_is_of_this_node_when_it_says_so_or_is_found_here() -> None:
    far, lost = (pod(f"x/{name}", ip, nodeName="far") for name, ip in (("far", "10.0.0.8"), ("lost", "10.0.0.9")))
    compiler, wanted = PolicyCompiler(HERE), snapshot_of([*CLUSTER, far, lost, FROM_B])
    found = frozenset({pack("10.0.0.9")})
    assert pack("10.0.0.9") not in compiler.compile(wanted)[-1].workloads
    table = compiler.compile(wanted, here=found)[-1]
    assert table.workloads[pack("10.0.0.9")] == table.workloads[pack("10.0.0.1")]
    assert pack("10.0.0.8") not in table.workloads
    assert pack("10.0.0.9") not in compiler.compile(wanted)[-1].workloads


def test_of_two_pods_with_one_address_the_first_has_it_whoever_came_first() -> None:
    early, late = pod("x/z", "10.0.0.50", {"app": "b"}), pod("x/c", "10.0.0.50", {"app": "c"})
    compiler = PolicyCompiler(HERE)
    compiler.compile(snapshot_of([*CLUSTER, early, FROM_B]))
    asked = Evaluator(compiler.compile(snapshot_of([*CLUSTER, early, late, FROM_B]))[-1])
    assert not asked.outcome(Packet(pack("10.0.0.50"), pack("10.0.0.1"), 6, 80)).passes
    asked = Evaluator(compiler.compile(snapshot_of([*CLUSTER, early, FROM_B]))[-1])
    assert asked.outcome(Packet(pack("10.0.0.50"), pack("10.0.0.1"), 6, 80)).passes


def test_of_two_pods_with_one_address_the_one_that_is_being_deleted_yields() -> None:
    leaving = pod("x/c", "10.0.0.50", {"app": "c"})
    leaving = replace(leaving, metadata=replace(leaving.metadata, deletion_timestamp="2026-01-01T00:00:00Z"))
    compiler = PolicyCompiler(HERE)
    compiler.compile(snapshot_of([*CLUSTER, leaving, FROM_B]))
    new = pod("x/z", "10.0.0.50", {"app": "b"})
    asked = Evaluator(compiler.compile(snapshot_of([*CLUSTER, leaving, new, FROM_B]))[-1])
    assert asked.outcome(Packet(pack("10.0.0.50"), pack("10.0.0.1"), 6, 80)).passes
