"""The first line without a device: what the shield does is written to its maps, frames go in by test runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from ebpf import testrun
from ebpf.addresses import pack
from ebpf.constants import Counter, ShieldAction, ShieldFlag, ShieldRule
from ebpf.datapath import Datapath
from ebpf.libbpf import MapType
from ebpf.ringbuf import RingBuffer
from tests.bpf.conftest import EVERYTHING

XDP_DROP, XDP_PASS = 1, 2
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
STRICT = ShieldFlag.MALFORMED
LISTS = ShieldFlag.ADDRESSES | ShieldFlag.NETWORKS4 | ShieldFlag.NETWORKS6
LIST = int(ShieldRule.FIRST)
"""number of a list of the agent's"""


@dataclass(frozen=True)
class Family:
    """A client and a node of one family."""

    layer: type[Packet]
    client: str
    node: str
    bits: int

    def frame(self, payload: Packet, src: str = "", **fields: object) -> Packet:
        """A frame of the client, or of another source, to the node."""
        return ETHER / self.layer(src=src or self.client, dst=self.node, **fields) / payload


V4 = Family(IP, "198.51.100.7", "203.0.113.10", 32)
V6 = Family(IPv6, "2001:db8:51::7", "2001:db8:113::10", 128)
FAMILIES = pytest.mark.parametrize("family", [V4, V6], ids=["IPv4", "IPv6"])


def syn(**fields: object) -> Packet:
    return TCP(**{"sport": 40000, "dport": 80, "flags": "S", **fields})


def row(dtype: np.dtype, **fields: object) -> np.ndarray:
    made = np.zeros(1, dtype)
    for name, value in fields.items():
        made[name] = value
    return made


@dataclass
class Gate:
    """The program for XDP, with nothing in its maps at first."""

    datapath: Datapath
    flows: RingBuffer

    def shield(self, flags: ShieldFlag, **fields: int) -> None:
        """What the shield does from now on."""
        self._put("shield_config", {}, {"flags": flags, **fields})

    def entry(
        self, cidr: str, rule: int = LIST, action: ShieldAction = ShieldAction.DENY, *, dry: bool = False
    ) -> None:
        """A list says something of an address or a network."""
        network, value = ip_network(cidr), {"rule": rule, "action": action, "dry": dry}
        address = self.address(str(network.network_address))
        if network.num_addresses == 1:
            self._put("shield_addresses", {"addr": address}, value)
        elif network.version == 4:
            self._put("shield_networks4", {"prefixlen": network.prefixlen, "addr": address[3]}, value)
        else:
            self._put("shield_networks6", {"prefixlen": network.prefixlen, "addr": address}, value)

    def ban(self, address: str, seconds: float) -> None:
        """Ban a source for some seconds from now, or until some seconds ago."""
        until = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + int(seconds * 1e9)
        self._put("shield_bans", {"addr": self.address(address)}, {"until": until})

    @staticmethod
    def address(text: str) -> np.ndarray:
        """An address as the maps have it."""
        return np.frombuffer(pack(text), np.uint32)

    def drops(self, packet: Packet | bytes) -> bool:
        """Is the frame dropped? One that passes is as it was."""
        frame = bytes(packet)
        result = testrun.run(self.datapath.program("from_wire"), frame)
        assert result.verdict in (XDP_DROP, XDP_PASS)
        assert result.packet == frame, "the shield changed a frame"
        return result.verdict == XDP_DROP

    def records(self) -> np.ndarray:
        """Flow records since they were last asked for."""
        return self.flows.rows(self.datapath.flow_dtype, EVERYTHING)

    def hit(self, rule: int) -> tuple[int, int, int]:
        """Packets, bytes and would-be drops of a rule."""
        assert self.datapath.shield_hits is not None
        found = self.datapath.shield_hits.struct_totals().get(rule, {"packets": 0, "bytes": 0, "would": 0})
        return found["packets"], found["bytes"], found["would"]

    def counter(self, which: Counter) -> int:
        """A counter's present value."""
        return int(self.datapath.counters.sums()[which])

    def clear(self) -> None:
        """Forget everything."""
        self.shield(ShieldFlag(0))
        for name, table in self.datapath.maps.items():
            if name.startswith("shield_") and table.spec.kind is not MapType.ARRAY:
                table.delete(table.items()[0])
        assert self.datapath.shield_hits is not None
        self.datapath.shield_hits.forget(self.datapath.shield_hits.struct_totals())
        self.records()

    def _put(self, name: str, key: dict[str, object], value: dict[str, object]) -> None:
        table = self.datapath.maps[name]
        table.update(row(table.key_dtype, **key), row(table.value_dtype, **value))


@pytest.fixture(scope="session", name="flows")
def flows_fixture(datapath: Datapath) -> Iterator[RingBuffer]:
    ring = datapath.ring("flows")
    yield ring
    ring.close()


@pytest.fixture(name="gate")
def gate_fixture(datapath: Datapath, flows: RingBuffer) -> Gate:
    """A shield that does nothing yet."""
    gate = Gate(datapath, flows)
    gate.clear()
    return gate
