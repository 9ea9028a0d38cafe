"""Packets of translated connections that are not whole or not theirs: ICMP errors about them, and fragments."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, TCPerror, UDPerror
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPerror6
from scapy.packet import Packet, Raw

from ebpf.constants import FrontendFlag, TranslationMark
from tests.bpf.conftest import TC_ACT_UNSPEC
from tests.bpf.uplink_gate import (
    FAMILIES,
    KINDS,
    PORT,
    TARGET,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    V4,
    Family,
    Gate,
    frame,
    gate_fixture,
    open_connection,
    place_fixture,
    raw,
    segment,
)

__all__ = ["gate_fixture", "place_fixture"]


def quoted_error(family: Family, inner: Packet, *, src: str, dst: str) -> Packet:
    """A router's word that a packet is too big."""
    quote = Raw(bytes(inner)[: 28 if family is V4 else 48])
    told = ICMP(type=3, code=4, nexthopmtu=1400) if family is V4 else ICMPv6PacketTooBig(mtu=1400)
    return frame(family.layer(src=src, dst=dst) / told / quote)


@KINDS
@FAMILIES
def test_an_error_about_a_packet_to_the_backend_reaches_the_client_as_about_its_own(
    gate: Gate, family: Family, kind: type[Packet]
) -> None:
    out = open_connection(gate, family, kind)
    error = quoted_error(family, out[family.layer], src=family.router, dst=family.node)
    verdict, told = gate.comes(error)
    assert verdict == TC_ACT_REDIRECT
    assert (told[family.layer].src, told[family.layer].dst) == (family.vip, family.client)
    network_layer, transport = (IPerror, IPerror) if family is V4 else (IPerror6, IPerror6)
    assert transport
    inner = told[network_layer]
    assert (inner.src, inner.dst) == (family.client, family.vip)
    ports = inner[TCPerror if kind is TCP else UDPerror]
    assert (ports.sport, ports.dport) == (40000, PORT)


@KINDS
@FAMILIES
def test_an_error_about_an_answer_reaches_the_backend_as_about_its_own(
    gate: Gate, family: Family, kind: type[Packet]
) -> None:
    out = open_connection(gate, family, kind)
    answer = frame(family.layer(src=family.there, dst=family.node) / segment(kind, TARGET, out[kind].sport, "SA"))
    _, back = gate.comes(answer)
    verdict, told = gate.comes(quoted_error(family, back[family.layer], src=family.router, dst=family.vip))
    assert verdict == TC_ACT_REDIRECT
    assert (told[family.layer].src, told[family.layer].dst) == (family.node, family.there)
    inner = told[IPerror if family is V4 else IPerror6]
    assert (inner.src, inner.dst) == (family.there, family.node)
    ports = inner[TCPerror if kind is TCP else UDPerror]
    assert (ports.sport, ports.dport) == (TARGET, out[kind].sport)


@FAMILIES
def test_an_error_from_a_backend_that_keeps_the_client_leaves_as_the_frontends(gate: Gate, family: Family) -> None:
    _, out = gate.comes(frame(family.layer(src=family.client, dst=family.local_vip) / segment(UDP, 40001, PORT)))
    for reporter, seen in ((family.here, family.local_vip), (family.node, family.node)):
        error = quoted_error(family, out[family.layer], src=reporter, dst=family.client)
        verdict, told = gate.leaves(error)
        assert verdict == TC_ACT_UNSPEC
        assert (told[family.layer].src, told[family.layer].dst) == (seen, family.client)
        inner = told[IPerror if family is V4 else IPerror6]
        assert (inner.src, inner.dst) == (family.client, family.local_vip)
        assert (inner[UDPerror].sport, inner[UDPerror].dport) == (40001, PORT)


def test_later_fragments_follow_their_first(gate: Gate) -> None:
    whole = IP(src=V4.client, dst=V4.vip, id=7) / UDP(sport=40000, dport=PORT) / Raw(b"x" * 64)
    whole = IP(bytes(whole))
    first, *rest = [frame(IP(bytes(part))) for part in whole.fragment(40)]
    verdict, out = gate.comes(first)
    assert (verdict, out[IP].src, out[IP].dst) == (TC_ACT_REDIRECT, V4.node, V4.there)
    assert rest
    for part in rest:
        verdict, out = gate.comes(part)
        assert (verdict, out[IP].src, out[IP].dst) == (TC_ACT_REDIRECT, V4.node, V4.there)
        assert bytes(out[IP].payload) == bytes(part[IP].payload)


def test_a_later_fragment_whose_first_was_not_seen_is_dropped_only_where_it_is_for_a_service(gate: Gate) -> None:
    cluster_ip = "10.96.0.9"
    gate.put("services", {"addr": raw(cluster_ip)}, flags=FrontendFlag.ADDRESS)
    for address, expected in ((cluster_ip, TC_ACT_SHOT), (V4.node, TC_ACT_UNSPEC)):
        verdict, _ = gate.comes(frame(IP(src=V4.client, dst=address, frag=5, proto=17, id=99) / Raw(b"x" * 16)))
        assert verdict == expected


def test_both_directions_of_a_connection_are_counted(gate: Gate) -> None:
    out = open_connection(gate, V4)
    gate.comes(frame(IP(src=V4.there, dst=V4.node) / segment(TCP, TARGET, out[TCP].sport, "SA")))
    gate.comes(frame(IP(src=V4.client, dst=V4.vip) / segment(TCP, 40000, PORT, "A")))
    _, values = gate.table.items()
    reply = values["marks"] & TranslationMark.REPLY != 0
    assert values["packets"][~reply].tolist() == [2]
    assert values["packets"][reply].tolist() == [1]
    assert values["bytes"][~reply].tolist() == [80]
