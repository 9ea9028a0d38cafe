"""Which packets mean that a connection failed, and which do not."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ebpf.constants import EventKind, Failure
from tests.bpf.conftest import Wire

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"


def out(flags: str, data: bytes = b"", seq: int = 100) -> Packet:
    """From the initiator."""
    packet = ETHER / IP(src=CLIENT, dst=SERVER) / TCP(sport=40_000, dport=80, flags=flags, seq=seq)
    return packet / Raw(data) if data else packet


def back(flags: str, data: bytes = b"") -> Packet:
    """From the responder."""
    packet = ETHER / IP(src=SERVER, dst=CLIENT) / TCP(sport=80, dport=40_000, flags=flags, seq=900)
    return packet / Raw(data) if data else packet


def failures(*rows: np.ndarray) -> list[int]:
    return [int(failure) for one in rows for failure in one["failure"] if failure]


def opened(wire: Wire) -> None:
    wire.sends(out("S"))
    wire.receives(back("SA"))
    wire.sends(out("A"))


def talking(wire: Wire) -> None:
    opened(wire)
    wire.sends(out("PA", b"question"))
    wire.receives(back("A"))


def test_a_reset_instead_of_an_answer_is_a_refusal_and_told_once(wire: Wire) -> None:
    wire.sends(out("S"))
    record = wire.receives(back("RA"))
    assert (record["kind"].tolist(), failures(record)) == ([EventKind.END], [Failure.REFUSED])
    assert failures(wire.receives(back("RA"))) == []


def test_a_reset_behind_the_handshake_is_no_refusal(wire: Wire) -> None:
    opened(wire)
    assert failures(wire.receives(back("R"))) == [Failure.HANDSHAKE]


def test_a_reset_while_a_question_waits_breaks_the_stream_however_long_it_waited(wire: Wire) -> None:
    talking(wire)
    time.sleep(1.1)
    assert failures(wire.receives(back("RA"))) == [Failure.RESET]


def test_a_reset_in_the_middle_of_an_answer_breaks_the_stream(wire: Wire) -> None:
    talking(wire)
    wire.receives(back("PA", b"half of it"))
    assert failures(wire.receives(back("R"))) == [Failure.RESET]


def test_a_reset_of_an_idle_connection_is_how_some_servers_close(wire: Wire) -> None:
    talking(wire)
    wire.receives(back("PA", b"all of it"))
    time.sleep(1.1)
    assert failures(wire.receives(back("R"))) == []


@pytest.mark.parametrize("stage", ["before the answer", "after the handshake", "in the middle"])
def test_a_reset_by_the_initiator_is_its_own_wish(wire: Wire, stage: str) -> None:
    wire.sends(out("S"))
    if stage != "before the answer":
        wire.receives(back("SA"))
        wire.sends(out("A"))
    if stage == "in the middle":
        wire.sends(out("PA", b"question"))
    assert failures(wire.sends(out("R"))) == []


@pytest.mark.parametrize("who_ends", ["initiator", "responder"])
def test_a_reset_after_a_fin_is_no_failure(wire: Wire, who_ends: str) -> None:
    talking(wire)
    if who_ends == "initiator":
        wire.sends(out("FA"))
    else:
        wire.receives(back("FA"))
    assert failures(wire.receives(back("R"))) == []


def icmp4(kind: int, code: int, quoted: Packet) -> Packet:
    return ETHER / IP(src="10.0.0.254", dst=CLIENT) / ICMP(type=kind, code=code) / quoted[IP]


@pytest.mark.parametrize(
    ("code", "failure"),
    [(0, Failure.UNREACHABLE), (1, Failure.UNREACHABLE), (3, Failure.REFUSED), (13, Failure.UNREACHABLE)],
)
def test_an_icmp_error_ends_the_connection_that_it_quotes(wire: Wire, code: int, failure: Failure) -> None:
    wire.sends(out("S"))
    records = wire.receives(icmp4(3, code, out("S")))
    told = records[records["failure"] != 0]
    assert failures(told) == [failure]
    assert (told["kind"][0], told["proto"][0], told["dst_port"][0]) == (EventKind.END, 6, 80)
    assert told["detail"][0] == 3 << 8 | code


def test_the_same_syn_again_does_not_fail_again_and_another_one_does(wire: Wire) -> None:
    wire.sends(out("S"))
    wire.receives(icmp4(3, 1, out("S")))
    again = [wire.sends(out("S")), wire.receives(icmp4(3, 1, out("S")))]
    assert failures(*again) == []
    wire.sends(out("S", seq=7_000))
    assert failures(wire.receives(icmp4(3, 1, out("S", seq=7_000)))) == [Failure.UNREACHABLE]


@pytest.mark.parametrize(("kind", "code"), [(3, 4), (0, 0), (5, 1)])
def test_icmp_that_is_no_error_of_the_flow_fails_nothing(wire: Wire, kind: int, code: int) -> None:
    wire.sends(out("S"))
    assert failures(wire.receives(icmp4(kind, code, out("S")))) == []


def test_an_error_about_an_established_connection_does_not_end_it(wire: Wire) -> None:
    opened(wire)
    assert failures(wire.receives(icmp4(3, 1, out("A")))) == []


@pytest.mark.parametrize("version", [4, 6])
def test_a_closed_udp_port_is_told_of_the_datagrams_flow_once(wire: Wire, version: int) -> None:
    ip = IP(src=CLIENT, dst=SERVER) if version == 4 else IPv6(src="fd00::1", dst="fd00::2")
    sent = ETHER / ip / UDP(sport=40_000, dport=9_999) / Raw(b"anybody?")
    wire.sends(sent)
    error = (
        icmp4(3, 3, sent)
        if version == 4
        else ETHER / IPv6(src="fd00::2", dst="fd00::1") / ICMPv6DestUnreach(code=4) / sent[IPv6]
    )
    first, second = wire.receives(error), wire.receives(error)
    assert failures(first, second) == [Failure.REFUSED]
    told = first[first["failure"] != 0][0]
    assert (told["proto"], told["src_port"], told["dst_port"]) == (17, 40_000, 9_999)


def test_a_packet_that_is_too_big_is_mended_on_the_way(wire: Wire) -> None:
    sent = ETHER / IPv6(src="fd00::1", dst="fd00::2") / UDP(sport=40_000, dport=9_999)
    wire.sends(sent)
    error = ETHER / IPv6(src="fd00::9", dst="fd00::1") / ICMPv6PacketTooBig(mtu=1280) / sent[IPv6]
    assert failures(wire.receives(error)) == []


@pytest.mark.parametrize("cut", [0, 10, 20, 23])
def test_a_quotation_that_is_cut_short_concerns_nobody(wire: Wire, cut: int) -> None:
    wire.sends(out("S"))
    error = ETHER / IP(src="10.0.0.254", dst=CLIENT) / ICMP(type=3, code=1) / Raw(bytes(out("S")[IP])[:cut])
    assert failures(wire.receives(error)) == []
