"""Fragments: tiny, uneven, too long and overlapping ones are dropped; what honest senders and networks do passes."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from ebpf import testrun
from ebpf.constants import Mark, ShieldFlag, ShieldRule
from tests.bpf.shield_gate import (
    FAMILIES,
    STRICT,
    V4,
    V6,
    XDP_PASS,
    Family,
    Gate,
    flows_fixture,
    gate_fixture,
    syn,
)  # fmt: skip

__all__ = ["flows_fixture", "gate_fixture"]

TCP_NUMBER, UDP_NUMBER, OTHER = 6, 17, 99


def fragment(
    family: Family, at: int, data: Packet | bytes, *, more: bool = True, proto: int = UDP_NUMBER, number: int = 7
) -> Packet:
    """A fragment that carries `data` as the datagram's bytes from `at` on."""
    carried = data if isinstance(data, Packet) else Raw(data)
    if family is V4:
        return family.frame(carried, id=number, frag=at // 8, flags="MF" if more else 0, proto=proto)
    return family.frame(IPv6ExtHdrFragment(id=number, offset=at // 8, m=more, nh=proto) / carried)


def bulk(family: Family, first: int, end: int, *, more: bool = True, number: int = 7, proto: int = OTHER) -> Packet:
    """A fragment of a datagram of no known protocol, by its first and its last byte but one."""
    return fragment(family, first, bytes(end - first), more=more, number=number, proto=proto)


@pytest.fixture(autouse=True)
def strict(gate: Gate) -> None:
    gate.shield(STRICT)


def told(gate: Gate) -> list[int]:
    return [int(one) for one in gate.records()["rule"]]


@FAMILIES
@pytest.mark.parametrize(
    ("proto", "header"), [(6, bytes(syn() / Raw(bytes(4)))), (17, bytes(UDP(sport=1, dport=2, len=99)))]
)
def test_a_first_fragment_holds_the_whole_header(gate: Gate, family: Family, proto: int, header: bytes) -> None:
    assert not gate.drops(fragment(family, 0, header, proto=proto))
    shorter = header[: (len(header) - 1) // 8 * 8] if proto == TCP_NUMBER else b""
    assert gate.drops(fragment(family, 0, shorter, proto=proto, number=8))
    assert told(gate) == [ShieldRule.FRAGMENT_TINY]


@FAMILIES
def test_so_does_that_of_icmp(gate: Gate, family: Family) -> None:
    proto = 1 if family is V4 else 58
    assert not gate.drops(fragment(family, 0, bytes([8, 0]) + bytes(6), proto=proto))
    assert gate.drops(fragment(family, 0, b"", proto=proto, number=8))
    assert told(gate) == [ShieldRule.FRAGMENT_TINY]


@FAMILIES
def test_no_fragment_begins_inside_of_the_tcp_header(gate: Gate, family: Family) -> None:
    assert gate.drops(fragment(family, 8, bytes(16), proto=TCP_NUMBER))
    assert not gate.drops(fragment(family, 16, bytes(16), proto=TCP_NUMBER))
    assert not gate.drops(fragment(family, 8, bytes(16), proto=UDP_NUMBER, number=8))
    assert told(gate) == [ShieldRule.FRAGMENT_TINY]


@FAMILIES
def test_a_first_fragment_may_hold_less_than_its_own_header_says_the_whole_has(gate: Gate, family: Family) -> None:
    assert not gate.drops(fragment(family, 0, UDP(sport=1, dport=2, len=3000) / Raw(bytes(16))))
    assert not gate.drops(fragment(family, 0, bytes(syn(dataofs=15))[:20] + bytes(4), proto=TCP_NUMBER, number=8))
    assert gate.drops(fragment(family, 0, bytes(syn(dataofs=4))[:20] + bytes(4), proto=TCP_NUMBER, number=9))
    assert gate.drops(fragment(family, 0, syn(flags="SF") / Raw(bytes(4)), proto=TCP_NUMBER, number=10))
    assert told(gate) == [ShieldRule.TCP_HEADER, ShieldRule.TCP_FLAGS]


def test_a_first_ipv6_fragment_holds_all_extension_headers(gate: Gate) -> None:
    whole = fragment(V6, 0, IPv6ExtHdrDestOpt() / syn() / Raw(bytes(4)), proto=60)
    assert not gate.drops(whole)
    assert gate.drops(fragment(V6, 0, bytes([6, 1]) + bytes(6), proto=60, number=8))
    assert told(gate) == [ShieldRule.IPV6_EXTENSION]


@FAMILIES
def test_a_datagram_ends_at_65535_bytes(gate: Gate, family: Family) -> None:
    assert not gate.drops(bulk(family, 65528, 65535, more=False))
    assert gate.drops(bulk(family, 65528, 65536, more=False))
    assert told(gate) == [ShieldRule.FRAGMENT_LENGTH]


@FAMILIES
def test_only_the_last_fragment_may_be_uneven(gate: Gate, family: Family) -> None:
    assert gate.drops(bulk(family, 0, 15))
    assert not gate.drops(bulk(family, 0, 16))
    assert not gate.drops(bulk(family, 16, 31, more=False))
    assert told(gate) == [ShieldRule.FRAGMENT_LENGTH]


@FAMILIES
@pytest.mark.parametrize("backwards", [False, True])
def test_a_datagram_of_forty_fragments_passes_in_any_order_and_may_come_twice(
    gate: Gate, family: Family, backwards: bool
) -> None:
    pieces = [bulk(family, at, at + 1480) for at in range(0, 39 * 1480, 1480)]
    pieces.append(bulk(family, 39 * 1480, 39 * 1480 + 77, more=False))
    if backwards:
        pieces.reverse()
    assert not any(gate.drops(piece) for piece in (*pieces[:-1], *pieces[:-1], pieces[-1]))


OVERLAPS = pytest.mark.parametrize(
    ("first", "second"),
    [((0, 64), (56, 120)), ((64, 128), (0, 72)), ((0, 64), (8, 16)), ((8, 16), (0, 64)), ((0, 64), (0, 56))],
    ids=["end over beginning", "beginning over end", "inside", "around", "shorter"],
)  # fmt: skip


@FAMILIES
@OVERLAPS
def test_a_range_that_overlaps_another_spoils_the_datagram(
    gate: Gate, family: Family, first: tuple[int, int], second: tuple[int, int]
) -> None:
    assert not gate.drops(bulk(family, *first))
    assert gate.drops(bulk(family, *second))
    assert gate.drops(bulk(family, *first)), "all further fragments of it go"
    assert gate.drops(bulk(family, 4096, 4104, more=False))
    assert set(told(gate)) == {ShieldRule.FRAGMENT_OVERLAP}


@FAMILIES
def test_bytes_beyond_the_last_fragment_do_not_make_a_datagram_whole(gate: Gate, family: Family) -> None:
    assert not gate.drops(bulk(family, 8, 24))
    assert not gate.drops(bulk(family, 4096, 4112))
    assert not gate.drops(bulk(family, 24, 32, more=False))
    assert gate.drops(bulk(family, 16, 24)), "the first eight bytes are not there yet"


@FAMILIES
def test_ranges_that_touch_do_not_overlap(gate: Gate, family: Family) -> None:
    for first, end in ((8, 16), (0, 8), (16, 24), (24, 24)):
        assert not gate.drops(bulk(family, first, end))


@FAMILIES
def test_datagrams_are_told_apart(gate: Gate, family: Family) -> None:
    assert not gate.drops(bulk(family, 0, 64))
    assert not gate.drops(bulk(family, 8, 16, number=8)), "by their number"
    other = bulk(family, 8, 16)
    other[family.layer].src = "198.51.100.8" if family is V4 else "2001:db8:51::8"
    assert not gate.drops(other), "by their source"


def test_those_of_ipv4_by_their_protocol_too_and_those_of_ipv6_not(gate: Gate) -> None:
    for family, overlaps in ((V4, False), (V6, True)):
        assert not gate.drops(bulk(family, 0, 64, proto=OTHER))
        assert gate.drops(bulk(family, 8, 16, proto=OTHER + 1)) == overlaps


@FAMILIES
def test_a_number_can_be_used_again_once_its_datagram_is_whole(gate: Gate, family: Family) -> None:
    for end in (72, 71, 90):
        assert not gate.drops(bulk(family, 0, 64))
        assert not gate.drops(bulk(family, 64, end, more=False))


@FAMILIES
def test_or_once_it_is_older_than_half_a_minute(gate: Gate, family: Family) -> None:
    assert not gate.drops(bulk(family, 0, 64))
    assert gate.drops(bulk(family, 8, 16))
    table = gate.datapath.maps["shield_fragments"]
    keys, values = table.items()
    values["since"] = np.uint64(time.clock_gettime_ns(time.CLOCK_MONOTONIC) - 31 * 10**9)
    table.update(keys, values)
    assert not gate.drops(bulk(family, 8, 16))
    assert gate.drops(bulk(family, 0, 64)), "what came since then counts"


@FAMILIES
def test_a_datagram_of_another_cpu_whose_clock_is_ahead_is_none_of_the_past(gate: Gate, family: Family) -> None:
    assert not gate.drops(bulk(family, 0, 64))
    table = gate.datapath.maps["shield_fragments"]
    keys, values = table.items()
    values["since"] += np.uint64(10**9)
    table.update(keys, values)
    assert gate.drops(bulk(family, 8, 16))


@FAMILIES
def test_a_flood_of_fragments_costs_nobody_a_sound_datagram(gate: Gate, family: Family) -> None:
    made_up, program = bytearray(bytes(bulk(family, 0, 64))), gate.datapath.program("from_wire")
    number = 18 if family is V4 else 58  # offset of the datagram's number
    for start in (0, 64, 128):
        assert not gate.drops(bulk(family, start, start + 64, more=start < 128))
        for one in range(1000, 1000 + 2 * gate.datapath.maps["shield_fragments"].max_entries):
            made_up[number : number + 2] = one.to_bytes(2)
            assert testrun.verdict(program, bytes(made_up)) == XDP_PASS


@FAMILIES
def test_more_fragments_than_are_remembered_pass(gate: Gate, family: Family) -> None:
    places = range(0, 60 * 64, 64)
    assert not any(gate.drops(bulk(family, one, two)) for one, two in pairwise(places))
    assert gate.drops(bulk(family, 8, 16)), "what is remembered is watched on"


@FAMILIES
def test_in_a_dry_run_overlaps_pass_and_are_counted(gate: Gate, family: Family) -> None:
    gate.shield(STRICT | ShieldFlag.MALFORMED_DRY)
    assert not gate.drops(bulk(family, 0, 64))
    assert not gate.drops(bulk(family, 8, 16))
    assert gate.hit(ShieldRule.FRAGMENT_OVERLAP) == (0, 0, 1)


@FAMILIES
def test_fragments_are_marked_in_records_and_later_ones_have_no_ports(gate: Gate, family: Family) -> None:
    gate.entry(f"{family.client}/{family.bits}")
    gate.shield(ShieldFlag.ADDRESSES)
    assert gate.drops(fragment(family, 0, TCP(sport=5, dport=6, flags="S") / Raw(bytes(4)), proto=TCP_NUMBER))
    assert gate.drops(fragment(family, 24, bytes(range(1, 9)), proto=TCP_NUMBER))
    first, later = gate.records()
    assert (first["src_port"], first["dst_port"], first["marks"]) == (5, 6, Mark.FRAGMENT)
    assert (later["src_port"], later["dst_port"], later["marks"]) == (0, 0, Mark.FRAGMENT)
