"""Verdicts and what is remembered of them: packets of a guarded workload in, passed or dropped, and records out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daemon.policy.table import ANY_CLASS, Isolation
from ebpf.constants import Counter, Direction, DropReason, EventKind, Mark, PolicyFlag, Verdict
from tests.bpf.conftest import Wire
from tests.bpf.gate import (
    ALLOWED,
    AUDITED,
    DENIED,
    FAMILIES,
    FRIEND,
    ISOLATED,
    STRANGER,
    Family,
    Gate,
    allow,
    deny,
    made,
    tcp,
    udp,
)
from tests.conformance.policy.kernel import TCP, UDP, clear


@pytest.fixture(params=FAMILIES, ids=[family.name for family in FAMILIES])
def gate(wire: Wire, request: pytest.FixtureRequest) -> Iterator[Gate]:
    family: Family = request.param
    yield made(wire, family)
    clear(wire.datapath)


def test_without_rules_everything_passes_and_no_rule_is_told(gate: Gate) -> None:
    assert gate.sends(gate.out(tcp(40000, 80)))
    assert gate.gets(gate.into(udp(40000, 53)))
    assert [int(row["rule"]) for row in gate.records()] == [0, 0]


def test_an_isolated_workload_gets_nothing_and_still_sends(gate: Gate) -> None:
    gate.rules(ingress=[])
    assert not gate.gets(gate.into(tcp(40000, 80)))
    assert gate.sends(gate.out(tcp(40000, 80)))


def test_a_denial_is_dropped_with_reason_and_rule(gate: Gate) -> None:
    gate.rules(ingress=[allow(FRIEND, TCP, 80, 16), deny(STRANGER)])
    before = gate.wire.counter(Counter.POLICY_DROPPED)
    assert not gate.gets(gate.into(tcp(40000, 81)))
    assert not gate.gets(gate.into(tcp(40000, 80), gate.family.stranger))
    told = [(int(row["verdict"]), int(row["reason"]), int(row["rule"])) for row in gate.records()]
    assert told == [
        (Verdict.DROPPED, DropReason.POLICY_DENIED, ISOLATED),
        (Verdict.DROPPED, DropReason.POLICY_DENY, DENIED),
    ]
    assert gate.wire.counter(Counter.POLICY_DROPPED) == before + 2


def test_what_is_allowed_tells_its_rule_from_first_to_last(gate: Gate) -> None:
    gate.rules(egress=[allow(FRIEND, TCP, 80, 16)])
    assert gate.sends(gate.out(tcp(40000, 80)))
    assert gate.gets(gate.into(tcp(80, 40000, "SA")))
    assert gate.sends(gate.out(tcp(40000, 80, "R")))
    assert [int(row["rule"]) for row in gate.records()] == [ALLOWED] * 3
    assert gate.hits(ALLOWED) == 1, "only the first packet is judged"


def test_a_class_without_entries_of_its_own_has_those_of_every_class(gate: Gate) -> None:
    gate.rules(ingress=[allow(ANY_CLASS, TCP, 80, 16), allow(FRIEND, TCP, 81, 16)])
    assert gate.gets(gate.into(tcp(40000, 80), gate.family.stranger))
    assert not gate.gets(gate.into(tcp(40001, 81), gate.family.stranger))
    assert gate.gets(gate.into(tcp(40002, 81)))


@pytest.mark.parametrize(("port", "bits", "inside", "outside"), [(80, 16, 80, 81), (1024, 6, 2047, 2048), (0, 0, 9, 0)])
def test_port_prefixes_end_where_they_end(gate: Gate, port: int, bits: int, inside: int, outside: int) -> None:
    gate.rules(egress=[allow(FRIEND, TCP, port, bits)])
    assert gate.sends(gate.out(tcp(40000, inside)))
    assert not gate.sends(gate.out(udp(40000, inside))), "another protocol"
    assert gate.sends(gate.out(tcp(40001, outside))) == (bits == 0)


def test_the_longest_port_prefix_decides(gate: Gate) -> None:
    gate.rules(egress=[allow(FRIEND), deny(FRIEND, TCP), allow(FRIEND, TCP, 1024, 6), deny(FRIEND, TCP, 1100, 16)])
    passes = [port for port in (80, 1024, 1100, 2047) if gate.sends(gate.out(tcp(40000, port)))]
    assert passes == [1024, 2047]
    assert gate.sends(gate.out(udp(40000, 1100)))


def test_replies_pass_in_both_directions_whatever_the_other_ruleset_says(gate: Gate) -> None:
    gate.rules(ingress=[allow(FRIEND, UDP, 53, 16)], egress=[])
    assert gate.gets(gate.into(udp(40000, 53)))
    assert gate.sends(gate.out(udp(53, 40000)))
    assert not gate.sends(gate.out(udp(53, 40001)))
    gate.rules(ingress=[], egress=[allow(FRIEND, TCP, 80, 16)])
    assert gate.sends(gate.out(tcp(40000, 80)))
    assert gate.gets(gate.into(tcp(80, 40000, "SA")))
    assert not gate.gets(gate.into(tcp(80, 40001)))


def test_a_denied_connection_leaves_nothing_through_which_replies_pass(gate: Gate) -> None:
    gate.rules(ingress=[], egress=[])
    assert not gate.sends(gate.out(tcp(40000, 80)))
    assert not gate.gets(gate.into(tcp(80, 40000, "SA")))
    assert not gate.gets(gate.into(tcp(80, 40000, "A")))
    assert not gate.gets(gate.into(udp(80, 40000)))
    assert len(gate.wire.connections()[0]) == 0


def test_the_responder_cannot_open_a_connection_over_a_known_one(gate: Gate) -> None:
    gate.rules(ingress=[])
    assert gate.sends(gate.out(tcp(40000, 80)))
    assert gate.gets(gate.into(tcp(80, 40000, "SA")))
    assert not gate.gets(gate.into(tcp(80, 40000, "S")))
    assert gate.gets(gate.into(tcp(80, 40000, "PA"))), "the known one goes on"


def test_a_reply_whose_connection_was_evicted_passes_where_the_connection_may(gate: Gate) -> None:
    gate.rules(ingress=[allow(FRIEND, TCP, 8080, 16)], egress=[])
    assert gate.gets(gate.into(tcp(40000, 8080)))
    clear(gate.wire.datapath, ("connections",))
    assert gate.sends(gate.out(tcp(8080, 40000, "PA")))
    _, values = gate.wire.connections()
    assert (int(values["direction"][0]), int(values["marks"][0])) == (Direction.INGRESS, Mark.MIDSTREAM)
    assert gate.gets(gate.into(tcp(40000, 8080, "A")))
    clear(gate.wire.datapath, ("connections",))
    assert gate.sends(gate.out(tcp(8080, 40000, "SA")))
    assert not gate.sends(gate.out(tcp(8081, 40000, "PA"))), "nobody may have opened this one"


def test_where_ports_do_not_tell_who_opened_either_direction_may_speak_for_a_packet(gate: Gate) -> None:
    gate.rules(ingress=[allow(FRIEND, TCP, 50000, 16)], egress=[])
    assert gate.sends(gate.out(tcp(50000, 40000, "PA"))), "the port that is allowed is the higher one"
    assert not gate.sends(gate.out(tcp(50001, 40000, "PA")))


def test_in_the_middle_of_a_stream_plain_ports_are_trusted(gate: Gate) -> None:
    gate.rules(ingress=[])
    assert not gate.gets(gate.into(tcp(40000, 22, "A"))), "free egress is no way in"


def test_a_datagram_from_a_well_known_port_opens_a_connection_like_any_other(gate: Gate) -> None:
    gate.rules(ingress=[])
    assert not gate.gets(gate.into(udp(53, 40000)))


def test_pings_are_judged_by_entries_for_all_protocols_and_their_answers_pass(gate: Gate) -> None:
    gate.rules(ingress=[], egress=[allow(FRIEND)])
    assert gate.sends(gate.out(gate.family.ping(7)))
    answer = gate.family.ping(7)
    answer.type = 0 if gate.family.name == "IPv4" else 129
    assert gate.gets(gate.into(answer))
    assert not gate.gets(gate.into(gate.family.ping(8)))
    gate.rules(egress=[allow(FRIEND, TCP)])
    assert not gate.sends(gate.out(gate.family.ping(9)))


def test_a_new_denial_cuts_what_is_established_both_ways(gate: Gate) -> None:
    gate.rules(egress=[allow(FRIEND, TCP, 80, 16)])
    assert gate.sends(gate.out(tcp(40000, 80)))
    assert gate.gets(gate.into(tcp(80, 40000, "SA")))
    gate.records()
    gate.rules(egress=[])
    assert not gate.sends(gate.out(tcp(40000, 80, "PA")))
    assert not gate.gets(gate.into(tcp(80, 40000, "PA")))
    (row, *_) = gate.records()
    assert (row["reason"], row["rule"]) == (DropReason.POLICY_DENIED, ISOLATED)
    gate.rules(egress=[allow(FRIEND)])
    assert gate.sends(gate.out(tcp(40000, 80, "PA"))), "allowed again, it goes on"


def test_established_connections_stay_where_the_setting_says_so(gate: Gate) -> None:
    gate.settings(PolicyFlag.KEEP)
    gate.rules(egress=[allow(FRIEND, TCP, 80, 16)])
    assert gate.sends(gate.out(tcp(40000, 80)))
    gate.rules(egress=[])
    assert gate.sends(gate.out(tcp(40000, 80, "PA")))
    assert gate.gets(gate.into(tcp(80, 40000, "PA")))
    assert not gate.sends(gate.out(tcp(40001, 80)))


def test_what_passed_under_other_settings_is_judged_by_those_of_the_next_agent(gate: Gate) -> None:
    gate.settings(PolicyFlag.KEEP)
    gate.rules(egress=[allow(FRIEND)])
    assert gate.sends(gate.out(tcp(40000, 80)))
    gate.rules(egress=[])
    assert gate.sends(gate.out(tcp(40000, 80, "PA")))
    gate.settings(PolicyFlag(0))
    assert not gate.sends(gate.out(tcp(40000, 80, "PA")))
    gate.policies.apply(gate.table, {})
    assert gate.sends(gate.out(udp(40000, 53)))
    gate.settings(PolicyFlag.DENY_UNKNOWN)
    assert not gate.sends(gate.out(udp(40000, 53)))


def test_what_passed_before_the_first_verdict_is_judged_when_it_comes(gate: Gate) -> None:
    gate.policies.apply(gate.table, {})
    assert gate.gets(gate.into(tcp(40000, 80)))
    assert gate.sends(gate.out(udp(40000, 53)))
    gate.rules(ingress=[], egress=[allow(FRIEND, UDP)])
    assert not gate.gets(gate.into(tcp(40000, 80, "A")))
    assert gate.gets(gate.into(udp(53, 40000))), "the answer of what is allowed"


def test_without_a_verdict_nothing_passes_where_the_setting_says_so_but_the_nodes_own(gate: Gate) -> None:
    gate.settings(PolicyFlag.DENY_UNKNOWN)
    gate.policies.apply(gate.table, {})
    assert not gate.sends(gate.out(udp(40000, 53)))
    assert not gate.gets(gate.into(tcp(40000, 80)))
    assert gate.gets(gate.into(tcp(40000, 80), gate.family.node))
    gate.isolation = Isolation(0, 0)
    gate.apply(gate.table)
    assert gate.sends(gate.out(udp(40000, 53)))


def test_a_port_used_again_is_judged_again(gate: Gate) -> None:
    gate.rules(egress=[allow(FRIEND, TCP, 80, 16)])
    assert gate.sends(gate.out(tcp(40000, 80)))
    assert gate.gets(gate.into(tcp(80, 40000, "RA")))
    gate.settings(PolicyFlag.KEEP)
    gate.rules(egress=[])
    assert not gate.sends(gate.out(tcp(40000, 80)))


def test_a_peer_that_changes_its_class_is_judged_anew(gate: Gate) -> None:
    gate.rules(egress=[allow(FRIEND)])
    assert gate.sends(gate.out(tcp(40000, 80)))
    classes = dict.fromkeys(gate.table.classes, STRANGER)
    gate.apply(type(gate.table)(classes, {}, gate.table.rulesets))
    assert not gate.sends(gate.out(tcp(40000, 80, "PA")))


def test_an_established_connection_looks_nothing_up_until_its_guard_changes(gate: Gate) -> None:
    gate.rules(egress=[allow(FRIEND)])
    assert gate.sends(gate.out(tcp(40000, 80)))
    clear(gate.wire.datapath, ("classes", "policies", "rulesets"))
    assert gate.sends(gate.out(tcp(40000, 80, "PA")))
    assert not gate.sends(gate.out(tcp(40001, 80))), "a guard without its ruleset lets nothing through"


def test_an_audited_denial_passes_is_told_and_counted(gate: Gate) -> None:
    gate.rules(ingress=[deny(FRIEND, audit=True)], egress=[], audit=True)
    before = gate.wire.counter(Counter.POLICY_AUDITED)
    assert gate.gets(gate.into(tcp(40000, 80)))
    assert gate.gets(gate.into(tcp(40000, 80, "A")))
    assert gate.sends(gate.out(udp(40000, 53), gate.family.stranger))
    told = [(int(row["verdict"]), int(row["reason"]), int(row["rule"])) for row in gate.records()]
    assert told[0] == (Verdict.AUDIT, DropReason.NONE, AUDITED)
    assert (Verdict.AUDIT, DropReason.NONE, ISOLATED) in told
    assert gate.wire.counter(Counter.POLICY_AUDITED) == before + 2
    assert gate.hits(AUDITED) == 1


def test_an_established_connection_that_becomes_audited_tells_it_at_once(gate: Gate) -> None:
    gate.rules(egress=[allow(FRIEND)])
    assert gate.sends(gate.out(tcp(40000, 80)))
    assert gate.sends(gate.out(tcp(40000, 80, "A")))
    gate.records()
    gate.rules(egress=[deny(FRIEND, audit=True)])
    assert gate.sends(gate.out(tcp(40000, 80, "A")))
    (row,) = gate.records()
    assert (row["verdict"], row["kind"]) == (Verdict.AUDIT, EventKind.INTERVAL)


def test_every_denied_packet_is_counted_and_few_are_told(gate: Gate) -> None:
    gate.rules(ingress=[])
    for _ in range(10):
        assert not gate.gets(gate.into(tcp(40000, 80)))
    assert not gate.gets(gate.into(tcp(40001, 80)))
    assert len(gate.records()) == 2, "one for each connection"
    assert gate.hits(ISOLATED) == 11
