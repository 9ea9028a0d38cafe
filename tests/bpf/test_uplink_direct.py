"""Direct server return, packet by packet: what the client's node writes, and what the backend's node makes of it."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption
from scapy.layers.inet6 import IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ebpf import addresses, testrun
from ebpf.constants import Counter, NodeFlag, TranslationMark
from tests.bpf.conftest import TC_ACT_UNSPEC
from tests.bpf.uplink_gate import (
    AS_TC,
    FAMILIES,
    KINDS,
    NODE_PORT,
    PORT,
    TARGET,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    V4,
    Family,
    Gate,
    frame,
    gate_fixture,
    place_fixture,
    raw,
    segment,
)

__all__ = ["gate_fixture", "place_fixture"]

BOTH = NodeFlag.DIRECT_TCP | NodeFlag.DIRECT_UDP


@pytest.fixture(name="direct")
def direct_fixture(gate: Gate) -> Gate:
    """The node answers directly; it knows a workload of its own and one of another node."""
    for family in FAMILIES.args[1]:
        gate.put("addresses", {"addr": raw(family.here)}, workload=70, ifindex=7)
        gate.put("addresses", {"addr": raw(family.there)}, workload=71)
    gate.tell_flags(BOTH)
    return gate


def told(packet: Packet) -> tuple[str, int] | None:
    """The frontend that a packet names, read from its bytes."""
    if IP in packet:
        head = bytes(packet[IP])[: packet[IP].ihl * 4]
        if head[20:22] != b"\x9a\x08":
            return None
        return addresses.text(addresses.pack(".".join(map(str, head[24:28])))), int.from_bytes(head[22:24])
    if IPv6ExtHdrDestOpt not in packet:
        return None
    option = bytes(packet[IPv6ExtHdrDestOpt])
    assert option[1:4] == b"\x02\x1b\x12"
    assert option[22:24] == b"\x01\x00"
    return addresses.text(option[4:20]), int.from_bytes(option[20:22])


def ask(family: Family, kind: type[Packet], flags: str = "S", **fields: object) -> Packet:
    """A client's packet to the Service with a backend elsewhere."""
    return frame(family.layer(src=family.client, dst=family.vip, **fields) / segment(kind, 40000, PORT, flags))


def sent(family: Family, kind: type[Packet], frontend: str, flags: str = "S", sport: int = 40000) -> Packet:
    """What another node sends here, written by hand."""
    place = addresses.pack(frontend)
    inner = segment(kind, sport, TARGET, flags)
    if family is V4:
        option = IPOption(b"\x9a\x08" + PORT.to_bytes(2) + place[12:])
        return frame(IP(src=family.client, dst=family.here, options=[option]) / inner)
    bare = family.layer(src=family.client, dst=family.here) / inner
    packet = bytes(bare)
    header = packet[6:7] + b"\x02\x1b\x12" + place + PORT.to_bytes(2) + b"\x01\x00"
    length = int.from_bytes(packet[4:6]) + len(header)
    head = bytes(Ether(src="02:00:00:00:00:01", dst="00:00:00:00:00:00", type=0x86DD))
    return Ether(head + packet[:4] + length.to_bytes(2) + b"\x3c" + packet[7:40] + header + packet[40:])


@KINDS
@FAMILIES
def test_the_first_packet_keeps_its_client_and_tells_the_frontend(
    direct: Gate, family: Family, kind: type[Packet]
) -> None:
    packet = Ether(bytes(ask(family, kind)))
    verdict, out = direct.comes(packet)
    assert verdict == TC_ACT_REDIRECT
    layer = out[family.layer]
    assert (layer.src, layer.dst) == (family.client, family.there)
    assert (out[kind].sport, out[kind].dport) == (40000, TARGET)
    assert told(out) == (family.vip, PORT)
    room = 8 if family is V4 else 24
    assert len(out) == len(packet) + room
    if family is V4:
        assert (layer.ihl, layer.len, layer.ttl) == (7, packet[IP].len + 8, 63)
    else:
        assert (layer.nh, layer.plen, layer.hlim) == (60, packet[family.layer].plen + 24, 63)
        assert out[IPv6ExtHdrDestOpt].nh == (6 if kind is TCP else 17)
    assert direct.table.items()[1]["marks"].tolist() == [TranslationMark.ROUTE | TranslationMark.DIRECT]


@FAMILIES
def test_tcp_tells_with_every_syn_and_with_nothing_else_and_udp_always(direct: Gate, family: Family) -> None:
    assert [told(direct.comes(ask(family, TCP, flags))[1]) is not None for flags in ("S", "S", "A", "PA", "FA")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert [told(direct.comes(ask(family, UDP))[1]) for _ in range(3)] == [(family.vip, PORT)] * 3


@FAMILIES
def test_hybrid_is_direct_for_tcp_and_hides_clients_of_udp(direct: Gate, family: Family) -> None:
    direct.tell_flags(NodeFlag.DIRECT_TCP)
    assert told(direct.comes(ask(family, TCP))[1]) == (family.vip, PORT)
    _, out = direct.comes(ask(family, UDP))
    assert (told(out), out[family.layer].src) == (None, family.node)


@FAMILIES
def test_a_backend_that_no_node_is_known_to_have_gets_hidden_clients(direct: Gate, family: Family) -> None:
    table = direct.wire.datapath.maps["addresses"]
    direct.put("addresses", {"addr": raw(family.there)}, workload=71)
    key = table.items()[0][:1].copy()
    key["addr"] = raw(family.there)
    table.delete(key)
    _, out = direct.comes(ask(family, TCP))
    assert (told(out), out[family.layer].src) == (None, family.node)


@KINDS
@FAMILIES
def test_a_backend_of_this_node_sees_the_client_and_is_told_nothing(
    direct: Gate, family: Family, kind: type[Packet]
) -> None:
    verdict, out = direct.comes(
        frame(family.layer(src=family.client, dst=family.node) / segment(kind, 40000, NODE_PORT))
    )
    assert (verdict, told(out)) == (TC_ACT_UNSPEC, None)
    assert (out[family.layer].src, out[family.layer].dst) == (family.client, family.here)
    answer = frame(family.layer(src=family.here, dst=family.client) / segment(kind, TARGET, 40000, "SA"))
    verdict, back = direct.leaves(answer)
    assert (verdict, back[family.layer].src, back[kind].sport) == (TC_ACT_UNSPEC, family.node, NODE_PORT)


def test_options_that_were_there_stay_behind_ours_and_a_full_header_takes_none(direct: Gate) -> None:
    nops = [IPOption(b"\x01")] * 4
    _, out = direct.comes(ask(V4, UDP, options=nops))
    assert out[IP].ihl == 8
    assert bytes(out[IP])[28:32] == b"\x01" * 4
    before = direct.wire.counter(Counter.TRANSLATE_FAILED)
    full = bytes(ask(V4, UDP, options=nops * 9))
    verdict = direct.node.run(testrun.run, direct.wire.datapath.program(direct.entry), full).verdict
    assert AS_TC.get(verdict, verdict) == TC_ACT_SHOT
    assert direct.wire.counter(Counter.TRANSLATE_FAILED) == before + 1


@FAMILIES
def test_a_first_packet_without_room_for_the_frontend_is_answered_with_too_big(direct: Gate, family: Family) -> None:
    room = 8 if family is V4 else 24
    head = len(bytes(family.layer() / UDP()))
    for size, fits in ((1500 - room, True), (1500 - room + 1, False)):
        packet = (
            family.layer(src=family.client, dst=family.vip) / UDP(sport=41000, dport=PORT) / Raw(b"x" * (size - head))
        )
        _, out = direct.comes(frame(packet))
        assert (told(out) is not None) is fits
    if family is V4:
        assert (out[IP].src, out[IP].dst, bytes(out[IP])[20:22], int.from_bytes(bytes(out[IP])[24:28])) == (
            family.vip, family.client, b"\x03\x04", 1500 - room,
        )  # fmt: skip
    else:
        body = bytes(out[family.layer].payload)
        assert (body[0], int.from_bytes(body[4:8])) == (2, 1500 - room)


@KINDS
@FAMILIES
def test_the_backends_node_delivers_what_was_sent_and_answers_as_the_frontend(
    direct: Gate, family: Family, kind: type[Packet]
) -> None:
    packet = Ether(bytes(sent(family, kind, family.vip)))
    verdict, out = direct.comes(packet)
    assert (verdict, bytes(out)) == (TC_ACT_UNSPEC, bytes(packet))
    answer = frame(family.layer(src=family.here, dst=family.client) / segment(kind, TARGET, 40000, "SA"))
    verdict, back = direct.leaves(answer)
    assert verdict == TC_ACT_UNSPEC
    assert (back[family.layer].src, back[family.layer].dst) == (family.vip, family.client)
    assert (back[kind].sport, back[kind].dport) == (PORT, 40000)
    later = Ether(bytes(frame(family.layer(src=family.client, dst=family.here) / segment(kind, 40000, TARGET, "A"))))
    assert direct.comes(later) == (TC_ACT_UNSPEC, later)
    _, values = direct.table.items()
    assert sorted(values["marks"].tolist()) == [0, TranslationMark.REPLY]
    assert values["packets"][values["marks"] == 0].tolist() == [2]


@FAMILIES
def test_what_one_node_writes_another_understands(direct: Gate, family: Family) -> None:
    _, out = direct.comes(ask(family, TCP))
    direct.table.delete(direct.table.items()[0])
    direct.put("addresses", {"addr": raw(family.there)}, workload=71, ifindex=7)
    out = Ether(bytes(out))
    out.dst = "00:00:00:00:00:00"
    assert direct.comes(out)[0] == TC_ACT_UNSPEC
    _, back = direct.leaves(
        frame(family.layer(src=family.there, dst=family.client) / segment(TCP, TARGET, 40000, "SA"))
    )
    assert (back[family.layer].src, back[TCP].sport) == (family.vip, PORT)


@FAMILIES
def test_one_client_port_and_two_frontends_the_last_datagram_decides_and_tcp_keeps_the_first(
    direct: Gate, family: Family
) -> None:
    for frontend in (family.vip, family.local_vip):
        assert direct.comes(sent(family, UDP, frontend))[0] == TC_ACT_UNSPEC
        _, back = direct.leaves(frame(family.layer(src=family.here, dst=family.client) / segment(UDP, TARGET, 40000)))
        assert back[family.layer].src == frontend
    assert [direct.comes(sent(family, TCP, one))[0] for one in (family.vip, family.local_vip, family.vip)] == [
        TC_ACT_UNSPEC, TC_ACT_SHOT, TC_ACT_UNSPEC,
    ]  # fmt: skip


@FAMILIES
def test_a_node_that_does_not_answer_directly_believes_nobody(direct: Gate, family: Family) -> None:
    direct.tell_flags(NodeFlag(0))
    assert direct.comes(sent(family, TCP, family.vip))[0] == TC_ACT_UNSPEC
    assert len(direct.table.items()[0]) == 0
