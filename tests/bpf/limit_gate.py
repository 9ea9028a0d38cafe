"""The first line with limits: buckets and settings go in by its maps, time passes where a test says so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from mmap import mmap
from time import monotonic_ns
from typing import Any, NoReturn

import numpy as np
import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from ebpf import testrun
from ebpf.constants import ShieldFlag, ShieldRule
from ebpf.datapath import Datapath
from ebpf.maps import HashMap
from ebpf.ringbuf import RingBuffer
from tests.bpf.shield_gate import ETHER, XDP_DROP, XDP_PASS, Gate, flows_fixture, row

XDP_TX = 3
OFF = ShieldFlag(0)
LIMIT = int(ShieldRule.FIRST)
"""number of the first limit"""
TICK_SHIFT, TOKEN = 9, 1953125


@dataclass(frozen=True)
class Family:
    """Addresses of one family: a source, its neighbour in the same network, a stranger, and who is asked for."""

    layer: type[Packet]
    source: str
    near: str
    far: str
    target: str

    def frame(self, payload: Packet, source: str = "", target: str = "", **fields: Any) -> Packet:
        return ETHER / self.layer(src=source or self.source, dst=target or self.target, **fields) / payload


V4 = Family(IP, "198.18.5.9", "198.18.5.77", "198.18.6.9", "203.0.113.7")
V6 = Family(IPv6, "2001:db8:5::9", "2001:db8:5::77", "2001:db8:6::9", "2001:db8:113::7")
FAMILIES = pytest.mark.parametrize("family", [V4, V6], ids=["IPv4", "IPv6"])


@dataclass
class LimitGate(Gate):
    """The program, and what it decides by."""

    def table(self, name: str) -> HashMap:
        return self.datapath.maps[f"shield_{name}"]

    def limit(self, *limits: dict[str, int], flags: ShieldFlag = OFF, **fields: int) -> None:
        """Let these limits hold, of each address unless they say otherwise, and these other settings."""
        table = self.table("limits")
        for place, one in enumerate(limits):
            values = {"rule": LIMIT + place, "prefix4": 32, "prefix6": 128} | one
            table.update(np.full(1, place, table.key_dtype), row(table.value_dtype, **values))
        self.shield(flags, limits=len(limits), **fields)

    def wait(self, seconds: float) -> None:
        """Let so much time pass for all buckets."""
        table = self.table("buckets")
        keys, values = table.items()
        values["last"] -= np.int64(seconds * 1e9 / 2**TICK_SHIFT).astype(np.uint64)
        table.update(keys, values)

    def run(self, frame: Packet) -> testrun.Result:
        return testrun.run(self.datapath.program("from_wire"), bytes(frame))

    def comes(self, frame: Packet) -> int:
        """The verdict on a frame, which is not touched."""
        result = self.run(frame)
        assert result.packet == bytes(frame)
        return result.verdict

    def passed(self, frame: Packet, times: int) -> int:
        """Of so many frames, how many pass?"""
        return sum(self.comes(frame) == XDP_PASS for _ in range(times))


def tick() -> int:
    """The time of now as buckets keep it."""
    return monotonic_ns() >> TICK_SHIFT


def in_step(rounds: int, turn: Callable[[], None], before: Callable[[], None], after: Callable[[], int]) -> set[int]:
    """Do `turn` here and in a process beside at the same instant, again and again; what `after` found."""
    steps = memoryview(mmap(-1, 32)).cast("q")  # round begun here, awaited there, done there; given up here
    beside = os.fork()
    if not beside:
        _beside(rounds, turn, steps)
    found = set()
    try:
        for number in range(1, rounds + 1):
            _reach(steps, 1, number)
            before()
            steps[0] = number
            turn()
            _reach(steps, 2, number)
            found.add(after())
    finally:
        steps[3] = 1
        os.waitpid(beside, 0)
    return found


def _beside(rounds: int, turn: Callable[[], None], steps: memoryview) -> NoReturn:
    try:
        for number in range(1, rounds + 1):
            steps[1] = number
            _reach(steps, 0, number)
            turn()
            steps[2] = number
    except BaseException:  # nothing of the test run's goes on in this process
        steps[3] = 1
    finally:
        os._exit(0)


def _reach(steps: memoryview, place: int, number: int) -> None:
    """Turn in a circle until the other process is so far: whoever sleeps comes too late."""
    while steps[place] < number:
        assert not steps[3], "the other process gave up"


@pytest.fixture(name="gate")
def gate_fixture(datapath: Datapath, flows: RingBuffer) -> Iterator[LimitGate]:
    """A shield that does nothing yet."""
    made = LimitGate(datapath, flows)
    made.clear()
    yield made
    made.clear()


__all__ = ["XDP_DROP", "XDP_PASS", "flows_fixture"]
