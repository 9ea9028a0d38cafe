"""Right, damaged and random frames through the shield, each judged by a model that was written from its description.

Every thousand frames something else is in force. The seed is fixed, so a failure repeats; `make fuzz` takes a million
frames, REMORA_FUZZ_SEED another seed.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter as Tally
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from daemon.shield.entries import Entries
from daemon.shield.reconcile import ShieldReconciler
from daemon.shield.tables import ShieldTables
from ebpf import testrun
from ebpf.addresses import pack
from ebpf.constants import Counter, ShieldFlag
from ebpf.datapath import Datapath
from tests.conftest import SMALL, loaded
from tests.support.shield_frames import PEERS4, PEERS6, Forge
from tests.support.shield_model import DROP, PASS, Entry, Limit, Model, Network
from tests.support.shield_reading import ACK, SYN, Seen, read

SEED = int(os.environ.get("REMORA_FUZZ_SEED", "20261"))
FRAMES = int(os.environ.get("REMORA_FUZZ_FRAMES", "60000"))
ROUND = 1000
ANSWER = 3  # XDP_TX
_LISTS = ShieldFlag.ADDRESSES | ShieldFlag.NETWORKS4 | ShieldFlag.NETWORKS6 | ShieldFlag.BANS
CROWD = 3200  # addresses on lists that nobody sends from; so many that blocks overflow
OTHER = Entry(allow=False, dry=False)
_NEVER, _LONG = 1 << 32, 1 << 63
_DROPS = (Counter.SHIELD_MALFORMED, Counter.SHIELD_BANNED, Counter.SHIELD_DENIED, Counter.SHIELD_LIMITED)
IN_FORCE = (
    ShieldFlag.MALFORMED,
    ShieldFlag.MALFORMED | _LISTS,
    _LISTS,
    ShieldFlag.MALFORMED | ShieldFlag.MALFORMED_DRY | _LISTS,
    ShieldFlag.MALFORMED | _LISTS | ShieldFlag.DRY_RUN,
    ShieldFlag(0),
)


def row(dtype: np.dtype, **fields: Any) -> np.ndarray:
    made = np.zeros(1, dtype)
    for name, value in fields.items():
        made[name] = value
    return made


def mapped(address: bytes) -> np.ndarray:
    return np.frombuffer(address if len(address) == 16 else pack(".".join(map(str, address))), np.uint32)


def pack_bits(address: bytes, length: int) -> tuple[bytes, int]:
    return mapped(address).tobytes(), length + 128 - len(address) * 8


@dataclass
class Shield:
    """The program and its maps."""

    datapath: Datapath

    def put(self, name: str, key: dict[str, Any] | int, **value: Any) -> None:
        table = self.datapath.maps[name]
        keys = np.full(1, key, table.key_dtype) if isinstance(key, int) else row(table.key_dtype, **key)
        table.update(keys, row(table.value_dtype, **value))

    def set(self, **config: int) -> None:
        self.put("shield_config", 0, **config)

    def clear(self, *names: str) -> None:
        for name in names:
            table = self.datapath.maps[name]
            table.delete(table.items()[0])

    def enter(self, lists: dict[Network, Entry], others: list[bytes]) -> ShieldFlag:
        """Put networks and addresses on lists, and other addresses beside them; the flags by which they are found."""
        found = [(pack_bits(*network), entry) for network, entry in lists.items()]
        found += [((pack(".".join(map(str, one))), 128), OTHER) for one in others]
        entries = Entries(
            np.frombuffer(b"".join(address for (address, _), _ in found), np.uint8).reshape(-1, 16),
            np.array([bits for (_, bits), _ in found], np.uint8),
            np.zeros(len(found), np.uint32),
        )
        allow, dry = (np.array([getattr(entry, name) for _, entry in found]) for name in ("allow", "dry"))
        ShieldReconciler(self.datapath.maps).apply(
            ShieldTables(entries, 64 + entries.bits.astype(np.uint32), allow, dry)
        )
        config = self.datapath.maps["shield_config"]
        (value,) = config.lookup(np.zeros(1, config.key_dtype))
        return ShieldFlag(int(value["flags"]))

    def judge(self, frame: bytes) -> int:
        return testrun.verdict(self.datapath.program("from_wire"), frame)

    def dropped(self) -> int:
        """Packets that were dropped so far, by the counters."""
        return int(self.datapath.counters.sums()[list(_DROPS)].sum())


@pytest.fixture(scope="module")
def shield(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shield]:
    """A datapath of its own: what is told here would use up what others are to be told."""
    with loaded(SMALL, f"remora-test-fuzz-{os.getpid()}", tmp_path_factory.mktemp("fuzz")) as datapath:
        yield Shield(datapath)


@pytest.fixture(autouse=True)
def begin(shield: Shield) -> None:
    """Nothing in force, nothing seen."""
    shield.set()
    shield.clear("shield_bans", "shield_fragments", "shield_buckets", "shield_syns", "shield_proven")


def networks(generator: random.Random) -> dict[Network, Entry]:
    """Addresses and networks around those that frames come from, some within others."""
    made = {}
    for _ in range(16):
        address = generator.choice(PEERS4 + PEERS6)
        bits = len(address) * 8
        length = generator.choice((bits, bits, bits - 2, bits - 4, 24, 14, 9, 1, 0))
        number = int.from_bytes(address) >> (bits - length) << (bits - length)
        made[number.to_bytes(len(address)), length] = Entry(generator.random() < 0.4, generator.random() < 0.2)
    return made


def arrange(shield: Shield, generator: random.Random, flags: ShieldFlag) -> Model:
    """Put something else in force; the model of it."""
    model = Model(
        malformed=ShieldFlag.MALFORMED in flags, malformed_dry=ShieldFlag.MALFORMED_DRY in flags,
        dry=ShieldFlag.DRY_RUN in flags,
    )  # fmt: skip
    shield.clear("shield_bans", "shield_fragments")
    if _LISTS in flags:
        model.lists, model.bans = networks(generator), set(generator.sample(PEERS4 + PEERS6, 3))
        others = [bytes([240, *generator.randbytes(3)]) for _ in range(generator.choice((0, 100, CROWD)))]
        flags = flags & ~_LISTS | ShieldFlag.BANS | shield.enter(model.lists, others)
        for address in generator.sample(PEERS4 + PEERS6, 5):
            shield.put("shield_bans", {"addr": mapped(address)}, until=1)  # ended
        for address in model.bans:
            shield.put("shield_bans", {"addr": mapped(address)}, until=_LONG)
    shield.set(flags=flags)
    return model


def forget(shield: Shield, model: Model) -> None:
    """Let both begin anew with fragments, before there are too many for the map."""
    shield.clear("shield_fragments")
    model.datagrams.clear()


def test_no_frame_is_dropped_that_must_pass_and_none_passes_that_must_drop(shield: Shield) -> None:
    generator, forge = random.Random(SEED), Forge(SEED)
    model = Model()
    before, drops = shield.dropped(), 0
    for number in range(FRAMES):
        if number % ROUND == 0:
            model = arrange(shield, generator, IN_FORCE[number // ROUND % len(IN_FORCE)])
        frame = forge.frame()
        expected, verdict = model.verdict(frame), shield.judge(frame)
        assert verdict == expected, f"frame {number} of seed {SEED} under {model}: {frame.hex()}"
        drops += verdict == DROP
    assert shield.dropped() - before == drops > 0


def test_limits_and_syn_rates_that_nobody_reaches_change_nothing(shield: Shield) -> None:
    forge, model = Forge(SEED + 1), Model(malformed=True)
    shield.put("shield_limits", 0, rule=64, packet_rate=_NEVER, packet_burst=_NEVER, prefix4=32, prefix6=64)
    shield.put("shield_limits", 1, rule=65, byte_rate=_NEVER, byte_burst=_NEVER, prefix4=0, prefix6=0)
    shield.set(flags=ShieldFlag.MALFORMED, limits=2, syn_rate=_NEVER - 1, proven_seconds=60)
    for number in range(FRAMES // 4):
        if number % ROUND == 0:
            forget(shield, model)
        frame = forge.frame()
        assert shield.judge(frame) == model.verdict(frame), frame.hex()


LIMITS = [
    Limit(),
    Limit(protocol=6),
    Limit(protocol=17, port=53),
    Limit(port=443, prefix4=24, prefix6=48),
    Limit(only_syn=True, prefix4=8, prefix6=32),
    Limit(protocol=6, port=80, only_syn=True, prefix4=0, prefix6=0),
]


@pytest.mark.parametrize("limit", LIMITS)
def test_a_source_sends_what_its_bucket_holds_and_no_more_than_time_adds(shield: Shield, limit: Limit) -> None:
    burst = 3
    shield.put(
        "shield_limits", 0, rule=64, packet_rate=1, packet_burst=burst, proto=limit.protocol, port=limit.port,
        prefix4=limit.prefix4, prefix6=limit.prefix6, syn=limit.only_syn,
    )  # fmt: skip
    shield.set(flags=ShieldFlag.MALFORMED, limits=1)
    forge, model, began = Forge(SEED + 2), Model(malformed=True), time.monotonic()
    came: Tally[Network] = Tally()
    passed: Tally[Network] = Tally()
    for number in range(FRAMES // 12):
        if number % ROUND == 0:
            forget(shield, model)
        frame = forge.frame()
        seen, expected, verdict = read(frame), model.verdict(frame), shield.judge(frame)
        bucket = limit.bucket(seen) if seen and expected == PASS else None
        if bucket is None:
            assert verdict == expected, frame.hex()
            continue
        came[bucket] += 1
        passed[bucket] += verdict == PASS
        most = burst + int(time.monotonic() - began) + 1
        assert min(came[bucket], burst) <= passed[bucket] <= most, f"{bucket}: {frame.hex()}"
    assert any(came[bucket] > passed[bucket] for bucket in came), "the limit was never reached"


def test_only_syns_are_answered_and_with_what_a_client_refuses(shield: Shield) -> None:
    shield.set(flags=ShieldFlag.MALFORMED, syn_rate=1, proven_seconds=60)
    forge, model = Forge(SEED + 3), Model(malformed=True)
    program, answered = shield.datapath.program("from_wire"), 0
    for number in range(FRAMES // 4):
        if number % ROUND == 0:
            forget(shield, model)
        frame = forge.frame()
        seen, expected = read(frame), model.verdict(frame)
        if seen is None or expected == DROP or not seen.is_syn:
            assert shield.judge(frame) == expected, frame.hex()
            continue
        result = testrun.run(program, frame)
        assert result.verdict in (PASS, ANSWER), frame.hex()
        if result.verdict == ANSWER:
            answer = read(result.packet)
            assert answer
            assert (result.packet[:6], result.packet[6:12]) == (frame[6:12], frame[:6])
            answers(seen, answer)
            answered += 1
    assert answered > 0


def answers(asked: Seen, answer: Seen) -> None:
    """Does it go back to whoever sent the SYN, as a SYN-ACK that acknowledges something else, with right checksums?"""
    assert answer.fault is None or asked.target.startswith(bytes(10) + b"\xff\xff"), "what was asked answers"
    assert (answer.source, answer.target) == (asked.target, asked.source)
    assert answer.payload[:4] == asked.payload[2:4] + asked.payload[:2]
    assert answer.payload[13] == SYN | ACK
    sequence, acknowledged = int.from_bytes(asked.payload[4:8]), int.from_bytes(answer.payload[8:12])
    assert acknowledged != sequence + 1 & 0xFFFFFFFF, "a client must not take it for an answer"
    length = len(answer.payload).to_bytes(4)
    assert total(answer.source + answer.target + length + bytes([0, answer.protocol]) + answer.payload) == 0xFFFF
    assert total(answer.header) == 0xFFFF  # of IPv6 there is none


def total(data: bytes) -> int:
    """Sum of words as the Internet checksum has it; all ones where the checksum within is right."""
    number = int.from_bytes(data + bytes(len(data) % 2)) % 0xFFFF
    return number or 0xFFFF
