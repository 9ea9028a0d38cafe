"""Services per packet: what goes out is sent to a backend, what comes back has the frontend's address again."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPerror6, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData, SCTPChunkInit, SCTPChunkInitAck
from scapy.packet import Packet, Raw

from ebpf import addresses, testrun
from ebpf.constants import Counter, DropReason, FrontendFlag, Verdict
from tests.bpf.conftest import EVERYTHING, TC_ACT_UNSPEC, Wire

TC_ACT_SHOT = 2
TC_ACT_REDIRECT = 7
CLIENT, VIP, BACKENDS = "10.0.0.1", "10.96.0.20", ("10.0.1.1", "10.0.1.2", "10.0.1.3")
CLIENT6, VIP6, BACKENDS6 = "fd00::1", "fd00:96::20", ("fd00:1::1", "fd00:1::2", "fd00:1::3")
EMPTY, EMPTY6, LOCAL = "10.96.0.99", "fd00:96::99", "10.96.0.98"
PORT, TARGET = 80, 8080
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def network(port: int) -> int:
    return int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)


@pytest.fixture
def services(wire: Wire) -> Iterator[Wire]:
    """A Service of two families, one without endpoints, and one that its policy leaves without."""
    slots, frontends = wire.datapath.maps["backends"], wire.datapath.maps["services"]
    for number, vip, backends, flags in (
        (1, VIP, BACKENDS, FrontendFlag.CLUSTER_IP),
        (2, VIP6, BACKENDS6, FrontendFlag.CLUSTER_IP),
        (3, EMPTY, (), FrontendFlag.CLUSTER_IP),
        (5, EMPTY6, (), FrontendFlag.CLUSTER_IP),
        (4, LOCAL, (), FrontendFlag.CLUSTER_IP | FrontendFlag.DROP),
    ):
        for slot, backend in enumerate(backends):
            key, value = np.zeros(1, slots.key_dtype), np.zeros(1, slots.value_dtype)
            key["service"], key["slot"] = number, slot
            value["addr"], value["port"] = np.frombuffer(addresses.pack(backend), np.uint32), network(TARGET)
            slots.update(key, value)
        for proto in (6, 17):
            key, value = np.zeros(1, frontends.key_dtype), np.zeros(1, frontends.value_dtype)
            key["addr"], key["port"] = np.frombuffer(addresses.pack(vip), np.uint32), network(PORT)
            key["proto"] = proto
            value["service"], value["backends"], value["flags"] = number, len(backends), flags
            frontends.update(key, value)
    yield wire
    for name in ("services", "backends", "detours"):
        table = wire.datapath.maps[name]
        table.delete(table.items()[0])


def through(wire: Wire, program: str, packet: Packet) -> Packet:
    """What comes out of a program; it must have passed."""
    result = testrun.run(wire.datapath.program(program), bytes(packet))
    assert result.verdict == TC_ACT_UNSPEC
    return Ether(result.packet)


def mended(packet: Packet) -> Packet:
    """The same packet with all checksums computed anew."""
    fresh = packet.copy()
    for layer, field in (
        (IP, "chksum"),
        (TCP, "chksum"),
        (UDP, "chksum"),
        (ICMP, "chksum"),
        (ICMPv6DestUnreach, "cksum"),
    ):
        if layer in fresh:
            delattr(fresh[layer], field)
    return Ether(bytes(fresh))


TRANSPORTS = {
    "TCP": TCP(sport=40000, dport=PORT, flags="S"),
    "TCP with options": TCP(sport=40000, dport=PORT, flags="S", options=[("MSS", 1460), ("WScale", 7)]),
    "UDP": UDP(sport=40000, dport=PORT) / Raw(b"payload"),
    "UDP of odd length": UDP(sport=40000, dport=PORT) / Raw(b"x"),
}
NETWORKS = {
    "IPv4": (ETHER / IP(src=CLIENT, dst=VIP), BACKENDS),
    "IPv4 in a VLAN": (ETHER / Dot1Q(vlan=9) / IP(src=CLIENT, dst=VIP), BACKENDS),
    "IPv4 with options": (ETHER / IP(src=CLIENT, dst=VIP, options=[b"\x01" * 8]), BACKENDS),
    "IPv6": (ETHER / IPv6(src=CLIENT6, dst=VIP6), BACKENDS6),
    "IPv6 with extension": (ETHER / IPv6(src=CLIENT6, dst=VIP6) / IPv6ExtHdrDestOpt(), BACKENDS6),
}


def network_of(packet: Packet) -> Packet:
    return packet[IP] if IP in packet else packet[IPv6]


@pytest.mark.parametrize("transport", TRANSPORTS.values(), ids=TRANSPORTS.keys())
@pytest.mark.parametrize(("head", "backends"), NETWORKS.values(), ids=NETWORKS.keys())
def test_a_packet_to_a_frontend_goes_to_a_backend_and_its_answer_comes_from_the_frontend(
    services: Wire, head: Packet, backends: tuple[str, ...], transport: Packet
) -> None:
    kind = type(transport)
    out = through(services, "from_endpoint", head / transport)
    assert network_of(out).dst in backends
    assert network_of(out).src == network_of(head).src
    assert (out[kind].sport, out[kind].dport) == (40000, TARGET)
    assert bytes(out) == bytes(mended(out)), "a checksum is wrong"

    answer = TCP(sport=TARGET, dport=40000, flags="SA") if kind is TCP else UDP(sport=TARGET, dport=40000) / Raw(b"ok")
    layer = IP if IP in head else IPv6
    back = through(services, "to_endpoint", ETHER / layer(src=network_of(out).dst, dst=network_of(head).src) / answer)
    assert network_of(back).src == network_of(head).dst
    assert (back[kind].sport, back[kind].dport) == (PORT, 40000)
    assert bytes(back) == bytes(mended(back)), "a checksum is wrong"


def test_a_port_that_was_refused_is_led_to_a_backend_once_there_is_one(services: Wire) -> None:
    head = ETHER / IP(src=CLIENT, dst=EMPTY)
    packet = head / TCP(sport=40050, dport=PORT, flags="S")
    refusal = testrun.run(services.datapath.program("from_endpoint"), bytes(packet))
    assert Ether(refusal.packet)[TCP].flags == "RA"
    testrun.run(services.datapath.program("to_endpoint"), refusal.packet)
    table = services.datapath.maps["services"]
    keys, values = table.items()
    empty = (keys["addr"] == np.frombuffer(addresses.pack(EMPTY), np.uint32)).all(axis=1)
    served = values[empty].copy()
    served["service"], served["backends"] = 1, len(BACKENDS)
    table.update(keys[empty], served)
    ways = [
        through(services, "from_endpoint", head / TCP(sport=40050, dport=PORT, flags=flags))[IP].dst
        for flags in ("S", "A", "PA")
    ]
    assert ways[0] in BACKENDS
    assert set(ways) == {ways[0]}


def serve_sctp(wire: Wire, port: int, target: int) -> None:
    """The IPv4 Service's one backend for SCTP."""
    slots, frontends = wire.datapath.maps["backends"], wire.datapath.maps["services"]
    key, value = np.zeros(1, slots.key_dtype), np.zeros(1, slots.value_dtype)
    key["service"], value["port"] = 9, network(target)
    value["addr"] = np.frombuffer(addresses.pack(BACKENDS[0]), np.uint32)
    slots.update(key, value)
    key, value = np.zeros(1, frontends.key_dtype), np.zeros(1, frontends.value_dtype)
    key["addr"], key["port"] = np.frombuffer(addresses.pack(VIP), np.uint32), network(port)
    key["proto"], value["service"], value["backends"], value["flags"] = 132, 9, 1, FrontendFlag.CLUSTER_IP
    frontends.update(key, value)


def test_sctp_goes_to_a_backend_of_the_same_port_with_its_checksum_as_it_was(services: Wire) -> None:
    serve_sctp(services, PORT, PORT)
    there, back = IP(src=CLIENT, dst=VIP), IP(src=BACKENDS[0], dst=CLIENT)
    init = Ether(bytes(ETHER / there / SCTP(sport=40000, dport=PORT) / SCTPChunkInit()))
    out = through(services, "from_endpoint", init)
    assert (out[IP].src, out[IP].dst) == (CLIENT, BACKENDS[0])
    assert bytes(out[SCTP]) == bytes(init[SCTP])
    answer = Ether(bytes(ETHER / back / SCTP(sport=PORT, dport=40000) / SCTPChunkInitAck()))
    assert through(services, "to_endpoint", answer)[IP].src == VIP
    data = ETHER / there / SCTP(sport=40000, dport=PORT) / SCTPChunkData(data=b"x")
    assert through(services, "from_endpoint", data)[IP].dst == BACKENDS[0]
    stray = ETHER / there / SCTP(sport=40001, dport=PORT) / SCTPChunkData(data=b"x")
    assert through(services, "from_endpoint", stray)[IP].dst == VIP, "it is of no association that began here"


def test_sctp_to_a_backend_of_another_port_is_refused(services: Wire) -> None:
    serve_sctp(services, PORT, TARGET)
    packet = ETHER / IP(src=CLIENT, dst=VIP) / SCTP(sport=40000, dport=PORT) / SCTPChunkInit()
    result = testrun.run(services.datapath.program("from_endpoint"), bytes(packet))
    assert result.verdict == TC_ACT_REDIRECT
    assert (Ether(result.packet)[ICMP].type, Ether(result.packet)[ICMP].code) == (3, 3)


def test_udp_without_checksum_keeps_none(services: Wire) -> None:
    packet = ETHER / IP(src=CLIENT, dst=VIP) / UDP(sport=1, dport=PORT, chksum=0) / Raw(b"x")
    assert through(services, "from_endpoint", packet)[UDP].chksum == 0


def test_all_packets_of_a_connection_go_to_one_backend(services: Wire) -> None:
    def send(flags: str) -> str:
        packet = ETHER / IP(src=CLIENT, dst=VIP) / TCP(sport=40001, dport=PORT, flags=flags)
        return str(through(services, "from_endpoint", packet)[IP].dst)

    assert len({send("S"), *(send("A") for _ in range(50))}) == 1


def test_new_connections_are_spread_over_the_backends(services: Wire) -> None:
    seen = {
        through(services, "from_endpoint", ETHER / IP(src=CLIENT, dst=VIP) / TCP(sport=port, dport=PORT, flags="S"))[
            IP
        ].dst
        for port in range(2000, 2100)
    }
    assert seen == set(BACKENDS)


def test_udp_leaves_a_backend_that_is_gone_and_tcp_stays(services: Wire) -> None:
    slots, frontends = services.datapath.maps["backends"], services.datapath.maps["services"]

    def send(transport: Packet) -> str:
        return str(through(services, "from_endpoint", ETHER / IP(src=CLIENT, dst=VIP) / transport)[IP].dst)

    udp = UDP(sport=40002, dport=PORT) / Raw(b"x")
    before = {"udp": send(udp), "tcp": send(TCP(sport=40002, dport=PORT, flags="S"))}
    keys, values = frontends.items()
    ours = values["service"] == 1
    fewer = values[ours].copy()
    fewer["backends"] = 1
    survivor = next(backend for backend in BACKENDS if backend not in before.values())
    key, value = np.zeros(1, slots.key_dtype), np.zeros(1, slots.value_dtype)
    key["service"] = 1
    value["addr"], value["port"] = np.frombuffer(addresses.pack(survivor), np.uint32), network(TARGET)
    slots.update(key, value)
    frontends.update(keys[ours], fewer)
    assert send(udp) == survivor
    assert send(TCP(sport=40002, dport=PORT, flags="A")) == before["tcp"]


def test_what_a_policy_leaves_without_backends_is_dropped_with_a_record(services: Wire) -> None:
    packet = ETHER / IP(src=CLIENT, dst=LOCAL) / TCP(sport=40000, dport=PORT, flags="S")
    result = testrun.run(services.datapath.program("from_endpoint"), bytes(packet))
    assert result.verdict == TC_ACT_SHOT
    (row,) = services.flows.rows(services.datapath.flow_dtype, EVERYTHING)
    assert (row["verdict"], row["reason"]) == (Verdict.DROPPED, DropReason.SERVICE_BACKEND_NOT_FOUND)


@pytest.mark.parametrize("network", [IP(src=CLIENT, dst=EMPTY), IPv6(src=CLIENT6, dst=EMPTY6)], ids=["IPv4", "IPv6"])
def test_a_service_without_endpoints_answers_with_a_reset(services: Wire, network: Packet) -> None:
    syn = TCP(sport=40000, dport=PORT, flags="S", seq=12345, options=[("MSS", 1460)])
    result = testrun.run(services.datapath.program("from_endpoint"), bytes(ETHER / network / syn))
    assert result.verdict == TC_ACT_REDIRECT
    reset = Ether(result.packet)
    assert (reset.src, reset.dst) == (ETHER.dst, ETHER.src)
    assert (network_of(reset).src, network_of(reset).dst) == (network.dst, network.src)
    assert (reset[TCP].sport, reset[TCP].dport) == (PORT, 40000)
    assert (reset[TCP].flags, reset[TCP].seq, reset[TCP].ack) == ("RA", 0, 12346)
    assert bytes(reset) == bytes(mended(reset)), "a checksum is wrong"
    (row,) = services.flows.rows(services.datapath.flow_dtype, EVERYTHING)
    assert (row["verdict"], row["reason"]) == (Verdict.DROPPED, DropReason.SERVICE_BACKEND_NOT_FOUND)


@pytest.mark.parametrize("network", [IP(src=CLIENT, dst=EMPTY), IPv6(src=CLIENT6, dst=EMPTY6)], ids=["IPv4", "IPv6"])
def test_a_datagram_to_a_service_without_endpoints_is_answered_with_port_unreachable(
    services: Wire, network: Packet
) -> None:
    sent = Ether(bytes(ETHER / network / UDP(sport=40000, dport=PORT) / Raw(b"some bytes")))
    result = testrun.run(services.datapath.program("from_endpoint"), bytes(sent))
    assert result.verdict == TC_ACT_REDIRECT
    error = Ether(result.packet)
    assert (error.src, error.dst) == (ETHER.dst, ETHER.src)
    assert (network_of(error).src, network_of(error).dst) == (network.dst, network.src)
    if ICMP in error:
        assert (error[ICMP].type, error[ICMP].code) == (3, 3)
        quoted = bytes(error[ICMP].payload)
    else:
        assert error[ICMPv6DestUnreach].code == 4
        quoted = bytes(error[ICMPv6DestUnreach].payload)
    assert quoted == bytes(network_of(sent))[: len(quoted)]
    assert len(quoted) == len(bytes(network)) + 8, "the IP header and the ports"
    assert bytes(error) == bytes(mended(error)), "a checksum is wrong"
    (row,) = services.flows.rows(services.datapath.flow_dtype, EVERYTHING)
    assert (row["verdict"], row["reason"]) == (Verdict.DROPPED, DropReason.SERVICE_BACKEND_NOT_FOUND)


def test_records_tell_the_backend_and_the_service(services: Wire) -> None:
    through(services, "from_endpoint", ETHER / IP(src=CLIENT, dst=VIP) / TCP(sport=40003, dport=PORT, flags="S"))
    (row,) = services.flows.rows(services.datapath.flow_dtype, EVERYTHING)
    assert addresses.text(row["dst"].tobytes()) in BACKENDS
    assert (row["dst_port"], row["service"]) == (TARGET, 1)


def test_a_packet_in_the_middle_of_an_unknown_connection_is_left_alone(services: Wire) -> None:
    before = services.counter(Counter.TRANSLATED)
    packet = ETHER / IP(src=CLIENT, dst=VIP) / TCP(sport=40004, dport=PORT, flags="A")
    assert through(services, "from_endpoint", packet)[IP].dst == VIP
    assert services.counter(Counter.TRANSLATED) == before


@pytest.mark.parametrize(
    ("network", "error", "quote"),
    [
        (IP(src=CLIENT, dst=VIP), ICMP(type=3, code=4, nexthopmtu=1400), 28),
        (IPv6(src=CLIENT6, dst=VIP6), ICMPv6PacketTooBig(mtu=1400), 48),
    ],
    ids=["IPv4", "IPv6"],
)
@pytest.mark.parametrize("transport", [TCP(sport=40010, dport=PORT, flags="S"), UDP(sport=40010, dport=PORT)])
def test_errors_about_translated_packets_speak_of_what_their_receiver_knows(
    services: Wire, network: Packet, error: Packet, quote: int, transport: Packet
) -> None:
    layer = type(network)
    out = through(services, "from_endpoint", ETHER / network / transport)
    backend = network_of(out).dst
    quoted = Raw(bytes(network_of(out))[:quote])
    for reporter, seen in (("192.0.2.1" if layer is IP else "2001:db8::1", None), (backend, network.dst)):
        told = through(services, "to_endpoint", ETHER / layer(src=reporter, dst=network.src) / error / quoted)
        assert network_of(told).src == (seen or reporter)
        inner = told[IPerror if layer is IP else IPerror6]
        assert (inner.src, inner.dst) == (network.src, network.dst)
        assert (inner.payload.sport, inner.payload.dport) == (40010, PORT)
        assert bytes(told) == bytes(mended(told)), "a checksum is wrong"

    kind = TCP(sport=TARGET, dport=40010, flags="SA") if TCP in transport else UDP(sport=TARGET, dport=40010)
    answer = ETHER / layer(src=backend, dst=network.src) / kind
    back = through(services, "to_endpoint", answer)
    quoted = Raw(bytes(network_of(back))[:quote])
    sent = through(services, "from_endpoint", ETHER / layer(src=network.src, dst=network.dst) / error / quoted)
    assert network_of(sent).dst == backend
    inner = sent[IPerror if layer is IP else IPerror6]
    assert (inner.src, inner.dst) == (backend, network.src)
    assert (inner.payload.sport, inner.payload.dport) == (TARGET, 40010)
    assert bytes(sent) == bytes(mended(sent)), "a checksum is wrong"
