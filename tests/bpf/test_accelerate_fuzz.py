"""Damaged packets of Services and hostile ICMP errors through XDP and through TC: what XDP sends, TC would have sent.

The seed is fixed, so a failure repeats; `make fuzz` takes a million frames, REMORA_FUZZ_SEED another seed.
"""

from __future__ import annotations

import os
import random
from collections import Counter as Tally

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.packet import Packet, Raw

from ebpf import testrun
from ebpf.constants import Counter
from ebpf.errors import KernelError
from tests.bpf.test_uplink_errors import quoted_error
from tests.bpf.uplink_gate import (
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
    place_fixture,
    segment,
)

__all__ = ["gate_fixture", "place_fixture"]
SEED = int(os.environ.get("REMORA_FUZZ_SEED", "20261"))
FRAMES = int(os.environ.get("REMORA_FUZZ_FRAMES", "20000"))
TC_ACT_SHOT, ETHERNET, MACS = 2, 14, 12
TELLING = (0, 1, 6, 17, 44, 58, 60, 0x40, 0x45, 0x46, 0x60, 255)
"""bytes that mean something in headers"""


def of_connections(gate: Gate, family: Family) -> list[bytes]:
    """Packets of open connections, of both directions, and errors about them."""
    found: list[Packet] = []
    for kind in (TCP, UDP):
        ask = segment(kind, 40000, PORT, "A")
        _, out = gate.comes(frame(family.layer(src=family.client, dst=family.vip) / segment(kind, 40000, PORT)))
        answer = frame(family.layer(src=family.there, dst=family.node) / segment(kind, TARGET, out[kind].sport, "SA"))
        _, back = gate.comes(answer)
        found += [frame(head / ask) for head in heads(family)]
        found += [answer, quoted_error(family, out[family.layer], src=family.router, dst=family.node)]
        found += [quoted_error(family, back[family.layer], src=family.router, dst=family.vip)]
        if family is V4:  # with options in what it quotes
            inner = IP(src=V4.node, dst=V4.there, options=[IPOption(b"\x01")] * 4) / out[kind]
            found.append(frame(IP(src=V4.router, dst=V4.node) / ICMP(type=3, code=4) / Raw(bytes(inner)[:44])))
    return [bytes(one) for one in found]


def heads(family: Family) -> list[Packet]:
    """IP headers of the client, with all that may stand behind them."""
    bare = family.layer(src=family.client, dst=family.vip)
    if family is V4:
        return [bare, IP(src=V4.client, dst=V4.vip, options=[IPOption(b"\x01")] * 8)]
    long = bare / IPv6ExtHdrHopByHop()
    for _ in range(7):
        long = long / IPv6ExtHdrDestOpt()
    return [bare, bare / IPv6ExtHdrDestOpt(), long, bare / IPv6ExtHdrFragment(m=1, id=4)]


def damaged(generator: random.Random, frame: bytes) -> bytes:
    """A frame with up to three things wrong; its MAC addresses stay."""
    made = bytearray(frame)
    for _ in range(generator.choice((0, 1, 1, 2, 3))):
        place = generator.randrange(MACS, len(made))
        match generator.randrange(4):
            case 0:
                made[place] = generator.choice((*TELLING, generator.randrange(256)))
            case 1:
                made[place] ^= 1 << generator.randrange(8)
            case 2:
                made += bytes(generator.randrange(200))
            case _:
                del made[max(place, ETHERNET) + 1 :]
    return bytes(made)


@pytest.mark.parametrize("gate", ["from_wire"], indirect=True, ids=[""])
def test_what_xdp_sends_or_drops_so_does_tc_and_the_rest_is_as_it_came(gate: Gate) -> None:
    whole = of_connections(gate, V4) + of_connections(gate, V6)
    generator, seen = random.Random(SEED), Tally[int]()
    wire, device = (gate.wire.datapath.program(name) for name in ("from_wire", "from_network"))

    def compare(packet: bytes) -> int:
        opened = gate.wire.counter(Counter.OUTSIDE_OPENED)
        by_xdp = testrun.run(wire, packet)
        try:
            by_tc = testrun.run(device, packet)
        except KernelError:  # a socket buffer has a whole IP header
            assert by_xdp.verdict == XDP_PASS, packet.hex()
            return by_xdp.verdict
        if gate.wire.counter(Counter.OUTSIDE_OPENED) > opened + 1:
            return by_xdp.verdict  # SYN and RST: opened by each, with another port
        if by_xdp.verdict == XDP_PASS:
            assert by_xdp.packet == packet, packet.hex()
        elif by_xdp.verdict == XDP_DROP:
            assert by_tc.verdict == TC_ACT_SHOT, packet.hex()
        else:
            assert (by_xdp.verdict in (XDP_TX, XDP_REDIRECT), by_tc.verdict) == (True, TC_ACT_REDIRECT), packet.hex()
            assert by_xdp.packet[MACS:] == by_tc.packet[MACS:], packet.hex()
        return by_xdp.verdict

    def every() -> None:
        for _ in range(FRAMES):
            seen[compare(damaged(generator, generator.choice(whole)))] += 1

    gate.node.run(every)
    assert seen[XDP_REDIRECT] > FRAMES // 5
    assert seen[XDP_DROP]
