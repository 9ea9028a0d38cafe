"""The shield drops what no honest sender writes, and nothing else: each kind beside its nearest legal neighbour."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from ebpf.constants import Counter, DropReason, ShieldFlag, ShieldRule, Verdict
from tests.bpf.shield_gate import ETHER, FAMILIES, STRICT, V4, V6, Family, Gate, flows_fixture, gate_fixture, syn

__all__ = ["flows_fixture", "gate_fixture"]

UDP_DATA = UDP(sport=5353, dport=53) / Raw(b"question")


def cut(packet: Packet, size: int) -> bytes:
    """The beginning of a frame, whatever its headers say."""
    return bytes(packet)[:size]


def headers(count: int) -> Packet:
    """So many extension headers."""
    chain = IPv6ExtHdrDestOpt()
    for _ in range(count - 1):
        chain = IPv6ExtHdrDestOpt() / chain
    return chain


@dataclass(frozen=True)
class Kind:
    """A malformed frame and its nearest legal neighbour."""

    words: str
    rule: ShieldRule
    bad: Packet | bytes
    good: Packet | bytes


V4_SYN, V6_SYN = V4.frame(syn()), V6.frame(syn())
IP_KINDS = [
    Kind("IPv4 version", ShieldRule.IPV4_HEADER, V4.frame(syn(), version=5), V4_SYN),
    Kind("IPv4 header length", ShieldRule.IPV4_HEADER, V4.frame(syn(), ihl=4), V4.frame(syn(), ihl=5)),
    Kind("IPv4 options cut off", ShieldRule.IPV4_HEADER,
         cut(V4.frame(UDP_DATA, options=[IPOption_Router_Alert()], len=20), 14 + 23),
         V4.frame(UDP_DATA, options=[IPOption_Router_Alert()])),
    Kind("IPv4 header cut off", ShieldRule.IPV4_HEADER, cut(V4_SYN, 14 + 19), V4_SYN),
    Kind("IPv4 total length in the header", ShieldRule.IPV4_LENGTH, V4.frame(Raw(), proto=99, len=19),
         V4.frame(Raw(), proto=99, len=20)),
    Kind("IPv4 total length beyond the frame", ShieldRule.IPV4_LENGTH, V4.frame(UDP_DATA, len=37),
         V4.frame(UDP_DATA, len=36)),
    Kind("IPv6 version", ShieldRule.IPV6_HEADER, V6.frame(syn(), version=4), V6_SYN),
    Kind("IPv6 header cut off", ShieldRule.IPV6_HEADER, cut(V6_SYN, 14 + 39), V6.frame(Raw(), nh=59)),
    Kind("IPv6 payload length beyond the frame", ShieldRule.IPV6_LENGTH, V6.frame(UDP_DATA, plen=17),
         V6.frame(UDP_DATA, plen=16)),
    Kind("nine extension headers", ShieldRule.IPV6_EXTENSION, V6.frame(headers(9) / syn()),
         V6.frame(headers(8) / syn())),
    Kind("hop-by-hop that is not the first", ShieldRule.IPV6_EXTENSION,
         V6.frame(IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / syn()),
         V6.frame(IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / syn())),
    Kind("extension header cut off", ShieldRule.IPV6_EXTENSION, V6.frame(Raw(bytes([6, 0, 1, 2, 0, 0, 0])), nh=60),
         V6.frame(Raw(bytes([59, 0, 1, 4, 0, 0, 0, 0])), nh=60)),
    Kind("extension header longer than the packet", ShieldRule.IPV6_EXTENSION,
         V6.frame(Raw(bytes([59, 1, 1, 4, 0, 0, 0, 0])), nh=60), V6.frame(Raw(bytes([59, 1] + [0] * 14)), nh=60)),
]  # fmt: skip
ADDRESS_KINDS = [
    Kind("source multicast", ShieldRule.SOURCE, V4.frame(syn(), src="224.0.0.0"),
         V4.frame(syn(), src="223.255.255.255")),
    Kind("last multicast source", ShieldRule.SOURCE, V4.frame(syn(), src="239.255.255.255"),
         V4.frame(syn(), src="240.0.0.0")),
    Kind("source broadcast", ShieldRule.SOURCE, V4.frame(syn(), src="255.255.255.255"),
         V4.frame(syn(), src="255.255.255.254")),
    Kind("IPv4 loopback source", ShieldRule.LOOPBACK, V4.frame(syn(), src="127.0.0.0"),
         V4.frame(syn(), src="126.255.255.255")),
    Kind("IPv4 loopback destination", ShieldRule.LOOPBACK, ETHER / IP(src=V4.client, dst="127.255.255.255") / syn(),
         ETHER / IP(src=V4.client, dst="128.0.0.0") / syn()),
    Kind("IPv4 land", ShieldRule.LAND, V4.frame(syn(), src=V4.node), V4.frame(syn(), src="203.0.113.11")),
    Kind("IPv6 multicast source", ShieldRule.SOURCE, V6.frame(syn(), src="ff00::"), V6.frame(syn(), src="feff::1")),
    Kind("IPv4 written as IPv6", ShieldRule.SOURCE, V6.frame(syn(), src="::ffff:1.2.3.4"),
         V6.frame(syn(), src="::fffe:1.2.3.4")),
    Kind("IPv6 loopback source", ShieldRule.LOOPBACK, V6.frame(syn(), src="::1"), V6.frame(syn(), src="::2")),
    Kind("IPv6 loopback destination", ShieldRule.LOOPBACK, ETHER / IPv6(src=V6.client, dst="::1") / syn(),
         ETHER / IPv6(src=V6.client, dst="::2") / syn()),
    Kind("IPv6 land", ShieldRule.LAND, V6.frame(syn(), src=V6.node), V6.frame(syn(), src="2001:db8:113::11")),
]  # fmt: skip


def transport_kinds(family: Family) -> list[Kind]:
    frame = family.frame
    echo = ICMP() if family is V4 else ICMPv6EchoRequest()
    number = {"proto": 17} if family is V4 else {"nh": 17}
    tcp = {"proto": 6} if family is V4 else {"nh": 6}
    icmp = {"proto": 1} if family is V4 else {"nh": 58}
    return [
        Kind("TCP header cut off", ShieldRule.TCP_HEADER, frame(Raw(bytes(syn())[:19]), **tcp), frame(syn())),
        Kind("TCP header too short", ShieldRule.TCP_HEADER, frame(syn(dataofs=4)), frame(syn(dataofs=5))),
        Kind("TCP header longer than the packet", ShieldRule.TCP_HEADER, frame(syn(dataofs=6)),
             frame(syn(dataofs=6) / Raw(b"\1\1\1\1"))),
        Kind("TCP without flags", ShieldRule.TCP_FLAGS, frame(syn(flags="")), frame(syn(flags="A"))),
        Kind("TCP with nothing but congestion flags", ShieldRule.TCP_FLAGS, frame(syn(flags="EC")),
             frame(syn(flags="SEC"))),
        Kind("SYN with FIN", ShieldRule.TCP_FLAGS, frame(syn(flags="SFA")), frame(syn(flags="SA"))),
        Kind("SYN with RST", ShieldRule.TCP_FLAGS, frame(syn(flags="SR")), frame(syn(flags="R"))),
        Kind("FIN without ACK", ShieldRule.TCP_FLAGS, frame(syn(flags="F")), frame(syn(flags="FA"))),
        Kind("all of the tree's lights", ShieldRule.TCP_FLAGS, frame(syn(flags="FPU")), frame(syn(flags="FPUA"))),
        Kind("TCP source port 0", ShieldRule.PORT, frame(syn(sport=0)), frame(syn(sport=1))),
        Kind("TCP destination port 0", ShieldRule.PORT, frame(syn(dport=0)), frame(syn(dport=65535))),
        Kind("UDP header cut off", ShieldRule.UDP_LENGTH, frame(Raw(bytes(UDP_DATA)[:7]), **number),
             frame(UDP(sport=1, dport=2))),
        Kind("UDP length in the header", ShieldRule.UDP_LENGTH, frame(UDP(sport=1, dport=2, len=7)),
             frame(UDP(sport=1, dport=2, len=8))),
        Kind("UDP length beyond the packet", ShieldRule.UDP_LENGTH, frame(UDP(sport=1, dport=2, len=10) / Raw(b"x")),
             frame(UDP(sport=1, dport=2, len=9) / Raw(b"xy"))),
        Kind("UDP destination port 0", ShieldRule.PORT, frame(UDP(sport=1, dport=0)), frame(UDP(sport=0, dport=1))),
        Kind("ICMP header cut off", ShieldRule.ICMP_LENGTH, frame(Raw(bytes(echo)[:7]), **icmp), frame(echo)),
    ]  # fmt: skip


KINDS = [*IP_KINDS, *ADDRESS_KINDS, *transport_kinds(V4), *transport_kinds(V6)]
NAMES = [
    *(one.words for one in (*IP_KINDS, *ADDRESS_KINDS)),
    *(f"{one.words} in {family}" for family in ("IPv4", "IPv6") for one in transport_kinds(V4)),
]


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_each_malformed_kind_is_dropped_by_its_rule_and_its_nearest_legal_neighbour_passes(
    gate: Gate, kind: Kind
) -> None:
    gate.shield(STRICT)
    assert not gate.drops(kind.good)
    assert len(gate.records()) == 0
    assert gate.drops(kind.bad)
    told = gate.records()[0]
    assert (told["verdict"], told["rule"]) == (Verdict.DROPPED, kind.rule)
    assert gate.hit(kind.rule)[0] == 1


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_malformed_frames_pass_where_nobody_asks_for_that(gate: Gate, kind: Kind) -> None:
    gate.shield(ShieldFlag.BANS)
    assert not gate.drops(kind.bad)
    assert len(gate.records()) == 0


@pytest.mark.parametrize("flags", [STRICT | ShieldFlag.MALFORMED_DRY, STRICT | ShieldFlag.DRY_RUN])
def test_in_a_dry_run_malformed_frames_pass_and_are_counted_and_told(gate: Gate, flags: ShieldFlag) -> None:
    gate.shield(flags)
    before = gate.counter(Counter.SHIELD_AUDITED), gate.counter(Counter.SHIELD_MALFORMED)
    for kind in KINDS:
        assert not gate.drops(kind.bad), kind.words
    told = gate.records()
    assert set(told["verdict"].tolist()) == {Verdict.AUDIT}
    assert told["rule"].tolist() == [kind.rule for kind in KINDS]
    assert gate.hit(ShieldRule.LAND) == (0, 0, 2)
    after = gate.counter(Counter.SHIELD_AUDITED), gate.counter(Counter.SHIELD_MALFORMED)
    assert after == (before[0] + len(KINDS), before[1])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (V4.frame(syn(flags="SF")), DropReason.INVALID_PACKET),
        (V6.frame(headers(9) / syn()), DropReason.INVALID_EXTENSION),
        (V4.frame(syn(), src="127.0.0.1"), DropReason.INVALID_SOURCE_IP),
    ],
)
def test_a_record_has_the_nearest_of_the_known_reasons(gate: Gate, bad: Packet, reason: DropReason) -> None:
    gate.shield(STRICT)
    assert gate.drops(bad)
    assert gate.records()[0]["reason"] == reason


TAGS = {
    "untagged": lambda packet: ETHER / packet,
    "VLAN": lambda packet: ETHER / Dot1Q(vlan=5) / packet,
    "QinQ": lambda packet: ETHER / Dot1AD(vlan=9) / Dot1Q(vlan=5) / packet,
}
LAYERS = [
    ("IPv4 options", lambda end: IP(src=V4.client, dst=V4.node, options=[IPOption_Router_Alert()] * 10) / end),
    ("IPv6 extension headers", lambda end: (
        IPv6(src=V6.client, dst=V6.node) / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt() / end)),
    ("IPv6 authentication", lambda end: IPv6(src=V6.client, dst=V6.node) / AH(nh=6, payloadlen=4, icv=b"0" * 12) / end),
    ("IPv6 atomic fragment", lambda end: IPv6(src=V6.client, dst=V6.node) / IPv6ExtHdrFragment(id=7) / end),
]  # fmt: skip


@pytest.mark.parametrize("tags", TAGS)
@pytest.mark.parametrize("layers", [build for _, build in LAYERS], ids=[name for name, _ in LAYERS])
def test_what_is_behind_tags_options_and_extension_headers_is_read(gate: Gate, tags: str, layers) -> None:  # type: ignore[no-untyped-def]
    gate.shield(STRICT)
    assert not gate.drops(TAGS[tags](layers(syn())))
    assert gate.drops(TAGS[tags](layers(syn(flags="SF"))))
    told = gate.records()[0]
    assert (told["src_port"], told["dst_port"], told["proto"]) == (40000, 80, 6)
    assert gate.drops(bytes(TAGS[tags](layers(syn())))[:-1])


@pytest.mark.parametrize(
    "frame",
    [
        ETHER / ARP(),
        ETHER / Dot1Q() / Dot1Q() / Dot1Q() / IP(src="127.0.0.1", dst=V4.node) / syn(),
        bytes(ETHER / Dot1Q() / IP())[:17],
        Ether(type=0x88CC) / Raw(b"lldp"),
    ],
    ids=["ARP", "three tags", "a tag cut off", "another protocol"],
)
def test_what_is_no_ip_passes(gate: Gate, frame: Packet | bytes) -> None:
    gate.shield(STRICT)
    assert not gate.drops(frame)
    assert len(gate.records()) == 0


@FAMILIES
def test_padding_behind_the_packet_is_no_part_of_it(gate: Gate, family: Family) -> None:
    gate.shield(STRICT)
    assert not gate.drops(bytes(family.frame(syn())) + bytes(9))
    short = {"proto": 6} if family is V4 else {"nh": 6}
    assert gate.drops(bytes(family.frame(Raw(bytes(syn())[:19]), **short)) + bytes(9))


@FAMILIES
@pytest.mark.parametrize("size", [1400, 3500, 3600, 9000, 60000])
def test_frames_of_several_buffers_are_read_as_a_whole(gate: Gate, family: Family, size: int) -> None:
    gate.shield(STRICT)
    frame = family.frame(TCP(sport=1, dport=2, flags="A") / Raw(bytes(size)))
    assert not gate.drops(frame)
    assert gate.drops(bytes(frame)[:-1])
    assert gate.records()[0]["rule"] in (ShieldRule.IPV4_LENGTH, ShieldRule.IPV6_LENGTH)


def test_a_header_that_lies_in_the_second_buffer_is_read(gate: Gate) -> None:
    gate.shield(STRICT)
    far = Raw(b"".join(bytes([60, 255]) + bytes(2046) for _ in range(1)) + bytes([6, 255]) + bytes(2046))
    assert not gate.drops(V6.frame(far / syn(), nh=60))
    assert gate.drops(V6.frame(far / syn(flags="SF"), nh=60))
    told = gate.records()[0]
    assert (told["rule"], told["dst_port"]) == (ShieldRule.TCP_FLAGS, 80)


def test_a_record_says_all_that_the_frame_does(gate: Gate) -> None:
    gate.shield(STRICT)
    frame = V4.frame(syn(flags="SF"))
    assert gate.drops(frame)
    told = gate.records()[0]
    assert bytes(told["src_mac"]) == bytes(frame)[6:12]
    assert bytes(told["dst_mac"]) == bytes(frame)[:6]
    assert (told["family"], told["proto"], told["tcp_flags"], told["length"]) == (4, 6, 3, 40)
    assert (told["src_port"], told["dst_port"], told["forward_packets"], told["ifindex"]) == (40000, 80, 1, 1)
    assert told["time"] == told["started"] > 0
