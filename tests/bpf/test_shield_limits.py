"""How much may come from one source, and what becomes of who sends more."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.l2 import Dot1Q
from scapy.packet import Packet, Raw

from ebpf import testrun
from ebpf.constants import Counter, ShieldAction, ShieldFlag
from tests.bpf.limit_gate import (
    FAMILIES,
    LIMIT,
    OFF,
    TOKEN,
    V4,
    V6,
    XDP_DROP,
    XDP_PASS,
    Family,
    LimitGate,
    flows_fixture,
    gate_fixture,
    in_step,
    tick,
)
from tests.bpf.shield_gate import Gate

__all__ = ["flows_fixture", "gate_fixture"]

DATAGRAM = UDP(sport=4000, dport=53) / Raw(b"odd")
SYN = TCP(sport=4000, dport=80, flags="S")
SLOW = {"packet_rate": 1, "packet_burst": 3}


@FAMILIES
def test_a_source_may_send_its_burst_and_no_more(gate: LimitGate, family: Family) -> None:
    gate.limit(SLOW)
    assert gate.passed(family.frame(DATAGRAM), 10) == 3
    assert gate.comes(family.frame(DATAGRAM, family.near)) == XDP_PASS, "another source has a bucket of its own"


@FAMILIES
def test_sources_of_one_prefix_share_a_bucket(gate: LimitGate, family: Family) -> None:
    gate.limit(SLOW | {"prefix4": 24, "prefix6": 64})
    assert gate.passed(family.frame(DATAGRAM), 10) == 3
    assert gate.comes(family.frame(DATAGRAM, family.near)) == XDP_DROP
    assert gate.comes(family.frame(DATAGRAM, family.far)) == XDP_PASS


@pytest.mark.parametrize("length", range(0, 129, 7))
def test_every_length_of_prefix_cuts_where_it_says(gate: LimitGate, length: int) -> None:
    gate.limit(SLOW | {"prefix4": min(length, 32), "prefix6": length})
    for family in (V4, V6):
        gate.comes(family.frame(DATAGRAM))
    keys, _ = gate.table("buckets").items()
    cut = [0xFF if bit + 8 <= length else (0xFF00 >> max(length - bit, 0)) & 0xFF for bit in range(0, 128, 8)]
    six = bytes(byte & mask for byte, mask in zip(Gate.address(V6.source).tobytes(), cut, strict=True))
    assert six in {key["addr"].tobytes() for key in keys}
    four = bytes(byte & mask for byte, mask in zip(Gate.address(V4.source).tobytes()[12:], cut, strict=False))
    four = Gate.address(V4.source).tobytes()[:12] + (four if length < 32 else Gate.address(V4.source).tobytes()[12:])
    assert four in {key["addr"].tobytes() for key in keys}


@FAMILIES
def test_one_bucket_for_all_sources_of_a_family(gate: LimitGate, family: Family) -> None:
    gate.limit(SLOW | {"prefix4": 0, "prefix6": 0})
    assert [gate.comes(family.frame(DATAGRAM, one)) for one in (family.source, family.near, family.far)] == 3 * [2]
    assert gate.comes(family.frame(DATAGRAM, family.near)) == XDP_DROP
    assert gate.comes((V6 if family is V4 else V4).frame(DATAGRAM)) == XDP_PASS


def test_a_bucket_fills_at_its_rate(gate: LimitGate) -> None:
    gate.limit({"packet_rate": 2, "packet_burst": 10})
    assert gate.passed(V4.frame(DATAGRAM), 12) == 10
    gate.wait(1.75)
    assert gate.passed(V4.frame(DATAGRAM), 5) == 3, "three and a half came in"
    gate.wait(20)
    assert gate.passed(V4.frame(DATAGRAM), 12) == 10, "never beyond the burst"


def test_a_bucket_fills_by_the_clock_itself(gate: LimitGate) -> None:
    gate.limit({"packet_rate": 20, "packet_burst": 1})
    frame, began, passed, seen = V4.frame(DATAGRAM), time.monotonic(), 0, 0
    while passed < 10 and seen < 10**6:
        passed += gate.comes(frame) == XDP_PASS
        seen += 1
    assert passed <= 1 + 20 * (time.monotonic() - began)
    assert seen > passed == 10


def test_a_slow_rate_loses_nothing_to_packets_that_come_fast(gate: LimitGate) -> None:
    gate.limit({"packet_rate": 3, "packet_burst": 1000})
    frame = V4.frame(DATAGRAM)
    gate.comes(frame)
    table = gate.table("buckets")
    keys, values = table.items()
    values["packets"], began = 0, int(values["last"][0])
    table.update(keys, values)
    passed = gate.passed(frame, 1000)
    _, after = table.items()
    came = 3 * (int(after["last"][0]) - began)
    assert int(after["packets"][0]) == came - passed * TOKEN, "to the last part of a token"


def test_without_a_burst_a_second_of_the_rate_can_be_saved_up(gate: LimitGate) -> None:
    gate.limit({"packet_rate": 7})
    assert gate.passed(V4.frame(DATAGRAM), 7) == 7
    _, values = gate.table("buckets").items()
    assert int(values["packets"][0]) < TOKEN


@FAMILIES
def test_bytes_are_counted_from_the_ip_header_on(gate: LimitGate, family: Family) -> None:
    frame = family.frame(UDP(sport=4000, dport=53) / Raw(bytes(172)))
    size = len(frame) - 14
    gate.limit({"byte_rate": 1, "byte_burst": 3 * size - 1})
    assert gate.passed(frame, 5) == 2
    assert gate.comes(family.frame(DATAGRAM)) == XDP_PASS, "a smaller one still fits"


def test_packets_and_bytes_hold_together_and_what_is_dropped_takes_neither(gate: LimitGate) -> None:
    large, small = V4.frame(UDP(dport=53) / Raw(bytes(1000))), V4.frame(UDP(dport=53) / Raw(b"x"))
    gate.limit({"packet_rate": 1, "packet_burst": 4, "byte_rate": 1, "byte_burst": 1500})
    assert gate.passed(large, 3) == 1
    assert gate.passed(small, 5) == 3


@pytest.mark.parametrize("rate", [2**32, 10**12, 2**63, 2**64 - 1])
def test_no_rate_is_too_large(gate: LimitGate, rate: int) -> None:
    gate.limit({"packet_rate": rate, "byte_rate": rate, "byte_burst": rate})
    for _ in range(3):
        assert gate.passed(V4.frame(DATAGRAM), 20) == 20
        gate.wait(time.monotonic())


@pytest.mark.parametrize("rate", [1, 10**9, 2**40])
def test_after_any_time_of_silence_a_bucket_is_full(gate: LimitGate, rate: int) -> None:
    gate.limit({"packet_rate": rate, "packet_burst": 5})
    gate.comes(V4.frame(DATAGRAM))
    table = gate.table("buckets")
    keys, values = table.items()
    values["packets"], values["last"] = 0, 0
    table.update(keys, values)
    gate.comes(V4.frame(DATAGRAM))
    _, values = table.items()
    assert int(values["packets"][0]) == 4 * TOKEN


def test_a_clock_that_went_back_gives_and_takes_nothing(gate: LimitGate) -> None:
    gate.limit({"packet_rate": 1, "packet_burst": 5})
    gate.comes(V4.frame(DATAGRAM))
    table = gate.table("buckets")
    keys, values = table.items()
    values["packets"], values["last"] = 2 * TOKEN, tick() + 2**40
    table.update(keys, values)
    assert gate.passed(V4.frame(DATAGRAM), 5) == 2


def test_a_limit_that_became_less_holds_at_once(gate: LimitGate) -> None:
    gate.limit({"packet_rate": 1, "packet_burst": 1000})
    gate.comes(V4.frame(DATAGRAM))
    gate.limit({"packet_rate": 1, "packet_burst": 2, "byte_rate": 1, "byte_burst": 10**6})
    assert gate.passed(V4.frame(DATAGRAM), 10) == 2


def test_what_several_cpus_take_of_a_bucket_is_never_lost(gate: LimitGate) -> None:
    burst, times, program = 5000, 50_000, gate.datapath.program("from_wire")
    gate.limit({"packet_rate": 1, "packet_burst": burst})
    began, frame = time.monotonic(), bytes(V4.frame(DATAGRAM))
    with ThreadPoolExecutor(4) as threads:
        for one in [threads.submit(testrun.run, program, frame, times) for _ in range(4)]:
            one.result()
    passed = 4 * times - gate.hit(LIMIT)[0]
    assert burst <= passed <= burst + 4 + time.monotonic() - began


def test_a_bucket_with_more_than_a_limit_allows_is_cut_once_also_by_two_cpus(gate: LimitGate) -> None:
    """As each finds it after a limit became less; who is cut twice would have to wait for years."""
    gate.limit({"packet_rate": 1, "packet_burst": 10})
    program, frame, table = gate.datapath.program("from_wire"), bytes(V4.frame(DATAGRAM)), gate.table("buckets")
    testrun.verdict(program, frame)
    keys, values = table.items()
    values["packets"] = 2**62

    def send() -> None:
        testrun.verdict(program, frame)

    def left() -> int:
        return int(table.items()[1]["packets"].view(np.int64)[0])

    found = in_step(20_000, send, before=lambda: table.update(keys, values), after=left)
    assert min(found) >= 8 * TOKEN
    assert 8 * TOKEN in found, "both were there"


MATCHES: dict[str, tuple[dict[str, int], Packet, bool]] = {
    "its protocol": ({"proto": 17}, DATAGRAM, True),
    "another protocol": ({"proto": 6}, DATAGRAM, False),
    "its port": ({"port": 53}, DATAGRAM, True),
    "another port": ({"port": 54}, DATAGRAM, False),
    "a SYN": ({"syn": 1}, SYN, True),
    "a SYN with what may stand beside it": ({"syn": 1}, TCP(sport=4000, dport=80, flags="SEC"), True),
    "an ACK": ({"syn": 1}, TCP(sport=4000, dport=80, flags="A"), False),
    "a SYN-ACK": ({"syn": 1}, TCP(sport=4000, dport=80, flags="SA"), False),
    "a datagram where SYNs are counted": ({"syn": 1}, DATAGRAM, False),
    "a protocol without ports": ({"proto": 1}, ICMP(), True),
    "no port where one is asked for": ({"port": 53}, ICMP(), False),
}


@pytest.mark.parametrize(("match", "packet", "counts"), MATCHES.values(), ids=MATCHES.keys())
def test_a_limit_counts_what_it_names(gate: LimitGate, match: dict[str, int], packet: Packet, counts: bool) -> None:
    gate.limit(SLOW | match)
    assert gate.passed(V4.frame(packet), 5) == (3 if counts else 5)


def test_behind_a_vlan_tag_it_is_the_same(gate: LimitGate) -> None:
    gate.limit(SLOW)
    plain = V4.frame(DATAGRAM)
    tagged = plain.copy()
    tagged.payload = Dot1Q(vlan=5) / plain.payload
    assert gate.passed(tagged, 5) == 3


def test_all_sixteen_limits_hold_each_for_itself(gate: LimitGate) -> None:
    gate.limit(
        *({"packet_rate": 1, "packet_burst": 16 - place, "port": 53} for place in range(15)), SLOW | {"port": 99}
    )
    assert gate.passed(V4.frame(DATAGRAM), 5) == 2, "the fifteenth is the narrowest"
    assert gate.passed(V4.frame(UDP(dport=99) / Raw(b"odd")), 5) == 3
    dropped = [gate.hit(LIMIT + place)[0] for place in (12, 13, 14, 15)]
    assert dropped == [1, 1, 1, 2], "what the fifteenth dropped had paid those before it"


def test_only_so_many_limits_hold_as_the_settings_say(gate: LimitGate) -> None:
    gate.limit(SLOW, {"packet_rate": 1, "packet_burst": 1})
    gate.shield(OFF, limits=1)
    assert gate.passed(V4.frame(DATAGRAM), 5) == 3


def test_every_drop_is_counted(gate: LimitGate) -> None:
    gate.limit(SLOW)
    before = gate.counter(Counter.SHIELD_LIMITED)
    frame = V4.frame(DATAGRAM)
    gate.passed(frame, 5)
    assert gate.counter(Counter.SHIELD_LIMITED) - before == 2
    assert gate.hit(LIMIT) == (2, 2 * (len(frame) - 14), 0)


@pytest.mark.parametrize("flags", [OFF, ShieldFlag.DRY_RUN], ids=["the limit", "the shield"])
def test_a_dry_run_counts_and_passes(gate: LimitGate, flags: ShieldFlag) -> None:
    gate.limit(SLOW | {"dry": not flags}, flags=flags, ban_after=1, ban_window=10, ban_seconds=10)
    before = gate.counter(Counter.SHIELD_AUDITED)
    assert gate.passed(V4.frame(DATAGRAM), 5) == 5
    assert gate.counter(Counter.SHIELD_AUDITED) - before == 2
    assert gate.hit(LIMIT) == (0, 0, 2)
    assert not len(gate.table("bans").items()[0]), "nobody is banned for a trial"


def test_a_limit_that_is_only_tried_does_not_stop_the_next(gate: LimitGate) -> None:
    gate.limit({"packet_rate": 1, "packet_burst": 1, "dry": 1}, SLOW)
    assert gate.passed(V4.frame(DATAGRAM), 5) == 3


BANS = {"flags": ShieldFlag.BANS, "ban_after": 3, "ban_window": 10}


@FAMILIES
def test_who_goes_on_over_its_limit_is_banned(gate: LimitGate, family: Family) -> None:
    gate.limit(SLOW | {"port": 53}, **BANS, ban_seconds=3600)
    gate.passed(family.frame(DATAGRAM), 5)
    assert gate.comes(family.frame(SYN)) == XDP_PASS, "two drops are not three"
    gate.comes(family.frame(DATAGRAM))
    assert gate.comes(family.frame(SYN)) == XDP_DROP
    assert gate.comes(family.frame(SYN, family.near)) == XDP_PASS
    keys, values = gate.table("bans").items()
    assert keys["addr"].tobytes() == Gate.address(family.source).tobytes()
    assert int(values["rule"][0]) == LIMIT
    assert 3590 < int(values["until"][0]) / 1e9 - time.monotonic() <= 3600


def test_a_ban_ends_and_a_new_one_takes_as_much_as_the_first(gate: LimitGate) -> None:
    gate.limit(SLOW | {"port": 53}, **BANS, ban_seconds=1)
    gate.passed(V4.frame(DATAGRAM), 6)
    assert gate.comes(V4.frame(SYN)) == XDP_DROP
    deadline = time.monotonic() + 30
    while gate.comes(V4.frame(SYN)) == XDP_DROP:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    gate.wait(-30)  # the bucket stays empty
    assert gate.passed(V4.frame(DATAGRAM), 2) == 0
    assert gate.comes(V4.frame(SYN)) == XDP_PASS


def test_offences_of_another_time_do_not_add_up(gate: LimitGate) -> None:
    gate.limit(SLOW, **BANS, ban_seconds=3600)
    gate.passed(V4.frame(DATAGRAM), 5)
    table = gate.table("offences")
    keys, values = table.items()
    assert values["count"].tolist() == [2]
    values["window"] -= 11 * 10**9
    table.update(keys, values)
    gate.passed(V4.frame(DATAGRAM), 2)
    assert not len(gate.table("bans").items()[0])
    assert table.items()[1]["count"].tolist() == [2]


def test_nobody_is_banned_unless_that_is_asked_for(gate: LimitGate) -> None:
    gate.limit(SLOW, flags=ShieldFlag.BANS)
    gate.passed(V4.frame(DATAGRAM), 100)
    assert not len(gate.table("bans").items()[0])
    assert not len(gate.table("offences").items()[0])


@FAMILIES
def test_a_source_that_is_allowed_is_never_limited_nor_banned(gate: LimitGate, family: Family) -> None:
    gate.entry(family.source, action=ShieldAction.ALLOW)
    flags = ShieldFlag.ADDRESSES | ShieldFlag.BANS
    gate.limit(SLOW, flags=flags, ban_after=1, ban_window=10, ban_seconds=10)
    assert gate.passed(family.frame(DATAGRAM), 20) == 20
    assert not len(gate.table("bans").items()[0])
    gate.passed(family.frame(DATAGRAM, family.near), 20)
    assert len(gate.table("bans").items()[0]) == 1
