"""What a packet costs in the XDP program, in nanoseconds over an XDP program that does nothing, in the same run.

BPF_PROG_TEST_RUN repeats within the kernel, as a driver's loop does, and every packet is from a sender that is drawn
at random (benchmarks.varied), so no bucket of a hash stays hot. How many senders there are decides as much as what the
program does: behind each is a cache miss or two, once they are more than the processor's second cache holds. So lists
are measured with one sender, with a hundred, and with packets from all over the list. Measured program and empty one
take turns; the figure is the difference of their lower quartiles (benchmarks.varied), medians are told beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np

from benchmarks import frames, shielded
from benchmarks.packet import PORTS, empty_program
from benchmarks.report import Figure, Goal, at_most
from benchmarks.stand import BenchmarkError, bare_datapath
from benchmarks.varied import Senders, nanoseconds, undisturbed
from ebpf import libbpf, testrun
from ebpf.constants import ShieldFlag
from ebpf.datapath import Datapath

ROUNDS, REPEAT = 15, 50_000
SENDERS = 1_000
"""of what is no list"""
LISTS = (1_000, 100_000)
_FIRST = 0x0B000000  # address of the first sender
_DROP, _PASS = 1, 2  # enum xdp_action
_PLENTY = 1 << 40
_TEMPLATE = frames.tcp("11.0.0.0", "198.18.0.10", PORTS, frames.ACK, bytes(26))


@dataclass(frozen=True, slots=True)
class Stage:
    """Something in force, how to put it there, and what it says of packets of all senders."""

    name: str
    verdict: int
    prepare: Callable[[Datapath], None]
    senders: int = SENDERS
    step: int = 1
    """from one sender's address to the next"""
    goal: Goal | None = None


def measure() -> Iterator[Figure]:
    """Each stage over the empty program."""
    with (
        bare_datapath(xdp=True) as datapath,
        empty_program(libbpf.ProgramType.XDP, libbpf.XDP_HAS_FRAGS) as empty,
    ):
        ring = datapath.ring("flows")
        for stage in _stages():
            stage.prepare(datapath)
            senders = Senders(_TEMPLATE, frames.SOURCE.start, _FIRST, stage.senders, stage.step)
            _check(datapath, stage, senders)
            spent, nothing = [], []
            for _ in range(ROUNDS):
                spent.append(nanoseconds(datapath.program("from_wire"), senders, REPEAT))
                nothing.append(nanoseconds(empty, senders, REPEAT))
                ring.rows(datapath.flow_dtype, REPEAT)
            shielded.configure(datapath)
            empty_run = undisturbed(nothing)
            note = f"{stage.senders:,} senders; median {median(spent) - empty_run:.0f} ns, rounds from"
            note += f" {min(spent) - empty_run:.0f} to {max(spent) - empty_run:.0f} ns"
            yield Figure(f"xdp_{stage.name}", undisturbed(spent) - empty_run, "ns", stage.goal, note)
        ring.close()


def _stages() -> list[Stage]:
    malformed = ShieldFlag.MALFORMED
    stages = [
        Stage("off_pass", _PASS, shielded.configure),
        Stage("malformed_pass", _PASS, partial(shielded.configure, flags=malformed)),
        Stage("list_0_pass", _PASS, partial(_addresses, 0)),
        Stage("limit_pass", _PASS, partial(_limit, _PLENTY)),
        Stage("limit_drop", _DROP, partial(_limit, 1)),
    ]
    for count in LISTS:
        addresses, networks = partial(_addresses, count), partial(_networks, count)
        goal = at_most(60) if count == max(LISTS) else None
        stages += [
            Stage(f"list_{count}_drop_one", _DROP, addresses, 1, 1, goal),
            Stage(f"list_{count}_drop_hundred", _DROP, addresses, 100, count // 100, goal),
            Stage(f"list_{count}_drop_all", _DROP, addresses, count, 1, goal),
            Stage(f"networks_{count}_drop_hundred", _DROP, networks, 100, count // 100 * 256),
            Stage(f"networks_{count}_drop_all", _DROP, networks, count, 256),
        ]
    return stages


def _check(datapath: Datapath, stage: Stage, senders: Senders) -> None:
    """Is it what is to be measured? A bucket has its token for each sender's first packet. Raises BenchmarkError."""
    program = datapath.program("from_wire")
    for number in range(min(senders.count, SENDERS)):
        testrun.verdict(program, senders.nth(number))
    for number in (0, senders.count - 1):
        verdict = testrun.verdict(program, senders.nth(number))
        if verdict != stage.verdict:
            raise BenchmarkError(f"{stage.name}: the verdict is {verdict} and not {stage.verdict}")


def _addresses(count: int, datapath: Datapath) -> None:
    shielded.deny(datapath, np.arange(_FIRST, _FIRST + count, dtype=np.uint32))


def _networks(count: int, datapath: Datapath) -> None:
    shielded.deny(datapath, np.arange(_FIRST, _FIRST + count * 256, 256, dtype=np.uint32), 24)


def _limit(rate: int, datapath: Datapath) -> None:
    """So many packets a second of each address, in the place of what was counted before."""
    table = datapath.maps["shield_buckets"]
    table.delete(table.items()[0])
    shielded.limit(datapath, 0, packet_rate=rate, packet_burst=rate, prefix4=32, prefix6=64)
    shielded.configure(datapath, flags=ShieldFlag.MALFORMED, limits=1)
