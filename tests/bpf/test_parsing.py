"""What from_endpoint reads of a packet, for each header that it knows."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_Router_Alert, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkAbort, SCTPChunkInit
from scapy.packet import Packet, Raw

from ebpf import addresses
from ebpf.constants import Counter, Direction, EventKind, Mark, Point, Verdict
from tests.bpf.conftest import Wire

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = IP(src="10.0.0.1", dst="10.0.0.2")
V6 = IPv6(src="fd00::1", dst="fd00::2")
SYN = TCP(sport=40000, dport=80, flags="S")


def ends(row) -> tuple[str, int, str, int]:  # type: ignore[no-untyped-def]
    """Source and destination of a record as text and port."""
    return (
        addresses.text(row["src"].tobytes()),
        int(row["src_port"]),
        addresses.text(row["dst"].tobytes()),
        int(row["dst_port"]),
    )


NETWORKS = {
    "IPv4": V4,
    "IPv4 options": IP(src="10.0.0.1", dst="10.0.0.2", options=[IPOption_NOP()] * 4),
    "IPv4 with all 40 option bytes": IP(src="10.0.0.1", dst="10.0.0.2", options=[IPOption_Router_Alert()] * 10),
    "IPv6": V6,
    "IPv6 hop by hop": V6 / IPv6ExtHdrHopByHop(),
    "IPv6 three headers": V6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(),
    "IPv6 atomic fragment": V6 / IPv6ExtHdrFragment(offset=0, m=0),
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
def test_a_tcp_syn_is_read_behind_every_network_header(wire: Wire, network: Packet) -> None:
    family, source, destination = (4, "10.0.0.1", "10.0.0.2") if isinstance(network, IP) else (6, "fd00::1", "fd00::2")
    (row,) = wire.sends(ETHER / network / SYN)
    assert ends(row) == (source, 40000, destination, 80)
    assert (row["family"], row["proto"], row["tcp_flags"]) == (family, 6, 2)
    assert (row["kind"], row["verdict"], row["point"]) == (EventKind.NEW, Verdict.FORWARDED, Point.TO_STACK)
    assert row["src_mac"].tobytes().hex() == "020000000001"
    assert row["dst_mac"].tobytes().hex() == "020000000002"


@pytest.mark.parametrize("tags", [Dot1Q(vlan=5), Dot1AD(vlan=7) / Dot1Q(vlan=5)], ids=["802.1Q", "802.1ad"])
def test_vlan_tags_are_looked_behind_and_marked(wire: Wire, tags: Packet) -> None:
    (row,) = wire.sends(ETHER / tags / V4 / SYN)
    assert ends(row) == ("10.0.0.1", 40000, "10.0.0.2", 80)
    assert row["marks"] & Mark.VLAN


@pytest.mark.parametrize(
    ("transport", "proto"), [(UDP(sport=5000, dport=6000), 17), (SCTP(sport=5000, dport=6000), 132)]
)
def test_ports_of_udp_and_sctp_are_read(wire: Wire, transport: Packet, proto: int) -> None:
    (row,) = wire.sends(ETHER / V4 / transport / Raw(b"x" * 20))
    assert (*ends(row), row["proto"]) == ("10.0.0.1", 5000, "10.0.0.2", 6000, proto)


@pytest.mark.parametrize("chunk", [SCTPChunkInit(), SCTPChunkAbort()], ids=["INIT", "ABORT"])
def test_the_first_chunk_of_sctp_has_its_type(wire: Wire, chunk: Packet) -> None:
    (row,) = wire.sends(ETHER / V4 / SCTP(sport=5000, dport=6000) / chunk)
    assert (row["icmp_type"], row["icmp_code"]) == (chunk.type, 0)


@pytest.mark.parametrize(
    ("packet", "kind", "code"),
    [(V4 / ICMP(type=8, id=77), 8, 0), (V4 / ICMP(type=3, code=4), 3, 4), (V6 / ICMPv6EchoRequest(id=77), 128, 0)],
)
def test_icmp_has_type_and_code_and_no_ports(wire: Wire, packet: Packet, kind: int, code: int) -> None:
    (row,) = wire.sends(ETHER / packet)
    assert (row["icmp_type"], row["icmp_code"], row["src_port"], row["dst_port"]) == (kind, code, 0, 0)


def test_pings_with_different_identifiers_are_different_connections(wire: Wire) -> None:
    wire.sends(ETHER / V4 / ICMP(type=8, id=1))
    wire.sends(ETHER / V4 / ICMP(type=8, id=2))
    wire.receives(ETHER / IP(src="10.0.0.2", dst="10.0.0.1") / ICMP(type=0, id=1))
    assert len(wire.connections()[0]) == 2


@pytest.mark.parametrize("version", [4, 6])
def test_later_fragments_get_the_ports_of_the_first(wire: Wire, version: int) -> None:
    datagram = UDP(sport=5000, dport=6000) / Raw(b"x" * 3000)
    if version == 4:
        pieces = fragment(V4 / datagram, fragsize=1000)
    else:
        pieces = fragment6(V6 / IPv6ExtHdrFragment(id=9) / datagram, 1000)
    assert len(pieces) >= 3
    for piece in pieces:
        wire.sends(ETHER / piece)
    keys, values = wire.connections()
    assert len(keys) == 1
    assert (int(keys["local_port"][0]), int(keys["remote_port"][0])) == (5000, 6000)
    assert int(values["out"]["packets"][0]) == len(pieces)


def test_a_later_fragment_without_its_first_is_marked_and_counted(wire: Wire) -> None:
    before = wire.counter(Counter.FRAGMENT_UNKNOWN)
    last = fragment(V4 / UDP(sport=5000, dport=6000) / Raw(b"x" * 3000), fragsize=1000)[-1]
    (row,) = wire.sends(ETHER / last)
    assert row["marks"] & Mark.NO_PORTS
    assert row["marks"] & Mark.FRAGMENT
    assert wire.counter(Counter.FRAGMENT_UNKNOWN) == before + 1


def test_arp_passes_uncounted_as_a_flow(wire: Wire) -> None:
    before = wire.counter(Counter.NOT_IP)
    assert len(wire.sends(ETHER / ARP())) == 0
    assert wire.counter(Counter.NOT_IP) == before + 1


@pytest.mark.parametrize("length", range(34, 54))
def test_a_packet_cut_off_in_a_header_passes_and_is_counted(wire: Wire, length: int) -> None:
    before = wire.counter(Counter.TRUNCATED)
    whole = bytes(ETHER / V4 / SYN)
    assert len(whole) == 54
    rows = wire.sends(whole[:length])
    assert len(rows) == (1 if length >= 50 else 0)  # 16 bytes of TCP are read, up to the window
    assert wire.counter(Counter.TRUNCATED) == before + (0 if length >= 50 else 1)


def test_more_extension_headers_than_are_followed_pass_and_are_counted(wire: Wire) -> None:
    before = wire.counter(Counter.EXTENSION_LIMIT)
    packet = V6
    for _ in range(9):
        packet = packet / IPv6ExtHdrDestOpt()
    assert len(wire.sends(ETHER / packet / SYN)) == 0
    assert wire.counter(Counter.EXTENSION_LIMIT) == before + 1


def test_direction_is_told_from_the_workload(wire: Wire) -> None:
    (sent,) = wire.sends(ETHER / V4 / SYN)
    (received,) = wire.receives(ETHER / IP(src="10.9.9.9", dst="10.0.0.1") / SYN)
    assert (sent["direction"], sent["point"]) == (Direction.EGRESS, Point.TO_STACK)
    assert (received["direction"], received["point"]) == (Direction.INGRESS, Point.TO_ENDPOINT)
