"""Services in XDP: what is sent from there, what is left to TC, and that both write the same bytes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from pyroute2 import IPRoute
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.packet import Packet, Raw

from ebpf import testrun
from ebpf.addresses import pack
from ebpf.constants import Counter, FrontendFlag, NodeFlag, WireMode
from ebpf.xdp import Mode
from tests.bpf.test_uplink_errors import quoted_error
from tests.bpf.uplink_gate import (
    FAMILIES,
    KINDS,
    NEXT,
    NODE_PORT,
    PORT,
    TARGET,
    TC_ACT_REDIRECT,
    V4,
    V6,
    XDP_DROP,
    XDP_PASS,
    XDP_REDIRECT,
    XDP_TX,
    Family,
    Gate,
    frame,
    gate_fixture,
    mended,
    place_fixture,
    raw,
    row,
    segment,
)

__all__ = ["gate_fixture", "place_fixture"]
INSTANT = 0.2  # s, for which an answer of the kernel about the way holds, and some more
pytestmark = pytest.mark.parametrize("gate", ["from_wire"], indirect=True, ids=[""])


def wired(gate: Gate, packet: Packet) -> tuple[int, Packet]:
    """What XDP alone says and makes of a packet; what is left for the neighbours' sake is sent again."""
    verdict, after = gate.run("from_wire", packet)
    if verdict == XDP_PASS and bytes(after) == bytes(packet):
        gate.comes(packet)
        verdict, after = gate.run("from_wire", packet)
    return verdict, after


def ask(family: Family, kind: type[Packet] = TCP, flags: str = "S", sport: int = 40000, **fields: object) -> Packet:
    """A client's packet to the Service with a backend on another machine."""
    inner = segment(kind, sport, PORT, flags)
    return Ether(bytes(frame(family.layer(src=family.client, dst=family.vip, **fields) / inner)))


def answer(family: Family, kind: type[Packet], port: int) -> Packet:
    return frame(family.layer(src=family.there, dst=family.node) / segment(kind, TARGET, port, "SA"))


@KINDS
@FAMILIES
def test_both_directions_of_a_hidden_client_leave_by_the_way_that_the_kernel_names(
    gate: Gate, family: Family, kind: type[Packet]
) -> None:
    own = gate.node.run(hardware, "up")
    before = gate.wire.counter(Counter.XDP_SENT)
    verdict, out = wired(gate, ask(family, kind))
    assert (verdict, out.dst, out.src) == (XDP_REDIRECT, NEXT, own)
    assert (out[family.layer].src, out[family.layer].dst, out[kind].dport) == (family.node, family.there, TARGET)
    verdict, back = wired(gate, answer(family, kind, out[kind].sport))
    assert (verdict, back.dst, back.src) == (XDP_REDIRECT, NEXT, own)
    assert (back[family.layer].src, back[family.layer].dst) == (family.vip, family.client)
    assert (back[kind].sport, back[kind].dport) == (PORT, 40000)
    assert gate.wire.counter(Counter.XDP_SENT) >= before + 2


def hardware(device: str) -> str:
    with IPRoute() as ipr:
        return str(ipr.link("get", ifname=device)[0].get_attr("IFLA_ADDRESS"))


@pytest.fixture(name="port")
def port_fixture(gate: Gate) -> Iterator[int]:
    """The uplink with our program on it, as test runs can then take place there."""
    index = gate.node.run(socket.if_nametoindex, "up")
    gate.node.run(gate.wire.datapath.attach_wire, index, Mode.NATIVE)
    yield index
    gate.node.run(gate.wire.datapath.attach_wire, index, Mode.OFF)


@FAMILIES
def test_what_leaves_where_it_came_from_is_transmitted_there(gate: Gate, family: Family, port: int) -> None:
    mac = gate.node.run(hardware, "up")
    tell_uplink(gate, port, mac=mac)
    packet = ask(family)
    packet.dst = mac
    program = gate.wire.datapath.program("from_wire")
    result = gate.node.run(testrun.run, program, bytes(packet), 1, port)
    out = Ether(result.packet)
    assert (result.verdict, out.src, out.dst) == (XDP_TX, mac, NEXT)
    assert out[family.layer].dst == family.there
    assert bytes(out) == bytes(mended(out))


def tell_uplink(gate: Gate, index: int, wire: WireMode = WireMode.NATIVE, mac: str = "00:00:00:00:00:00") -> None:
    """What the programs know of a device."""
    words = [int.from_bytes(bytes.fromhex(mac.replace(":", ""))[at : at + 2], "little") for at in (0, 2, 4)]
    table = gate.wire.datapath.maps["uplinks"]
    value = row(table.value_dtype, address4=raw(V4.node), address6=raw(V6.node), wire=wire, mac=words)
    table.update(row(table.key_dtype) + index, value)


def variants(family: Family) -> list[Packet]:
    """Packets of one connection with all that may stand between the headers and behind them."""
    head = {"src": family.client, "dst": family.vip}
    bare = family.layer(**head)
    stretched = (
        IP(**head, options=[IPOption(b"\x01")] * 8)
        if family is V4
        else IPv6(**head) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt()
    )
    options = [("MSS", 1460), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)]
    tcp = TCP(sport=40000, dport=PORT, flags="A", options=options)
    silent = UDP(sport=40000, dport=PORT, chksum=0)
    return [
        *(one / inner for one in (bare, stretched) for inner in (tcp / Raw(b"odd"), tcp, segment(UDP, 40000, PORT))),
        *([bare / silent / Raw(b"no checksum")] if family is V4 else []),
        bare / UDP(sport=40000, dport=PORT) / Raw(bytes(1400)),
        bare / UDP(sport=40000, dport=PORT),
    ]


@FAMILIES
def test_xdp_and_tc_write_the_same_bytes(gate: Gate, family: Family) -> None:
    for kind in (TCP, UDP):
        assert wired(gate, ask(family, kind))[0] == XDP_REDIRECT
    for each in variants(family):
        packet = Ether(bytes(frame(each)))
        verdict, by_tc = gate.run("from_network", packet)
        assert verdict == TC_ACT_REDIRECT
        verdict, by_xdp = wired(gate, packet)
        assert verdict == XDP_REDIRECT
        assert bytes(by_xdp)[12:] == bytes(by_tc)[12:], packet.summary()


def test_a_datagram_without_checksum_gets_none_and_one_that_sums_to_nothing_is_not_without(gate: Gate) -> None:
    """Of all payloads of two bytes one sums to 0, which says the opposite."""
    silent = frame(IP(src=V4.client, dst=V4.vip) / UDP(sport=41000, dport=PORT, chksum=0) / Raw(b"xx"))
    assert wired(gate, silent)[1][UDP].chksum == 0
    _, first = wired(gate, frame(IP(src=V4.client, dst=V4.vip) / UDP(sport=12000, dport=PORT) / Raw(b"\0\0")))
    head = IP(src=V4.client, dst=V4.vip) / UDP(sport=12000, dport=PORT)
    word = first[UDP].chksum.to_bytes(2)
    verdict, out = wired(gate, frame(head / Raw(word)))
    assert (verdict, out[UDP].chksum) == (XDP_REDIRECT, 0xFFFF)


@KINDS
@FAMILIES
def test_what_ends_on_this_node_is_opened_once_and_left_as_it_is(
    gate: Gate, family: Family, kind: type[Packet]
) -> None:
    opened, left = gate.wire.counter(Counter.OUTSIDE_OPENED), gate.wire.counter(Counter.XDP_LEFT)
    gate.reasons()
    for target, port in ((family.local_vip, PORT), (family.node, NODE_PORT), (family.host, PORT)):
        packet = Ether(bytes(frame(family.layer(src=family.client, dst=target) / segment(kind, 40000, port))))
        assert gate.run("from_wire", packet) == (XDP_PASS, packet)
        gate.run("from_network", packet)
    assert gate.wire.counter(Counter.OUTSIDE_OPENED) == opened + 3
    assert gate.wire.counter(Counter.XDP_LEFT) == left + 3
    assert len(gate.reasons()) == 3
    assert gate.table.items()[1]["packets"].sum() == 3


@FAMILIES
def test_a_backend_that_xdp_drew_is_the_one_that_tc_sends_to(gate: Gate, family: Family) -> None:
    """Half of the backends are of this node: drawn twice, those of others would get three of four."""
    last = 244 if family is V4 else 6
    gate.serve(family.vip, 300 + last, [family.here, family.there], FrontendFlag.LOAD_BALANCER)
    found = [gate.comes(ask(family, sport=20000 + one))[1][family.layer].dst for one in range(400)]
    assert 130 < found.count(family.there) < 270


def strange(family: Family) -> dict[str, Packet]:
    """Frames that XDP does not touch, though some are of Services."""
    head, inner = family.layer(src=family.client, dst=family.vip), segment(TCP, 40000, PORT)
    ethernet = Ether(src="02:00:00:00:00:01", dst="00:00:00:00:00:00")
    return {
        "another machine's": Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:99") / head / inner,
        "a broadcast": Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff") / head / inner,
        "a VLAN's": ethernet / Dot1Q(vlan=7) / head / inner,
        "two VLANs'": ethernet / Dot1AD(vlan=7) / Dot1Q(vlan=8) / head / inner,
        "a first fragment": frame(IP(src=V4.client, dst=V4.vip, flags="MF") / segment(UDP, 40000, PORT)),
        "SCTP": frame(head / SCTP(sport=40000, dport=PORT) / SCTPChunkInit()),
        "a ping": frame(IP(src=V4.client, dst=V4.node) / ICMP()),
        "not IP": ethernet / ARP(),
        "cut off": Ether(bytes(frame(head / inner))[:30]),
        "for no Service": frame(family.layer(src=family.client, dst=family.node) / segment(TCP, 40000, 22)),
        "of no connection": frame(head / segment(TCP, 40000, PORT, "A")),
    }


@FAMILIES
@pytest.mark.parametrize("name", strange(V4))
def test_what_is_rare_or_not_for_us_is_left_as_it_is_and_leaves_no_trace(gate: Gate, family: Family, name: str) -> None:
    packet = bytes(strange(family)[name])
    result = gate.node.run(testrun.run, gate.wire.datapath.program("from_wire"), packet)
    assert (result.verdict, result.packet) == (XDP_PASS, packet)
    assert not len(gate.table.items()[0])
    assert not gate.reasons()


@FAMILIES
def test_where_it_is_not_asked_for_nothing_is_touched(gate: Gate, family: Family) -> None:
    gate.wire.datapath.tell_flags(NodeFlag(0))
    assert gate.run("from_wire", ask(family)) == (XDP_PASS, ask(family))
    assert not len(gate.table.items()[0])


def change_neighbour(family: Family, do: str) -> None:
    with IPRoute() as ipr:
        dst, index = ("198.18.0.20" if family is V4 else "2001:db8:18::20"), ipr.link_lookup(ifname="up")[0]
        ipr.neigh(do, dst=dst, ifindex=index, **({} if do == "del" else {"lladdr": NEXT, "state": 0x80}))


@FAMILIES
def test_a_neighbour_that_is_yet_to_be_asked_for_is_left_to_the_kernel(gate: Gate, family: Family) -> None:
    gate.node.run(change_neighbour, family, "del")
    time.sleep(INSTANT)
    try:
        assert gate.run("from_wire", ask(family)) == (XDP_PASS, ask(family))
        assert gate.run("from_network", ask(family))[0] == TC_ACT_REDIRECT
    finally:
        gate.node.run(change_neighbour, family, "add")
    assert wired(gate, ask(family))[0] == XDP_REDIRECT
    assert len(gate.table.items()[0]) == 2, "it was opened once"


@pytest.mark.parametrize("mode", [WireMode.OFF, WireMode.GENERIC])
def test_a_device_without_xdp_or_with_the_other_mode_gets_nothing_from_it(gate: Gate, mode: WireMode) -> None:
    tell_uplink(gate, gate.node.run(socket.if_nametoindex, "up"), mode)
    assert gate.run("from_wire", ask(V4)) == (XDP_PASS, ask(V4))
    assert gate.run("from_network", ask(V4))[0] == TC_ACT_REDIRECT


@FAMILIES
def test_now_and_then_a_packet_goes_by_the_kernels_table_of_neighbours(gate: Gate, family: Family) -> None:
    assert gate.comes(ask(family))[0] == TC_ACT_REDIRECT
    keys, values = gate.table.items()
    values["last"] -= 9_000_000_000
    gate.table.update(keys, values)
    later = ask(family, flags="A")
    assert gate.run("from_wire", later) == (XDP_PASS, later)
    gate.run("from_network", later)
    assert wired(gate, later)[0] == XDP_REDIRECT


@FAMILIES
def test_who_asks_an_empty_service_is_told_from_the_device_itself(gate: Gate, family: Family) -> None:
    head = family.layer(src=family.client, dst=family.empty)
    for inner, layer in (
        (TCP(sport=9, dport=PORT, flags="S"), TCP),
        (UDP(sport=9, dport=PORT), family.error),
        (UDP(sport=9, dport=PORT) / Raw(bytes(1400)), family.error),
    ):
        packet = Ether(bytes(frame(head / inner)))
        verdict, told = gate.run("from_wire", packet)
        assert (verdict, told.src, told.dst) == (XDP_TX, packet.dst, packet.src)
        assert told[family.layer].dst == family.client
        assert layer in told


@FAMILIES
def test_who_may_not_come_is_dropped(gate: Gate, family: Family) -> None:
    for target, counter in ((family.dropped, Counter.SERVICE_DROPPED), (family.ranged, Counter.SOURCE_RANGE)):
        before = gate.wire.counter(counter)
        packet = frame(family.layer(src=family.client, dst=target) / segment(TCP, 9, PORT))
        assert gate.run("from_wire", packet)[0] == XDP_DROP
        assert gate.wire.counter(counter) == before + 1
    spent = {"ttl" if family is V4 else "hlim": 1}
    assert wired(gate, ask(family, **spent))[0] == XDP_DROP


@KINDS
@FAMILIES
def test_errors_about_both_directions_are_translated_and_sent_on(
    gate: Gate, family: Family, kind: type[Packet]
) -> None:
    _, out = wired(gate, ask(family, kind))
    error = quoted_error(family, out[family.layer], src=family.router, dst=family.node)
    verdict, told = gate.run("from_wire", error)
    assert (verdict, told[family.layer].src, told[family.layer].dst) == (XDP_REDIRECT, family.vip, family.client)
    _, back = wired(gate, answer(family, kind, out[kind].sport))
    error = quoted_error(family, back[family.layer], src=family.router, dst=family.vip)
    verdict, told = gate.run("from_wire", error)
    assert (verdict, told[family.layer].src, told[family.layer].dst) == (XDP_REDIRECT, family.node, family.there)


@KINDS
@FAMILIES
def test_the_frontend_is_told_to_a_backend_that_answers_directly(
    gate: Gate, family: Family, kind: type[Packet]
) -> None:
    gate.put("addresses", {"addr": raw(family.there)}, workload=71)
    gate.tell_flags(NodeFlag.DIRECT_TCP | NodeFlag.DIRECT_UDP)
    verdict, out = wired(gate, ask(family, kind))
    room = 8 if family is V4 else 24
    assert (verdict, out.dst, len(out)) == (XDP_REDIRECT, NEXT, len(ask(family, kind)) + room)
    assert pack(family.vip)[-4 if family is V4 else 0 :] in bytes(out)[34:80]
    assert gate.run("from_network", ask(family, kind))[1][family.layer] == out[family.layer]


def resize(mtu: int) -> None:
    with IPRoute() as ipr:
        ipr.link("set", index=ipr.link_lookup(ifname="up")[0], mtu=mtu)


@FAMILIES
def test_what_the_way_on_does_not_take_is_left_and_frames_of_several_buffers_are_sent(
    gate: Gate, family: Family
) -> None:
    head = family.layer(src=family.client, dst=family.vip) / UDP(sport=40000, dport=PORT)
    packet = Ether(bytes(frame(head / Raw(bytes(1500)))))
    assert gate.run("from_wire", packet) == (XDP_PASS, packet)
    verdict, told = gate.run("from_network", packet)
    assert (verdict, told[family.layer].dst) == (TC_ACT_REDIRECT, family.client)
    packet = Ether(bytes(frame(head / Raw(bytes(range(256)) * 30))))
    gate.node.run(resize, 9000)
    try:
        verdict, out = wired(gate, packet)
        assert (verdict, len(out), out[family.layer].dst) == (XDP_REDIRECT, len(packet), family.there)
    finally:
        gate.node.run(resize, 1500)
