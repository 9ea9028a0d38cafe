"""A node's uplink without the device: routes, Services for each way to be answered, packets in and out.

Packets come in by TC alone, or by XDP, which leaves to TC what it does not do; all else is the same to the letter.

The programs ask the node's routes, so they run in a namespace that has some. Frames carry the address of its loopback
device, on which test runs take place: others would not be for us.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import numpy as np
import pytest
from pyroute2 import IPRoute
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror
from scapy.layers.inet6 import ICMPv6DestUnreach, IPerror6, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ebpf import addresses, testrun
from ebpf.constants import FrontendFlag, NodeFlag, Reserved, Scope, WireMode
from ebpf.maps import HashMap
from tests.bpf.conftest import EVERYTHING, Wire
from tests.support.netns import TestNode, node

TC_ACT_SHOT, TC_ACT_REDIRECT = 2, 7
XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = 1, 2, 3, 4
AS_TC = {XDP_DROP: TC_ACT_SHOT, XDP_TX: TC_ACT_REDIRECT, XDP_REDIRECT: TC_ACT_REDIRECT}
PORT, NODE_PORT, TARGET = 80, 30080, 8080
FIRST_PORT, LAST_PORT = 10000, 29999
NEXT = "02:00:00:00:00:77"  # who is next on the way outside


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
    entry: str = "from_network"
    """the program that packets come in by"""

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
        """What becomes of a packet from outside, in TC's words."""
        verdict, after = self.run(self.entry, packet)
        if self.entry == "from_network":
            return verdict, after
        if verdict in AS_TC:
            return AS_TC[verdict], after
        assert (verdict, bytes(after)) == (XDP_PASS, bytes(packet)), "what is left to TC is as it came"
        return self.run("from_network", packet)

    def tell_flags(self, flags: NodeFlag) -> None:
        """How the node answers clients outside."""
        self.wire.datapath.tell_flags(flags | (NodeFlag.ACCELERATE if self.entry == "from_wire" else 0))

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
            silent = isinstance(inner, UDP) and IP in packet and not inner.chksum
            if field in inner.fields and not fragment and not silent and not isinstance(inner, Raw):
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
        for address in (V4.router, "198.18.0.20", V6.router, "2001:db8:18::20"):
            ipr.neigh("add", dst=address, lladdr=NEXT, ifindex=ipr.link_lookup(ifname="up")[0], state=0x80)
        for dst, gateway in (
            ("0.0.0.0/0", V4.router), ("::/0", V6.router),
            ("10.244.2.0/24", "198.18.0.20"), ("fd00:244:2::/64", "2001:db8:18::20"),
        ):  # fmt: skip
            version = ip_network(dst).version
            ipr.route("add", dst=dst, gateway=gateway, family=2 if version == 4 else 10)


@pytest.fixture(scope="module", name="place")
def place_fixture(root: None) -> Iterator[TestNode]:
    with node() as made:
        made.run(stand)
        yield made


@pytest.fixture(name="gate", params=["from_network", "from_wire"], ids=["TC", "XDP"])
def gate_fixture(wire: Wire, place: TestNode, request: pytest.FixtureRequest) -> Iterator[Gate]:
    """A Service for each way to be answered, in both families."""
    made = Gate(wire, place, request.param)
    made.tell_flags(NodeFlag(0))
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
    for index in (1, place.run(socket.if_nametoindex, "up")):
        value = row(table.value_dtype, address4=raw(V4.node), address6=raw(V6.node), wire=WireMode.NATIVE)
        table.update(np.full(1, index, table.key_dtype), value)
    yield made
    wire.datapath.tell_flags(NodeFlag(0))
    for name in ("services", "backends", "translations", "uplinks", "source_ranges", "affinities", "addresses"):
        wire.datapath.maps[name].delete(wire.datapath.maps[name].items()[0])


def open_connection(gate: Gate, family: Family, kind: type[Packet] = TCP, sport: int = 40000) -> Packet:
    """What the first packet to the Service with a backend elsewhere became."""
    verdict, out = gate.comes(frame(family.layer(src=family.client, dst=family.vip) / segment(kind, sport, PORT)))
    assert verdict == TC_ACT_REDIRECT
    return out
