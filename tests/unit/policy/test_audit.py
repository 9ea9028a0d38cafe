"""Policies that only are told: they change no verdict, and show what they would deny."""

from __future__ import annotations

from daemon.model.policies import LabelSelector
from daemon.policy import Action
from tests.support.policies import Object, cluster_policy, pod, policy
from tests.support.policy_reach import Reach

CLUSTER: tuple[Object, ...] = (pod("x/a", "10.0.0.1", {"app": "a"}), pod("x/b", "10.0.0.2", {"app": "b"}))
AUDIT = {"remora.io/mode": "audit"}
OPEN = {"ports": [{"port": 80}]}


def test_what_an_audited_policy_would_deny_passes_and_is_marked() -> None:
    world = Reach([*CLUSTER, policy("x/p", annotations=AUDIT, ingress=[OPEN])])
    verdict = world.outcome("x/a", "x/b", "81/TCP").ingress
    assert verdict is not None
    assert verdict.passes
    assert (verdict.action, verdict.audit) == (Action.DENY, True)
    assert [ref.name for ref in world.table.rules[verdict.rule].policies] == ["p"]
    allowed = world.outcome("x/a", "x/b", "80/TCP").ingress
    assert allowed is not None
    assert not allowed.audit


def test_an_audited_policy_allows_nothing_that_is_denied_and_does_not_hide_who_denies() -> None:
    world = Reach([*CLUSTER, policy("x/p", annotations=AUDIT, ingress=[OPEN]), policy("x/deny")])
    verdict = world.outcome("x/a", "x/b", "80/TCP").ingress
    assert verdict is not None
    assert not verdict.passes
    assert [ref.name for ref in world.table.rules[verdict.rule].policies] == ["deny"]


def test_an_audited_rule_of_a_cluster_policy_is_told_by_its_name() -> None:
    deny = {"name": "no pods", "action": "Deny", "from": [{"namespaces": {}}]}
    world = Reach([*CLUSTER, cluster_policy("c", annotations=AUDIT, ingress=[deny]), policy("x/p", ingress=[{}])])
    verdict = world.outcome("x/a", "x/b").ingress
    assert verdict is not None
    assert verdict.passes
    assert verdict.audit
    assert world.table.rules[verdict.rule].name == "no pods"


def test_policies_may_be_chosen_for_audit_by_label() -> None:
    chosen = LabelSelector(match_labels={"stage": "trial"})
    world = Reach([*CLUSTER, policy("x/p", labels={"stage": "trial"})], audited=chosen)
    assert world.passes("x/a", "x/b")
    world = Reach([*CLUSTER, policy("x/p", labels={"stage": "final"})], audited=chosen)
    assert not world.passes("x/a", "x/b")
