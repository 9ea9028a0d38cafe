"""What policy leaves alone, what it refuses although no rule names it, and packets that are hard to judge."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6MLReport,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP
from scapy.packet import Packet, Raw

from daemon.policy.table import Isolation
from ebpf.constants import Counter, DropReason
from tests.bpf.conftest import Wire
from tests.bpf.gate import ETHER, FAMILIES, FRIEND, Family, Gate, allow, made, tcp, udp
from tests.conformance.policy.kernel import TCP as TCP_NUMBER
from tests.conformance.policy.kernel import UDP as UDP_NUMBER
from tests.conformance.policy.kernel import clear

V4, V6 = FAMILIES


@pytest.fixture(params=FAMILIES, ids=[family.name for family in FAMILIES])
def gate(wire: Wire, request: pytest.FixtureRequest) -> Iterator[Gate]:
    """Shut in both directions."""
    family: Family = request.param
    made_gate = made(wire, family)
    made_gate.rules(ingress=[], egress=[])
    yield made_gate
    clear(wire.datapath)


class TestAlwaysPasses:
    def test_the_nodes_own_traffic_both_ways(self, gate: Gate) -> None:
        assert gate.gets(gate.into(tcp(40000, 80), gate.family.node))
        assert gate.sends(gate.out(udp(40000, 53), gate.family.node))

    def test_what_a_workload_sends_to_itself(self, gate: Gate) -> None:
        assert gate.sends(gate.out(tcp(40000, 80), gate.family.pod))
        assert gate.gets(gate.into(tcp(40001, 80), gate.family.pod))

    def test_arp(self, gate: Gate) -> None:
        assert gate.sends(ETHER / ARP(psrc=gate.family.pod if gate.family is V4 else "10.0.0.1"))

    @pytest.mark.parametrize("body", [ICMPv6ND_NS(), ICMPv6ND_NA(), ICMPv6ND_RS(), ICMPv6ND_RA(), ICMPv6MLReport()])
    def test_what_an_ipv6_link_needs(self, gate: Gate, body: Packet) -> None:
        assert gate.sends(ETHER / IPv6(src="fe80::1", dst="ff02::1") / body)
        assert gate.gets(ETHER / IPv6(src="fe80::2", dst="ff02::1") / body)

    def test_the_search_for_a_duplicate_address(self, gate: Gate) -> None:
        assert gate.sends(ETHER / IPv6(src="::", dst="ff02::1:ff00:1") / ICMPv6ND_NS())

    @pytest.mark.parametrize(
        ("question", "answer"),
        [
            (
                IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67),
                IP(src="10.0.0.9", dst="255.255.255.255") / UDP(sport=67, dport=68),
            ),
            (
                IPv6(src="fe80::1", dst="ff02::1:2") / UDP(sport=546, dport=547),
                IPv6(src="fe80::9", dst="fe80::1") / UDP(sport=547, dport=546),
            ),
        ],
        ids=["IPv4", "IPv6"],
    )
    def test_dhcp_on_the_link_and_nowhere_else(self, gate: Gate, question: Packet, answer: Packet) -> None:
        assert gate.sends(ETHER / question)
        assert gate.gets(ETHER / answer)
        assert not gate.sends(gate.out(UDP(sport=68, dport=67)))
        assert not gate.sends(gate.out(UDP(sport=546, dport=547)))

    def test_multicast_membership(self, gate: Gate) -> None:
        assert gate.sends(ETHER / IP(src="0.0.0.0", dst="224.0.0.22", proto=2) / Raw(bytes(16)))
        assert not gate.sends(ETHER / IP(src="10.0.0.1", dst="10.0.0.2", proto=2) / Raw(bytes(16)))


def errors(family: Family) -> list[Packet]:
    """Heads of ICMP errors; what they are about follows."""
    if family is V4:
        return [ICMP(type=3, code=4, nexthopmtu=1400), ICMP(type=3, code=1), ICMP(type=11), ICMP(type=12)]
    return [ICMPv6PacketTooBig(mtu=1400), ICMPv6DestUnreach(), ICMPv6TimeExceeded()]


class TestErrors:
    def about(self, gate: Gate, transport: Packet, *, ours: bool) -> Packet:
        """The packet that an error is about, without its frame."""
        packet = gate.out(transport) if ours else gate.into(transport)
        return packet[1]

    @pytest.mark.parametrize("index", range(3))
    def test_about_a_connection_that_passed_they_pass_from_anywhere(self, gate: Gate, index: int) -> None:
        gate.rules(ingress=[], egress=[allow(FRIEND)])
        error, router = errors(gate.family)[index], gate.family.stranger
        assert gate.sends(gate.out(tcp(40000, 80)))
        assert gate.sends(gate.out(udp(40000, 53)))
        assert gate.sends(gate.out(gate.family.ping(5)))
        for about in (tcp(40000, 80), udp(40000, 53), gate.family.ping(5)):
            assert gate.gets(gate.into(error / self.about(gate, about, ours=True), router))
        assert not gate.gets(gate.into(error / self.about(gate, tcp(40001, 80), ours=True), router))
        assert not gate.gets(gate.into(error / self.about(gate, tcp(80, 40000), ours=False), router))

    def test_a_workload_may_complain_about_what_it_got(self, gate: Gate) -> None:
        gate.rules(ingress=[allow(FRIEND, UDP_NUMBER)], egress=[])
        error = errors(gate.family)[1]
        assert gate.gets(gate.into(udp(40000, 5000)))
        assert gate.sends(gate.out(error / self.about(gate, udp(40000, 5000), ours=False)))
        assert not gate.sends(gate.out(error / self.about(gate, udp(40000, 5001), ours=False)))

    def test_one_that_passed_is_no_door_for_other_icmp(self, gate: Gate) -> None:
        gate.rules(ingress=[], egress=[allow(FRIEND)])
        error = errors(gate.family)[0]
        assert gate.sends(gate.out(tcp(40000, 80)))
        assert gate.gets(gate.into(error / self.about(gate, tcp(40000, 80), ours=True)))
        assert not gate.gets(gate.into(error / Raw(b"too short")))
        assert not gate.gets(gate.into(error / self.about(gate, tcp(40009, 80), ours=True)))

    def test_about_a_connection_that_was_cut_they_are_cut_too(self, gate: Gate) -> None:
        gate.rules(egress=[allow(FRIEND)])
        assert gate.sends(gate.out(tcp(40000, 80)))
        gate.rules(ingress=[], egress=[])
        assert not gate.sends(gate.out(tcp(40000, 80, "A")))
        assert not gate.gets(gate.into(errors(gate.family)[0] / self.about(gate, tcp(40000, 80), ours=True)))


class TestSources:
    def test_an_address_that_the_device_does_not_have_is_dropped_and_counted(self, gate: Gate) -> None:
        gate.isolation = Isolation(0, 0)
        gate.apply(gate.table)
        gate.records()
        before = gate.wire.counter(Counter.SOURCE_INVALID)
        gate.address(gate.family.friend, 200, 7)
        spoofed = gate.family.ip(gate.family.friend, gate.family.stranger) / tcp(40000, 80)
        unknown = gate.family.ip(gate.family.stranger, gate.family.friend) / udp(40000, 80)
        assert not gate.sends(spoofed)
        assert not gate.sends(unknown)
        assert [int(row["reason"]) for row in gate.records()] == [DropReason.INVALID_SOURCE_IP] * 2
        assert gate.wire.counter(Counter.SOURCE_INVALID) == before + 2
        assert gate.sends(gate.out(tcp(40000, 80)))

    def test_not_even_to_the_node(self, gate: Gate) -> None:
        assert not gate.sends(gate.family.ip(gate.family.stranger, gate.family.node) / tcp(40000, 80))

    def test_link_local_and_answers_from_an_address_that_was_asked_are_fine(self, gate: Gate) -> None:
        gate.isolation = Isolation(0, 0)
        gate.apply(gate.table)
        local = "169.254.7.7" if gate.family is V4 else "fe80::7"
        assert gate.sends(gate.family.ip(local, gate.family.friend) / tcp(40000, 80))
        virtual = gate.family.stranger
        assert gate.gets(gate.family.ip(gate.family.friend, virtual) / tcp(40000, 80))
        assert gate.sends(gate.family.ip(virtual, gate.family.friend) / tcp(80, 40000, "SA"))

    def test_no_address_at_all_is_only_for_finding_one(self, gate: Gate) -> None:
        gate.isolation = Isolation(0, 0)
        gate.apply(gate.table)
        nothing = "0.0.0.0" if gate.family is V4 else "::"
        assert not gate.sends(gate.family.ip(nothing, gate.family.friend) / udp(40000, 53))

    def test_unchecked_where_the_setting_says_so(self, gate: Gate) -> None:
        gate.isolation, gate.source_check = Isolation(0, 0), False
        gate.apply(gate.table)
        assert gate.sends(gate.family.ip(gate.family.stranger, gate.family.friend) / tcp(40000, 80))


def fragments(gate: Gate, port: int, number: int) -> tuple[Packet, Packet]:
    """The two halves of a datagram to the workload."""
    head = UDP(sport=40000, dport=port, len=48) / Raw(b"x" * 16)
    if gate.family is V4:
        first = gate.family.ip(gate.family.friend, gate.family.pod, id=number, flags="MF") / head
        return first, gate.family.ip(gate.family.friend, gate.family.pod, id=number, frag=3, proto=17) / Raw(b"y" * 16)
    first = gate.into(IPv6ExtHdrFragment(id=number, m=1) / head)
    return first, gate.into(IPv6ExtHdrFragment(id=number, offset=3, nh=17) / Raw(b"y" * 16))


class TestHardToJudge:
    def test_later_fragments_follow_their_first(self, gate: Gate) -> None:
        gate.rules(ingress=[allow(FRIEND, UDP_NUMBER, 53, 16)])
        first, later = fragments(gate, 53, 1)
        assert gate.gets(first)
        assert gate.gets(later)
        first, later = fragments(gate, 54, 2)
        assert not gate.gets(first)
        assert not gate.gets(later)

    def test_a_later_fragment_of_something_unseen_is_dropped_and_counted(self, gate: Gate) -> None:
        gate.rules(ingress=[allow(FRIEND)])
        before = gate.wire.counter(Counter.POLICY_UNREADABLE)
        _, later = fragments(gate, 53, 3)
        assert not gate.gets(later)
        (row,) = gate.records()
        assert row["reason"] == DropReason.IP_FRAGMENTATION_NOT_SUPPORTED
        assert gate.wire.counter(Counter.POLICY_UNREADABLE) == before + 1
        gate.isolation = Isolation(0, 0)
        gate.apply(gate.table)
        _, later = fragments(gate, 53, 4)
        assert gate.gets(later), "nothing restricts this workload"

    def test_what_cannot_be_read_does_not_get_past_a_ruleset(self, gate: Gate) -> None:
        gate.rules(ingress=[allow(FRIEND)])
        before = gate.wire.counter(Counter.POLICY_UNREADABLE)
        cut = bytes(gate.into(TCP(dport=80)))[:-8]
        body = IPv6ExtHdrDestOpt()
        for _ in range(8):
            body = body / IPv6ExtHdrDestOpt()
        endless = ETHER / IPv6(src=V6.friend, dst=V6.pod) / body / TCP(dport=80)
        for frame in (cut, bytes(endless)):
            assert not gate.gets(Raw(frame))
        assert gate.wire.counter(Counter.POLICY_UNREADABLE) == before + 2
        assert gate.sends(Raw(cut)), "egress is free"

    def test_options_and_extension_headers_hide_no_ports(self, gate: Gate) -> None:
        gate.rules(ingress=[allow(FRIEND, TCP_NUMBER, 80, 16)])
        if gate.family is V4:
            head = gate.family.ip(V4.friend, V4.pod, options=[b"\x01" * 8])
        else:
            head = gate.into(IPv6ExtHdrDestOpt())
        assert gate.gets(head / tcp(40000, 80))
        assert not gate.gets(head / tcp(40000, 81))
