"""Policy and Services translated at the device: a rule speaks of the backend, whatever address was asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import TCP
from scapy.packet import Packet

from ebpf import testrun
from ebpf.addresses import pack
from ebpf.constants import DropReason
from tests.bpf.conftest import TC_ACT_UNSPEC, Wire
from tests.bpf.gate import ALLOWED, FAMILIES, FRIEND, STRANGER, Family, Gate, allow, made, tcp
from tests.conformance.policy.kernel import TC_ACT_SHOT, clear
from tests.conformance.policy.kernel import TCP as TCP_NUMBER
from tests.integration.conftest import PORT, Entry, program

VIPS = ("10.96.0.20", "fd00:10:96::20")


@pytest.fixture(params=FAMILIES, ids=[family.name for family in FAMILIES])
def gate(wire: Wire, request: pytest.FixtureRequest) -> Iterator[Gate]:
    """A Service at port 80 whose backend is the friend, at PORT."""
    family: Family = request.param
    gate = made(wire, family)
    program(wire.datapath, Entry(41, VIPS, (tuple(one.friend for one in FAMILIES),)))
    yield gate
    clear(wire.datapath)
    clear(wire.datapath, ("services", "backends"))


def asks(gate: Gate, source_port: int, flags: str = "S") -> int:
    """The verdict on a packet to the Service."""
    packet: Packet = gate.out(tcp(source_port, 80, flags), VIPS[FAMILIES.index(gate.family)])
    return testrun.run(gate.wire.datapath.program("from_endpoint"), bytes(packet)).verdict


def test_the_backend_and_its_port_are_judged_and_not_the_frontend(gate: Gate) -> None:
    gate.rules(ingress=[], egress=[allow(FRIEND, TCP_NUMBER, PORT, 16)])
    assert asks(gate, 40000) == TC_ACT_UNSPEC
    (row,) = gate.records()
    assert (row["dst_port"], row["rule"]) == (PORT, ALLOWED)
    answer = bytes(gate.into(TCP(sport=PORT, dport=40000, flags="SA")))
    assert testrun.run(gate.wire.datapath.program("to_endpoint"), answer).verdict == TC_ACT_UNSPEC
    gate.rules(ingress=[], egress=[allow(FRIEND, TCP_NUMBER, 80, 16), allow(STRANGER)])
    assert asks(gate, 40001) == TC_ACT_SHOT
    assert asks(gate, 40000, "A") == TC_ACT_SHOT, "the established one is cut"


def test_a_denial_tells_the_backend(gate: Gate) -> None:
    gate.rules(egress=[])
    assert asks(gate, 40000) == TC_ACT_SHOT
    (row,) = gate.records()
    assert (row["reason"], row["dst_port"]) == (DropReason.POLICY_DENIED, PORT)
    assert row["dst"].tobytes() == pack(gate.family.friend)
