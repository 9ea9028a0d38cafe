"""Sources that must prove that they are there, while a destination is flooded with SYNs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, fragment6
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Padding, Raw

from ebpf import features
from ebpf.constants import Counter, ShieldAction, ShieldFlag, ShieldRule
from ebpf.datapath import Datapath, cleanup
from tests.bpf.limit_gate import (
    FAMILIES,
    OFF,
    V4,
    V6,
    XDP_DROP,
    XDP_PASS,
    XDP_TX,
    Family,
    LimitGate,
    flows_fixture,
    gate_fixture,
)
from tests.bpf.shield_gate import ETHER, Gate
from tests.conftest import SMALL
from tests.support.netns import unique

__all__ = ["flows_fixture", "gate_fixture"]

RATE = 5
SECOND = np.uint64(10**9)
PORT = 80


def syn(sport: int = 40000, dport: int = PORT, seq: int = 1000, **fields: object) -> TCP:
    return TCP(sport=sport, dport=dport, flags="S", seq=seq, **fields)


def flood(gate: LimitGate, family: Family, target: str = "") -> None:
    """More SYNs than a destination should get, from sources that do not matter."""
    for number in range(RATE + 1):
        gate.run(family.frame(syn(sport=1000 + number), family.far, target))


@pytest.fixture(name="flooded")
def flooded_fixture(gate: LimitGate) -> LimitGate:
    gate.shield(OFF, syn_rate=RATE, proven_seconds=60)
    for family in (V4, V6):
        flood(gate, family)
    return gate


def asked(gate: LimitGate, frame: Packet) -> Ether:
    """The answer that a SYN becomes."""
    result = gate.run(frame)
    assert result.verdict == XDP_TX
    return Ether(result.packet)


def asked_first(gate: LimitGate, family: Family) -> int:
    """What the answer to a SYN with the number 0 acknowledges."""
    gate.table("proven").delete(gate.table("proven").items()[0])
    return int(asked(gate, family.frame(syn(seq=0)))[TCP].ack)


def reset(frame: Packet, answer: Packet, number: int | None = None) -> Packet:
    """What a client makes of the answer to its SYN."""
    made = frame.copy()
    made[TCP].remove_payload()
    made[TCP].options = []
    made[TCP].flags, made[TCP].seq = "R", answer[TCP].ack if number is None else number
    return Ether(bytes(made))


def whole(packet: Packet) -> bytes:
    """The packet with lengths and checksums written anew, without what pads the frame."""
    fresh = packet.copy()
    if Padding in fresh:
        del fresh[TCP].payload
    for layer, names in ((IP, ("len", "chksum")), (IPv6, ("plen",)), (TCP, ("chksum", "dataofs"))):
        for name in names:
            if layer in fresh:
                delattr(fresh[layer], name)
    return bytes(fresh)


@FAMILIES
def test_up_to_the_rate_nobody_is_asked(gate: LimitGate, family: Family) -> None:
    gate.shield(OFF, syn_rate=RATE, proven_seconds=60)
    assert gate.passed(family.frame(syn()), RATE) == RATE
    assert gate.run(family.frame(syn())).verdict == XDP_TX


@FAMILIES
def test_a_source_is_answered_with_what_it_must_refuse(flooded: LimitGate, family: Family) -> None:
    frame = family.frame(syn(options=[("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("WScale", 7)]))
    answer = asked(flooded, frame)
    assert (answer.src, answer.dst) == (frame.dst, frame.src)
    assert (answer[family.layer].src, answer[family.layer].dst) == (family.target, family.source)
    assert (answer[TCP].sport, answer[TCP].dport, str(answer[TCP].flags)) == (PORT, 40000, "SA")
    assert answer[TCP].ack != 1001
    assert not answer[TCP].options
    assert (answer.ttl if family is V4 else answer.hlim) == 64


@FAMILIES
@pytest.mark.parametrize("data", [b"", b"early data" * 30], ids=["bare", "with data"])
@pytest.mark.parametrize("tags", [(), (Dot1Q(vlan=5),), (Dot1AD(vlan=7), Dot1Q(vlan=5))], ids=["no tag", "one", "two"])
def test_lengths_and_checksums_of_the_answer_are_right(
    flooded: LimitGate, family: Family, data: bytes, tags: tuple[Packet, ...]
) -> None:
    frame = family.frame(syn(options=[("MSS", 1460)]) / Raw(data))
    network, frame = frame.payload, Ether(src=frame.src, dst=frame.dst)
    for tag in tags:
        frame = frame / tag.copy()
    answer = asked(flooded, frame / network)
    assert len(answer) == min(len(frame / network), max(60, 14 + 4 * len(tags) + (40 if family is V4 else 60)))
    assert bytes(answer)[: len(whole(answer))] == whole(answer)
    assert [layer.vlan for layer in (answer[name] for name in (Dot1AD, Dot1Q) if name in answer)] == [
        tag.vlan for tag in tags
    ]


EXTENDED = {
    "IPv4 options": (V4, IP(src=V4.source, dst=V4.target, options=[IPOption_NOP()] * 8)),
    "IPv6 extensions": (V6, IPv6(src=V6.source, dst=V6.target) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt()),
}


@pytest.mark.parametrize(("family", "network"), EXTENDED.values(), ids=EXTENDED.keys())
def test_nothing_else_of_the_headers_comes_back(flooded: LimitGate, family: Family, network: Packet) -> None:
    frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / network / syn()
    answer = asked(flooded, frame)
    assert isinstance(answer[family.layer].payload, TCP)
    assert bytes(answer)[: len(whole(answer))] == whole(answer)
    assert flooded.run(reset(frame, answer)).verdict == XDP_DROP


@FAMILIES
def test_a_reset_with_the_number_proves_the_source_and_its_next_syn_passes(flooded: LimitGate, family: Family) -> None:
    before = flooded.counter(Counter.SHIELD_PROVEN)
    frame = family.frame(syn())
    answer = asked(flooded, frame)
    assert flooded.comes(reset(frame, answer)) == XDP_DROP, "it is for nobody else"
    assert flooded.counter(Counter.SHIELD_PROVEN) - before == 1
    assert flooded.comes(frame) == XDP_PASS
    assert flooded.comes(family.frame(syn(sport=40001))) == XDP_PASS, "the source has, not the connection"
    assert flooded.run(family.frame(syn(), family.near)).verdict == XDP_TX


@FAMILIES
@pytest.mark.parametrize("wrong", ["number", "port", "source", "flags"])
def test_what_is_not_quite_the_proof_passes_and_proves_nothing(flooded: LimitGate, family: Family, wrong: str) -> None:
    frame = family.frame(syn())
    proof = reset(frame, asked(flooded, frame))
    if wrong == "number":
        proof[TCP].seq ^= 1 << 20
    elif wrong == "port":
        proof[TCP].sport += 1
    elif wrong == "source":
        proof[family.layer].src = family.near
    else:
        proof[TCP].flags = "RA"
    assert flooded.comes(proof) == XDP_PASS
    assert flooded.run(frame).verdict == XDP_TX
    assert not len(flooded.table("proven").items()[0])


@FAMILIES
def test_a_proof_holds_for_so_long_and_no_longer(flooded: LimitGate, family: Family) -> None:
    frame = family.frame(syn())
    flooded.comes(reset(frame, asked(flooded, frame)))
    assert flooded.comes(frame) == XDP_PASS
    table = flooded.table("proven")
    keys, values = table.items()
    assert keys["addr"].tobytes() == Gate.address(family.source).tobytes()
    table.update(keys, values - np.uint64(60) * SECOND)
    assert flooded.run(frame).verdict == XDP_TX


@FAMILIES
def test_only_syns_to_that_destination_are_asked(flooded: LimitGate, family: Family) -> None:
    others = [
        family.frame(syn(dport=PORT + 1)), family.frame(syn(), target=family.near),
        family.frame(TCP(sport=40000, dport=PORT, flags="A")), family.frame(TCP(sport=40000, dport=PORT, flags="SA")),
        family.frame(TCP(sport=40000, dport=PORT, flags="R", seq=7)), family.frame(UDP(sport=40000, dport=PORT)),
        family.frame(TCP(sport=40000, dport=PORT, flags="FA")),
    ]  # fmt: skip
    for frame in others:
        assert flooded.comes(frame) == XDP_PASS


@FAMILIES
def test_the_state_lasts_some_seconds_beyond_the_flood(flooded: LimitGate, family: Family) -> None:
    table = flooded.table("syns")
    frame = family.frame(syn())

    def later(seconds: int) -> int:
        keys, values = table.items()
        for name in ("window", "until"):
            values[name] -= np.uint64(seconds) * SECOND
        table.update(keys, values)
        return flooded.run(frame).verdict

    assert later(2) == XDP_TX, "the second is new, and has few SYNs"
    assert later(6) == XDP_TX
    assert later(3) == XDP_PASS
    assert later(2) == XDP_PASS


GROUPS = {
    "IPv4 multicast": (V4, "224.0.0.5"),
    "IPv4 broadcast": (V4, "255.255.255.255"),
    "IPv6 multicast": (V6, "ff02::1"),
}


@pytest.mark.parametrize(("family", "group"), GROUPS.values(), ids=GROUPS.keys())
def test_groups_are_never_answered(gate: LimitGate, family: Family, group: str) -> None:
    gate.shield(OFF, syn_rate=1, proven_seconds=60)
    for number in range(5):
        assert gate.comes(family.frame(syn(sport=number + 1), target=group)) == XDP_PASS
        assert gate.comes(family.frame(syn(sport=number + 1), group)) == XDP_PASS


@FAMILIES
def test_a_frame_to_a_group_of_machines_is_never_answered(flooded: LimitGate, family: Family) -> None:
    frame = family.frame(syn())
    for group in ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:05"):
        frame.dst = group
        assert flooded.comes(frame) == XDP_DROP


@FAMILIES
@pytest.mark.parametrize("flags", [ShieldFlag.SYN_DRY, ShieldFlag.DRY_RUN], ids=["of SYNs", "of the shield"])
def test_a_dry_run_counts_and_passes(gate: LimitGate, family: Family, flags: ShieldFlag) -> None:
    gate.shield(flags, syn_rate=RATE, proven_seconds=60)
    before = gate.counter(Counter.SHIELD_AUDITED)
    assert gate.passed(family.frame(syn()), RATE + 3) == RATE + 3
    assert gate.counter(Counter.SHIELD_AUDITED) - before == 3
    assert gate.hit(ShieldRule.SYN) == (0, 0, 3)


@FAMILIES
def test_every_syn_that_is_asked_is_counted(flooded: LimitGate, family: Family) -> None:
    before = flooded.counter(Counter.SHIELD_UNPROVEN), flooded.hit(ShieldRule.SYN)[0]
    for _ in range(4):
        flooded.run(family.frame(syn()))
    assert flooded.counter(Counter.SHIELD_UNPROVEN) - before[0] == 4
    assert flooded.hit(ShieldRule.SYN)[0] - before[1] == 4


@FAMILIES
def test_an_allowed_source_is_never_asked(flooded: LimitGate, family: Family) -> None:
    flooded.entry(family.source, action=ShieldAction.ALLOW)
    flooded.shield(ShieldFlag.ADDRESSES, syn_rate=RATE, proven_seconds=60)
    assert flooded.passed(family.frame(syn()), 20) == 20


def test_switched_off_nothing_is_asked(flooded: LimitGate) -> None:
    flooded.shield(OFF)
    assert flooded.passed(V4.frame(syn()), 20) == 20


@FAMILIES
def test_what_is_acknowledged_lies_always_before_the_syn(flooded: LimitGate, family: Family) -> None:
    mirrored = 0
    for sequence in range(0, 2**32, 2**27):
        frame = family.frame(syn(seq=sequence))
        answer = asked(flooded, frame)
        assert (sequence - answer[TCP].ack) % 2**32 <= 2**31
        assert flooded.comes(reset(frame, answer)) == XDP_DROP
        mirrored += answer[TCP].ack != asked_first(flooded, family)
        flooded.table("proven").delete(flooded.table("proven").items()[0])
    assert 0 < mirrored < 32, "for both kinds"


@FAMILIES
def test_a_syn_in_fragments_is_asked_like_any_other(flooded: LimitGate, family: Family) -> None:
    whole_one = family.frame(syn() / Raw(bytes(400)))
    if family is V4:
        first = fragment(whole_one, fragsize=200)[0]
    else:
        whole_one[IPv6].payload = IPv6ExtHdrFragment() / whole_one[TCP]
        first = ETHER / fragment6(whole_one[IPv6], 240)[0]
    assert asked(flooded, first)[TCP].dport == 40000


@pytest.fixture(name="old", scope="module")
def old_fixture(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LimitGate]:
    """The program as it is made for a kernel without cookies for programs."""
    probed = features.probe()
    items = tuple(replace(one, present=one.present and "cookies" not in one.name) for one in probed.items)
    pins, state = Path("/sys/fs/bpf") / unique("old"), tmp_path_factory.mktemp("old")
    datapath = Datapath(pins, state, SMALL, replace(probed, items=items))
    flows = datapath.ring("flows")
    yield LimitGate(datapath, flows)
    flows.close()
    datapath.close()
    cleanup(pins, state)


@FAMILIES
def test_where_the_kernel_makes_no_cookies_what_is_too_much_is_dropped(old: LimitGate, family: Family) -> None:
    old.clear()
    old.shield(OFF, syn_rate=RATE, proven_seconds=60)
    assert old.passed(family.frame(syn()), RATE + 7) == RATE
    assert old.hit(ShieldRule.SYN)[0] == 7


def test_numbers_cannot_be_guessed_from_one_another(flooded: LimitGate) -> None:
    numbers = [asked(flooded, V4.frame(syn(sport=port)))[TCP].ack for port in range(40000, 40064)]
    assert len({number >> 24 for number in numbers}) > 32
