"""Which policies a flow names, on which side, and what a denial says."""

from __future__ import annotations

import pytest

from daemon.flows.builder import FlowBuilder
from daemon.flows.clock import Clock
from daemon.flows.ruled import Ruled
from daemon.model import Directory
from daemon.model.objects import ObjectRef
from daemon.proto import flow_pb2
from ebpf.constants import Point, Verdict
from tests.unit.flows.samples import row

DB = ObjectRef("NetworkPolicy", "shop", "db")
RULES = {
    7: Ruled((DB,), True, 2, "ingress rule 1 of shop/db"),
    8: Ruled((DB,), False, 0, "egress isolation by shop/db"),
}
BUILDER = FlowBuilder(Directory(), "node-1", Clock(monotonic=lambda: 0, wall=lambda: 0), ruled_by=RULES.get)
FIELDS = ("ingress_allowed_by", "ingress_denied_by", "egress_allowed_by", "egress_denied_by")


@pytest.mark.parametrize(
    ("rule", "verdict", "field"),
    [
        (7, Verdict.FORWARDED, "ingress_allowed_by"),
        (7, Verdict.DROPPED, "ingress_denied_by"),
        (8, Verdict.DROPPED, "egress_denied_by"),
        (8, Verdict.AUDIT, "egress_denied_by"),
    ],
)
def test_the_side_that_decided_names_its_policies(rule: int, verdict: Verdict, field: str) -> None:
    flow = BUILDER.build(row(rule=rule, verdict=verdict), 1, None)
    named = flow_pb2.Policy(name="db", namespace="shop", kind="NetworkPolicy")
    assert {name: list(getattr(flow, name)) for name in FIELDS} == {**{name: [] for name in FIELDS}, field: [named]}
    assert flow.policy_match_type == RULES[rule].match


def test_a_denial_says_which_rule_it_was_and_what_passed_does_not() -> None:
    assert BUILDER.build(row(rule=8, verdict=Verdict.DROPPED), 1, None).Summary.endswith(RULES[8].words)
    assert RULES[7].words not in BUILDER.build(row(rule=7), 1, None).Summary


def test_an_audited_denial_is_an_event_of_a_policy() -> None:
    flow = BUILDER.build(row(rule=8, verdict=Verdict.AUDIT), 1, None)
    assert (flow.event_type.type, flow.verdict) == (5, flow_pb2.AUDIT)


def test_a_rule_that_nobody_knows_any_more_names_nothing() -> None:
    flow = BUILDER.build(row(rule=99, verdict=Verdict.DROPPED), 1, None)
    assert not any(getattr(flow, name) for name in FIELDS)


@pytest.mark.parametrize(
    ("verdict", "words"), [(Verdict.DROPPED, "Shield edge/feed"), (Verdict.AUDIT, "would drop it")]
)
def test_at_an_uplink_the_number_is_one_of_the_shields_rules(verdict: Verdict, words: str) -> None:
    def named(rule: int) -> str:
        return "edge/feed" if rule == 7 else ""

    clock = Clock(monotonic=lambda: 0, wall=lambda: 0)
    builder = FlowBuilder(Directory(), "node-1", clock, ruled_by=RULES.get, shield_rule=named)
    flow = builder.build(row(rule=7, verdict=verdict, point=Point.FROM_NETWORK), 1, None)
    assert flow.Summary.endswith(words)
    assert not any(getattr(flow, name) for name in FIELDS), "it is no policy"
    assert "Shield" not in builder.build(row(rule=9, verdict=verdict, point=Point.FROM_NETWORK), 1, None).Summary
