"""Lists and bans: the longest prefix of the source decides, and what is only tried passes, counted and told."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from scapy.layers.inet import UDP
from scapy.packet import Raw

from ebpf import testrun
from ebpf.constants import (
    Counter,
    Direction,
    DropReason,
    EventKind,
    Point,
    ShieldAction,
    ShieldFlag,
    ShieldRule,
    Verdict,
)
from tests.bpf.shield_gate import (
    FAMILIES,
    LIST,
    LISTS,
    STRICT,
    V4,
    V6,
    XDP_DROP,
    Family,
    Gate,
    flows_fixture,
    gate_fixture,
    row,
    syn,
)  # fmt: skip

__all__ = ["flows_fixture", "gate_fixture"]

NESTED = {
    V4: ("198.51.100.0/24", "198.51.100.0/28", "198.51.100.7/32", "198.51.0.0/16"),
    V6: ("2001:db8:51::/64", "2001:db8:51::/96", "2001:db8:51::7/128", "2001:db8::/32"),
}
OUTSIDE = {V4: "198.52.0.1", V6: "2001:db9::1"}
TOLD_A_SECOND = 1000


@FAMILIES
def test_a_source_that_a_list_denies_is_dropped_and_others_pass(gate: Gate, family: Family) -> None:
    for cidr in NESTED[family]:
        gate.clear()
        gate.entry(cidr)
        gate.shield(LISTS)
        assert gate.drops(family.frame(syn())), cidr
        assert not gate.drops(family.frame(syn(), src=OUTSIDE[family])), cidr


@FAMILIES
def test_the_longest_prefix_decides(gate: Gate, family: Family) -> None:
    gate.shield(LISTS)
    network, narrower, address, wider = NESTED[family]
    for cidr, rule, action, dropped in (
        (wider, 70, ShieldAction.DENY, True), (network, 71, ShieldAction.ALLOW, False),
        (narrower, 72, ShieldAction.DENY, True), (address, 73, ShieldAction.ALLOW, False),
    ):  # fmt: skip
        gate.entry(cidr, rule, action)
        assert gate.drops(family.frame(syn())) == dropped, cidr
        assert gate.hit(rule)[0] == 1


@FAMILIES
def test_an_address_that_is_denied_inside_of_a_network_that_is_allowed_is_dropped(gate: Gate, family: Family) -> None:
    network, _, address, _ = NESTED[family]
    gate.entry(network, 70, ShieldAction.ALLOW)
    gate.entry(address, 71, ShieldAction.DENY)
    gate.shield(LISTS)
    assert gate.drops(family.frame(syn()))


def test_a_network_of_everything_leaves_the_other_family_alone(gate: Gate) -> None:
    gate.shield(LISTS)
    gate.entry("0.0.0.0/0")
    assert (gate.drops(V4.frame(syn())), gate.drops(V6.frame(syn()))) == (True, False)
    gate.clear()
    gate.shield(LISTS)
    gate.entry("::/0")
    assert (gate.drops(V4.frame(syn())), gate.drops(V6.frame(syn()))) == (False, True)


@pytest.mark.parametrize(
    ("cidr", "flag"),
    [
        ("198.51.100.7/32", ShieldFlag.ADDRESSES), ("198.51.100.0/24", ShieldFlag.NETWORKS4),
        ("2001:db8:51::/48", ShieldFlag.NETWORKS6),
    ],
)  # fmt: skip
def test_what_the_flags_say_is_empty_is_not_looked_at(gate: Gate, cidr: str, flag: ShieldFlag) -> None:
    family = V6 if ":" in cidr else V4
    gate.entry(cidr)
    gate.shield(LISTS & ~flag)
    assert not gate.drops(family.frame(syn()))
    gate.shield(flag)
    assert gate.drops(family.frame(syn()))


@FAMILIES
@pytest.mark.parametrize("whole", [False, True], ids=["of the list", "of the shield"])
def test_a_dry_run_passes_what_it_counts_and_tells(gate: Gate, family: Family, whole: bool) -> None:
    gate.entry(NESTED[family][0], dry=not whole)
    gate.shield(LISTS | (ShieldFlag.DRY_RUN if whole else ShieldFlag(0)))
    before = gate.counter(Counter.SHIELD_DENIED), gate.counter(Counter.SHIELD_AUDITED)
    assert not gate.drops(family.frame(syn()))
    told = gate.records()[0]
    assert (told["verdict"], told["reason"], told["rule"]) == (Verdict.AUDIT, DropReason.POLICY_DENY, LIST)
    assert gate.hit(LIST) == (0, 0, 1)
    after = gate.counter(Counter.SHIELD_DENIED), gate.counter(Counter.SHIELD_AUDITED)
    assert after == (before[0], before[1] + 1)


@FAMILIES
def test_a_drop_is_counted_for_its_rule_with_its_bytes_and_told_with_its_reason(gate: Gate, family: Family) -> None:
    gate.entry(NESTED[family][0])
    gate.shield(LISTS)
    before = gate.counter(Counter.SHIELD_DENIED)
    frame = family.frame(UDP(sport=5, dport=6) / Raw(b"abc"))
    assert gate.drops(bytes(frame) + bytes(20))
    assert gate.drops(frame)
    size = len(bytes(frame)) - 14
    assert gate.hit(LIST) == (2, 2 * size, 0)
    assert gate.counter(Counter.SHIELD_DENIED) == before + 2
    told = gate.records()[0]
    assert (told["verdict"], told["reason"], told["rule"]) == (Verdict.DROPPED, DropReason.POLICY_DENY, LIST)
    assert (told["point"], told["direction"], told["kind"]) == (Point.FROM_NETWORK, Direction.INGRESS, EventKind.NEW)
    assert (told["length"], told["forward_bytes"], told["proto"]) == (size, size, 17)


@FAMILIES
def test_what_an_allowed_source_sends_is_counted_and_not_told(gate: Gate, family: Family) -> None:
    gate.entry(NESTED[family][2], action=ShieldAction.ALLOW)
    gate.shield(LISTS)
    assert not gate.drops(family.frame(syn()))
    assert gate.hit(LIST) == (1, 60 - 20 * (family is V4), 0)
    assert len(gate.records()) == 0


@FAMILIES
def test_a_ban_holds_until_its_end_and_ends_by_itself(gate: Gate, family: Family) -> None:
    gate.shield(ShieldFlag.BANS)
    before = gate.counter(Counter.SHIELD_BANNED)
    gate.ban(family.client, 60)
    assert gate.drops(family.frame(syn()))
    assert not gate.drops(family.frame(syn(), src=OUTSIDE[family]))
    told = gate.records()[0]
    assert (told["rule"], told["reason"]) == (ShieldRule.BAN, DropReason.POLICY_DENY)
    assert gate.counter(Counter.SHIELD_BANNED) == before + 1
    gate.ban(family.client, -0.1)
    assert not gate.drops(family.frame(syn()))


@FAMILIES
def test_a_ban_in_a_dry_run_passes_and_the_stages_behind_it_go_on(gate: Gate, family: Family) -> None:
    gate.ban(family.client, 60)
    gate.entry(NESTED[family][1])
    gate.shield(LISTS | ShieldFlag.BANS | ShieldFlag.DRY_RUN)
    assert not gate.drops(family.frame(syn(flags="SF")))
    assert gate.records()["rule"].tolist() == [ShieldRule.BAN, LIST]
    gate.shield(LISTS | STRICT | ShieldFlag.MALFORMED_DRY | ShieldFlag.BANS)
    assert gate.drops(family.frame(syn(flags="SF")))
    assert gate.records()["rule"].tolist() == [ShieldRule.TCP_FLAGS, ShieldRule.BAN]


@FAMILIES
def test_a_frame_whose_addresses_cannot_be_read_is_on_no_list(gate: Gate, family: Family) -> None:
    gate.entry("0.0.0.0/0")
    gate.entry("::/0")
    gate.shield(LISTS)
    assert not gate.drops(family.frame(syn(), version=9))
    assert gate.drops(family.frame(syn(flags="SF")))


def test_one_whose_header_length_alone_is_wrong_is(gate: Gate) -> None:
    gate.entry("198.51.100.7/32")
    gate.shield(LISTS)
    assert gate.drops(V4.frame(syn(), ihl=4))


@FAMILIES
def test_a_record_names_the_workloads_at_both_ends(gate: Gate, family: Family) -> None:
    gate.entry(NESTED[family][0])
    gate.shield(LISTS)
    table = gate.datapath.maps["addresses"]
    for number, address in ((7, family.client), (8, family.node)):
        key = row(table.key_dtype, addr=gate.address(address))
        table.update(key, row(table.value_dtype, workload=number))
    assert gate.drops(family.frame(syn()))
    told = gate.records()[0]
    assert (told["src_workload"], told["dst_workload"]) == (7, 8)
    table.delete(table.items()[0])


@pytest.fixture
def budget() -> Iterator[None]:
    """Records that may be told, for those who come next too."""
    yield
    time.sleep(1.1)


@FAMILIES
def test_a_flood_is_counted_whole_and_told_in_part(gate: Gate, budget: None, family: Family) -> None:
    gate.entry(NESTED[family][0])
    gate.shield(LISTS)
    before, packets = gate.counter(Counter.SHIELD_UNTOLD), 20 * TOLD_A_SECOND
    result = testrun.run(gate.datapath.program("from_wire"), bytes(family.frame(syn())), repeat=packets)
    assert result.verdict == XDP_DROP
    assert gate.hit(LIST)[0] == packets
    told = len(gate.records())
    assert 0 < told <= packets // 2
    assert gate.counter(Counter.SHIELD_UNTOLD) == before + packets - told
