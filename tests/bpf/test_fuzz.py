"""Random and mutated frames: never in the way, whatever they are.

The seed is fixed, so a failure repeats; REMORA_FUZZ_SEED and REMORA_FUZZ_PACKETS
change seed and number.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from ebpf import testrun
from ebpf.constants import Counter
from ebpf.errors import KernelError
from tests.bpf.conftest import EVERYTHING, TC_ACT_UNSPEC, Wire

SEED = int(os.environ.get("REMORA_FUZZ_SEED", "20260"))
PACKETS = int(os.environ.get("REMORA_FUZZ_PACKETS", "220000"))
DRAIN = 2048  # packets between two readings of the rings
_V4 = IP(src="10.0.0.1", dst="10.0.0.2")
_V6 = IPv6(src="fd00::1", dst="fd00::2")
SEEDS = [
    bytes(Ether() / packet)
    for packet in (
        _V4 / TCP(sport=40000, dport=80, flags="S"),
        _V4 / TCP(sport=40000, dport=80, flags="PA") / Raw(b"GET /api HTTP/1.1\r\nHost: shop\r\n\r\n"),
        IP(options=[IPOption_NOP()] * 12) / TCP(sport=80) / Raw(b"HTTP/1.1 200 OK\r\n\r\n"),
        _V4 / UDP(sport=40000, dport=53) / DNS(qd=DNSQR(qname="backend.shop.svc.cluster.local")),
        IP(src="10.0.0.1", dst="10.0.0.2", flags="MF") / UDP(sport=1, dport=2) / Raw(b"x" * 64),
        IP(src="10.0.0.1", dst="10.0.0.2", frag=8) / Raw(b"x" * 64),
        _V4 / ICMP() / Raw(b"ping"),
        _V4 / SCTP(sport=5, dport=6),
        _V6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / TCP(dport=53) / Raw(b"\x00\x20\x12\x34"),
        _V6 / IPv6ExtHdrFragment(m=1, id=7) / UDP(dport=53) / Raw(b"x" * 32),
        _V6 / ICMPv6EchoRequest(),
        Dot1Q(vlan=3) / _V4 / UDP(dport=53) / Raw(b"q"),
        ARP(),
    )
]  # fmt: skip


def frames(generator: random.Random, count: int) -> Iterator[bytes]:
    """Valid frames with bytes changed, cut, grown, glued together, or nothing but noise."""
    for _ in range(count):
        frame = bytearray(generator.choice(SEEDS))
        way = generator.randrange(8)
        if way == 0:
            frame = bytearray(generator.randbytes(generator.randrange(34, 200)))
            frame[12:14] = generator.choice((b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x88\xa8", b"\x12\x34"))
        elif way == 1:
            del frame[generator.randrange(14, len(frame)) :]
        elif way == 2:
            frame += generator.choice(SEEDS)[14:]
        for _ in range(generator.randrange(6) if len(frame) > 14 else 0):
            frame[generator.randrange(14, len(frame))] = generator.randrange(256)
        yield bytes(frame)


def test_no_frame_is_dropped_changed_or_lost_sight_of(wire: Wire) -> None:
    generator = random.Random(SEED)
    before = wire.datapath.counters.sums()
    programs = [wire.datapath.program(name) for name in ("from_endpoint", "to_endpoint")]
    ran = refused = records = 0
    for number, frame in enumerate(frames(generator, PACKETS)):
        try:
            assert testrun.verdict(programs[number & 1], frame) == TC_ACT_UNSPEC, frame.hex()
            ran += 1
        except KernelError:  # the kernel's test run refuses frames that no driver would hand up
            refused += 1
        if number % DRAIN == 0:
            records += len(wire.flows.rows(wire.datapath.flow_dtype, EVERYTHING))
            records += len(wire.messages())
    counted = wire.datapath.counters.sums() - before
    assert ran >= 0.9 * PACKETS, f"{refused} frames were refused by the test run itself"
    assert counted[Counter.FORWARDED_INGRESS] + counted[Counter.FORWARDED_EGRESS] == ran
    assert counted[Counter.FLOW_LOST] == counted[Counter.PAYLOAD_LOST] == 0
    assert records > 0
