"""Services from outside, packet by packet: what comes in by an uplink, what goes back, and every way to be turned away.

The programs ask the node's routes, so they run in a namespace that has some. Frames carry the address of its loopback
device, on which test runs take place: others would not be for us.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import numpy as np
import pytest
from pyroute2 import IPRoute
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, TCPerror, UDPerror
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPerror6, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ebpf import addresses, testrun
from ebpf.constants import AddressFlag, Counter, DropReason, FrontendFlag, Reserved, Scope, TranslationMark, Verdict
from ebpf.maps import HashMap
from tests.bpf.conftest import EVERYTHING, TC_ACT_UNSPEC, Wire
from tests.support.netns import TestNode, node

TC_ACT_SHOT, TC_ACT_REDIRECT = 2, 7
PORT, NODE_PORT, TARGET = 80, 30080, 8080
FIRST_PORT, LAST_PORT = 10000, 29999


@dataclass(frozen=True)
class Family:
    """The addresses of one family."""

    layer: type[Packet]
    client: str
    node: str
    router: str
    vip: str
    local_vip: str
    empty: str
    dropped: str
    ranged: str
    here: str
    there: str
    host: str
    error: type[Packet]


V4 = Family(
    IP, "198.18.5.9", "198.18.0.10", "198.18.0.1", "203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4",
    "203.0.113.5", "10.244.1.2", "10.244.2.2", "203.0.113.7", ICMP,
)  # fmt: skip
V6 = Family(
    IPv6, "2001:db8:5::9", "2001:db8:18::10", "2001:db8:18::1", "2001:db8:113::1", "2001:db8:113::2",
    "2001:db8:113::3", "2001:db8:113::4", "2001:db8:113::5", "fd00:244:1::2", "fd00:244:2::2", "2001:db8:113::7",
    ICMPv6DestUnreach,
)  # fmt: skip
FAMILIES = pytest.mark.parametrize("family", [V4, V6], ids=["IPv4", "IPv6"])
KINDS = pytest.mark.parametrize("kind", [TCP, UDP], ids=["TCP", "UDP"])


def network(port: int) -> int:
    return int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)


def raw(address: str) -> np.ndarray:
    return np.frombuffer(addresses.pack(address), np.uint32)


def row(dtype: np.dtype, **fields: Any) -> np.ndarray:
    made = np.zeros(1, dtype)
    for name, value in fields.items():
        made[name] = value
    return made


@dataclass
class Gate:
    """A node's uplink without the device."""

    wire: Wire
    node: TestNode

    def put(self, name: str, key: dict[str, Any], **value: Any) -> None:
        table = self.wire.datapath.maps[name]
        table.update(row(table.key_dtype, **key), row(table.value_dtype, **value))

    def serve(self, vip: str, number: int, backends: list[str], flags: int, scope: int = 0, port: int = PORT,
              affinity: int = 0) -> None:  # fmt: skip
        """Program a frontend of both protocols."""
        for slot, backend in enumerate(backends):
            self.put("backends", {"service": number, "slot": slot}, addr=raw(backend), port=network(TARGET))
        for proto in (6, 17):
            key = {"addr": raw(vip), "port": network(port), "proto": proto, "scope": scope}
            self.put("services", key, service=number, backends=len(backends), flags=flags, affinity=affinity)

    def run(self, program: str, packet: Packet) -> tuple[int, Packet]:
        """What a program says and what it makes of a packet; its checksums are right."""
        result = self.node.run(testrun.run, self.wire.datapath.program(program), bytes(packet))
        after = Ether(result.packet)
        assert bytes(after) == bytes(mended(after)), "a checksum is wrong"
        return result.verdict, after

    def comes(self, packet: Packet) -> tuple[int, Packet]:
        return self.run("from_network", packet)

    def leaves(self, packet: Packet) -> tuple[int, Packet]:
        return self.run("to_network", packet)

    @property
    def table(self) -> HashMap:
        return self.wire.datapath.maps["translations"]

    def reasons(self) -> list[tuple[int, int]]:
        """Verdicts and drop reasons of the records since the last look."""
        rows = self.wire.flows.rows(self.wire.datapath.flow_dtype, EVERYTHING)
        return [(int(one["verdict"]), int(one["reason"])) for one in rows]


def mended(packet: Packet) -> Packet:
    """The same packet with all checksums that cover it whole computed anew."""
    fresh = packet.copy()
    inner = fresh
    while inner and not isinstance(inner, IPerror | IPerror6):
        for field in ("chksum", "cksum"):
            fragment = isinstance(inner, TCP | UDP) and is_fragment(packet)
            if field in inner.fields and not fragment and not isinstance(inner, Raw):
                delattr(inner, field)
        inner = inner.payload
    if IPerror in fresh:
        del fresh[IPerror].chksum
    return Ether(bytes(fresh))


def is_fragment(packet: Packet) -> bool:
    return IPv6ExtHdrFragment in packet or (IP in packet and bool(packet[IP].flags.MF or packet[IP].frag))


def frame(payload: Packet) -> Packet:
    return Ether(src="02:00:00:00:00:01", dst="00:00:00:00:00:00") / payload


def segment(kind: type[Packet], sport: int, dport: int, flags: str = "S") -> Packet:
    return TCP(sport=sport, dport=dport, flags=flags) if kind is TCP else UDP(sport=sport, dport=dport) / Raw(b"odd")


def stand() -> None:
    """Routes to clients, to workloads here and to the machine next door, over links that lead nowhere."""
    with IPRoute() as ipr:
        for device, address4, address6 in (
            ("up", "198.18.0.10/24", "2001:db8:18::10/64"),
            ("work", "10.244.1.1/24", "fd00:244:1::1/64"),
        ):
            ipr.link("add", ifname=device, kind="veth", peer={"ifname": f"{device}-end"})
            index = ipr.link_lookup(ifname=device)[0]
            for text in (address4, address6):
                address, length = text.split("/")
                extra = {"flags": 0x02} if ":" in address else {}
                ipr.addr("add", index=index, address=address, prefixlen=int(length), **extra)
            ipr.link("set", index=index, state="up")
            ipr.link("set", index=ipr.link_lookup(ifname=f"{device}-end")[0], state="up")
        for dst, gateway in (
            ("0.0.0.0/0", V4.router), ("::/0", V6.router),
            ("10.244.2.0/24", "198.18.0.20"), ("fd00:244:2::/64", "2001:db8:18::20"),
        ):  # fmt: skip
            version = ip_network(dst).version
            ipr.route("add", dst=dst, gateway=gateway, family=2 if version == 4 else 10)


@pytest.fixture(scope="module")
def place(root: None) -> Iterator[TestNode]:
    with node() as made:
        made.run(stand)
        yield made


@pytest.fixture
def gate(wire: Wire, place: TestNode) -> Iterator[Gate]:
    """A Service for each way to be answered, in both families."""
    made = Gate(wire, place)
    balancer, ports = FrontendFlag.LOAD_BALANCER, FrontendFlag.NODE_PORT
    for offset, family in enumerate((V4, V6)):
        number = 100 * (offset + 1)
        made.put("addresses", {"addr": raw(family.node)}, workload=Reserved.HOST)
        made.serve(family.vip, number, [family.there], balancer)
        made.serve(family.local_vip, number + 1, [family.there], balancer | FrontendFlag.OUTSIDE)
        made.serve(family.local_vip, number + 2, [family.here], balancer, Scope.OUTSIDE)
        made.serve(family.empty, number + 3, [], balancer)
        made.serve(family.dropped, number + 4, [], balancer | FrontendFlag.DROP)
        made.serve(family.ranged, number + 5, [family.there], balancer | FrontendFlag.RANGES)
        made.serve(family.host, number + 6, [family.node], balancer)
        made.serve("0.0.0.0" if family is V4 else "::", number + 7, [family.here], ports, port=NODE_PORT)
    table = wire.datapath.maps["uplinks"]
    table.update(np.ones(1, table.key_dtype), row(table.value_dtype, address4=raw(V4.node), address6=raw(V6.node)))
    yield made
    for name in ("services", "backends", "translations", "uplinks", "source_ranges", "affinities", "addresses"):
        wire.datapath.maps[name].delete(wire.datapath.maps[name].items()[0])


def open_connection(gate: Gate, family: Family, kind: type[Packet] = TCP, sport: int = 40000) -> Packet:
    """What the first packet to the Service with a backend elsewhere became."""
    verdict, out = gate.comes(frame(family.layer(src=family.client, dst=family.vip) / segment(kind, sport, PORT)))
    assert verdict == TC_ACT_REDIRECT
    return out


@KINDS
@FAMILIES
def test_a_client_of_the_whole_cluster_is_hidden_and_sent_on_and_its_answer_returns(
    gate: Gate, family: Family, kind: type[Packet]
) -> None:
    layer = family.layer
    packet = frame(layer(src=family.client, dst=family.vip) / segment(kind, 40000, PORT))
    verdict, out = gate.comes(packet)
    assert verdict == TC_ACT_REDIRECT
    assert (out[layer].src, out[layer].dst, out[kind].dport) == (family.node, family.there, TARGET)
    assert FIRST_PORT <= out[kind].sport <= LAST_PORT
    hops = "ttl" if family is V4 else "hlim"
    assert getattr(out[layer], hops) == 63

    answer = frame(layer(src=family.there, dst=family.node) / segment(kind, TARGET, out[kind].sport, "SA"))
    verdict, back = gate.comes(answer)
    assert verdict == TC_ACT_REDIRECT
    assert (back[layer].src, back[layer].dst) == (family.vip, family.client)
    assert (back[kind].sport, back[kind].dport) == (PORT, 40000)


@KINDS
@FAMILIES
def test_policy_local_keeps_the_client_and_answers_are_turned_back_where_they_leave(
    gate: Gate, family: Family, kind: type[Packet]
) -> None:
    layer = family.layer
    verdict, out = gate.comes(frame(layer(src=family.client, dst=family.local_vip) / segment(kind, 40001, PORT)))
    assert verdict == TC_ACT_UNSPEC
    assert (out[layer].src, out[layer].dst) == (family.client, family.here)
    assert (out[kind].sport, out[kind].dport) == (40001, TARGET)
    verdict, back = gate.leaves(frame(layer(src=family.here, dst=family.client) / segment(kind, TARGET, 40001, "SA")))
    assert verdict == TC_ACT_UNSPEC
    assert (back[layer].src, back[kind].sport) == (family.local_vip, PORT)
    assert (back[layer].dst, back[kind].dport) == (family.client, 40001)


@KINDS
@FAMILIES
def test_an_answer_of_a_workload_of_this_node_is_sent_on_from_its_device(
    gate: Gate, family: Family, kind: type[Packet]
) -> None:
    layer = family.layer
    verdict, out = gate.comes(frame(layer(src=family.client, dst=family.node) / segment(kind, 40002, NODE_PORT)))
    assert (verdict, out[layer].src, out[layer].dst) == (TC_ACT_REDIRECT, family.node, family.here)
    verdict, _ = gate.run("to_endpoint", out)
    assert verdict == TC_ACT_UNSPEC
    answer = frame(layer(src=family.here, dst=family.node) / segment(kind, TARGET, out[kind].sport, "SA"))
    verdict, back = gate.run("from_endpoint", answer)
    assert verdict == TC_ACT_REDIRECT
    assert (back[layer].src, back[kind].sport) == (family.node, NODE_PORT)
    assert (back[layer].dst, back[kind].dport) == (family.client, 40002)


@FAMILIES
def test_a_backend_of_the_node_itself_gets_the_packet_by_the_stack(gate: Gate, family: Family) -> None:
    verdict, out = gate.comes(frame(family.layer(src=family.client, dst=family.host) / segment(TCP, 40003, PORT)))
    assert (verdict, out[family.layer].src, out[family.layer].dst) == (TC_ACT_UNSPEC, family.client, family.node)


@FAMILIES
def test_an_address_of_the_node_without_node_ports_leaves_them_alone(gate: Gate, family: Family) -> None:
    gate.put("addresses", {"addr": raw(family.node)}, workload=Reserved.HOST, flags=AddressFlag.NO_NODE_PORTS)
    packet = frame(family.layer(src=family.client, dst=family.node) / segment(TCP, 40002, NODE_PORT))
    verdict, out = gate.comes(packet)
    assert (verdict, out[family.layer].dst) == (TC_ACT_UNSPEC, family.node)


@FAMILIES
def test_what_is_for_no_service_is_not_touched(gate: Gate, family: Family) -> None:
    for payload in (
        segment(TCP, 40000, 22),
        segment(TCP, 40000, NODE_PORT, "A"),
        segment(UDP, 40000, 4789),
    ):
        packet = Ether(bytes(frame(family.layer(src=family.client, dst=family.node) / payload)))
        for program in ("from_network", "to_network"):
            verdict, out = gate.run(program, packet)
            assert (verdict, bytes(out)) == (TC_ACT_UNSPEC, bytes(packet))
    assert len(gate.table.items()[0]) == 0


def test_frames_for_other_machines_are_not_touched(gate: Gate) -> None:
    packet = Ether(dst="02:00:00:00:00:99") / IP(src=V4.client, dst=V4.vip) / segment(TCP, 40000, PORT)
    assert gate.comes(packet) == (TC_ACT_UNSPEC, Ether(bytes(packet)))


@FAMILIES
def test_an_empty_service_answers_tcp_with_a_reset(gate: Gate, family: Family) -> None:
    packet = frame(family.layer(src=family.client, dst=family.empty) / TCP(sport=9, dport=PORT, flags="S", seq=77))
    verdict, reset = gate.comes(packet)
    assert verdict == TC_ACT_REDIRECT
    assert (reset.src, reset.dst) == (packet.dst, packet.src)
    assert (reset[family.layer].src, reset[family.layer].dst) == (family.empty, family.client)
    assert (reset[TCP].flags, reset[TCP].ack) == ("RA", 78)
    assert gate.reasons() == [(Verdict.DROPPED, DropReason.SERVICE_BACKEND_NOT_FOUND)]


@FAMILIES
def test_an_empty_service_answers_datagrams_with_port_unreachable(gate: Gate, family: Family) -> None:
    packet = Ether(bytes(frame(family.layer(src=family.client, dst=family.empty) / segment(UDP, 9, PORT))))
    verdict, error = gate.comes(packet)
    assert verdict == TC_ACT_REDIRECT
    assert (error[family.layer].src, error[family.layer].dst) == (family.empty, family.client)
    told = error[family.error]
    assert (told.type, told.code) == ((3, 3) if family is V4 else (1, 4))
    quoted = bytes(told.payload)
    assert quoted == bytes(packet[family.layer])[: len(quoted)]


@FAMILIES
def test_what_the_policy_leaves_without_backends_is_dropped(gate: Gate, family: Family) -> None:
    verdict, _ = gate.comes(frame(family.layer(src=family.client, dst=family.dropped) / segment(TCP, 9, PORT)))
    assert verdict == TC_ACT_SHOT
    assert gate.reasons() == [(Verdict.DROPPED, DropReason.SERVICE_BACKEND_NOT_FOUND)]


@FAMILIES
def test_source_ranges_admit_whom_they_name_and_drop_others(gate: Gate, family: Family) -> None:
    packet = frame(family.layer(src=family.client, dst=family.ranged) / segment(TCP, 9, PORT))
    assert gate.comes(packet)[0] == TC_ACT_SHOT
    assert gate.reasons() == [(Verdict.DROPPED, DropReason.SOURCE_RANGE)]
    number = 105 if family is V4 else 205
    length = 32 + (96 + 16 if family is V4 else 48)
    gate.put("source_ranges", {"prefix": length, "service": number, "addr": raw(family.client)})
    assert gate.comes(packet)[0] == TC_ACT_REDIRECT
    stranger = ip_address(family.client) + (1 << (17 if family is V4 else 90))
    packet = frame(family.layer(src=str(stranger), dst=family.ranged) / segment(TCP, 9, PORT))
    assert gate.comes(packet)[0] == TC_ACT_SHOT


@FAMILIES
def test_all_packets_of_a_connection_get_one_port_and_one_backend(gate: Gate, family: Family) -> None:
    first = open_connection(gate, family)
    for flags in ("S", "A", "PA", "FA"):
        packet = frame(family.layer(src=family.client, dst=family.vip) / segment(TCP, 40000, PORT, flags))
        verdict, out = gate.comes(packet)
        assert (verdict, out[TCP].sport, out[TCP].dport) == (TC_ACT_REDIRECT, first[TCP].sport, TARGET)
    assert len(gate.table.items()[0]) == 2


def test_a_client_keeps_its_port_where_it_is_of_the_range_and_free(gate: Gate) -> None:
    assert open_connection(gate, V4, sport=12345)[TCP].sport == 12345
    other = frame(IP(src="198.18.5.10", dst=V4.vip) / segment(TCP, 12345, PORT))
    verdict, out = gate.comes(other)
    assert verdict == TC_ACT_REDIRECT
    assert out[TCP].sport != 12345
    assert FIRST_PORT <= out[TCP].sport <= LAST_PORT


def test_one_client_port_at_two_frontends_of_one_backend_is_told_apart(gate: Gate) -> None:
    gate.serve("203.0.113.20", 102, [V4.here], FrontendFlag.LOAD_BALANCER | FrontendFlag.OUTSIDE)
    gate.serve("203.0.113.20", 102, [V4.here], FrontendFlag.LOAD_BALANCER, Scope.OUTSIDE)
    ports = []
    for vip in (V4.local_vip, "203.0.113.20"):
        verdict, out = gate.comes(frame(IP(src=V4.client, dst=vip) / segment(TCP, 40004, PORT)))
        assert (verdict, out[IP].src) == (TC_ACT_UNSPEC, V4.client)
        ports.append(out[TCP].sport)
    assert ports[0] != ports[1]
    for vip, port in zip((V4.local_vip, "203.0.113.20"), ports, strict=True):
        _, back = gate.leaves(frame(IP(src=V4.here, dst=V4.client) / segment(TCP, TARGET, port, "SA")))
        assert (back[IP].src, back[TCP].dport) == (vip, 40004)


def test_a_client_that_begins_anew_after_the_end_gets_a_new_connection(gate: Gate) -> None:
    open_connection(gate, V4)
    gate.comes(frame(IP(src=V4.client, dst=V4.vip) / segment(TCP, 40000, PORT, "R")))
    started = gate.table.items()[1]["started"].max()
    open_connection(gate, V4)
    keys, values = gate.table.items()
    assert len(keys) == 2
    assert (values["started"] >= started).all()
    assert not (values["flags"] & 4).any()


def test_when_the_table_is_full_new_connections_are_dropped_and_open_ones_live_on(gate: Gate) -> None:
    first = open_connection(gate, V4)
    table = gate.table
    filler = np.zeros(table.max_entries - 3, table.key_dtype)
    filler["src"][:, 0] = np.arange(1, len(filler) + 1)
    table.update(filler, np.zeros(len(filler), table.value_dtype))
    gate.reasons()
    before = gate.wire.counter(Counter.OUTSIDE_FULL)
    verdict, _ = gate.comes(frame(IP(src=V4.client, dst=V4.vip) / segment(TCP, 40001, PORT)))
    assert verdict == TC_ACT_SHOT
    assert gate.reasons() == [(Verdict.DROPPED, DropReason.TABLE_FULL)]
    assert gate.wire.counter(Counter.OUTSIDE_FULL) == before + 1
    assert len(table.items()[0]) == table.max_entries - 1, "no half of a connection is left behind"
    verdict, out = gate.comes(frame(IP(src=V4.client, dst=V4.vip) / segment(TCP, 40000, PORT, "A")))
    assert (verdict, out[TCP].sport) == (TC_ACT_REDIRECT, first[TCP].sport)


def test_when_no_port_is_free_new_connections_are_dropped(gate: Gate) -> None:
    table = gate.table
    taken = np.zeros(LAST_PORT - FIRST_PORT + 1, table.key_dtype)
    taken["src"], taken["dst"], taken["proto"], taken["src_port"] = raw(V4.there), raw(V4.node), 6, TARGET
    taken["dst_port"] = np.arange(FIRST_PORT, LAST_PORT + 1)
    table.update(taken, np.zeros(len(taken), table.value_dtype))
    verdict, _ = gate.comes(frame(IP(src=V4.client, dst=V4.vip) / segment(TCP, 40001, PORT)))
    assert verdict == TC_ACT_SHOT
    assert gate.reasons() == [(Verdict.DROPPED, DropReason.NO_PORT)]


def test_a_packet_whose_hops_are_used_up_goes_no_further(gate: Gate) -> None:
    verdict, _ = gate.comes(frame(IP(src=V4.client, dst=V4.vip, ttl=1) / segment(TCP, 40000, PORT)))
    assert verdict == TC_ACT_SHOT


@FAMILIES
def test_affinity_is_by_the_clients_address(gate: Gate, family: Family) -> None:
    last = 244 if family is V4 else 6
    backends = [str(ip_address(family.there) + one) for one in range(10)]
    gate.serve(family.vip, 300 + last, backends, FrontendFlag.LOAD_BALANCER, affinity=100)

    def backend(client: str, port: int) -> str:
        _, out = gate.comes(frame(family.layer(src=client, dst=family.vip) / segment(TCP, port, PORT)))
        return str(out[family.layer].dst)

    clients = [str(ip_address(family.client) + one) for one in range(20)]
    first = {client: backend(client, 40000) for client in clients}
    assert all(backend(client, port) == first[client] for client in clients for port in range(40001, 40006))
    assert len(set(first.values())) > 1


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
