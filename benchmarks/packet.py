"""What a packet costs in the programs on a workload's device, in nanoseconds over a program that does nothing.

The kernel's own statistics of programs (bpf_enable_stats) tell run time and runs. Every packet is one
BPF_PROG_TEST_RUN, so between two of them other code runs, as between real packets. The cases take turns, in rounds of
2,000 packets; the figure is the median of the rounds less the median of a program of two instructions, which bears the
same price of reading the clock. The rings are emptied after each round, outside of what is measured.
"""

from __future__ import annotations

import ctypes as ct
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from benchmarks import frames
from benchmarks.frames import ACK, PSH, SYN
from benchmarks.report import Figure
from benchmarks.stand import BenchmarkError, bare_datapath
from ebpf import libbpf, testrun
from ebpf.datapath import Datapath

ROUNDS = 25
PACKETS = 2_000
SERVER = "10.244.1.3"
CLIENT = "10.244.1.2"
PORTS = (40_000, 8_080)
REQUEST = b"GET /api/users?page=2 HTTP/1.1\r\nHost: backend\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n"
_RUN_TIME_STATS = 0  # BPF_STATS_RUN_TIME
_DO_NOTHING = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit


class _Statistics(ct.Structure):
    """struct bpf_prog_info as far as run time and runs."""

    _fields_ = (("before", ct.c_uint8 * 192), ("nanoseconds", ct.c_uint64), ("runs", ct.c_uint64))


@dataclass(frozen=True, slots=True)
class Case:
    """A program and the packets that it is run on; `packets` is given the round."""

    name: str
    program: int
    packets: Callable[[int], Sequence[bytes]]
    heads: bool = False
    """each packet must have its head copied to the payload ring"""


def measure() -> Iterator[Figure]:
    """Each case over the empty program."""
    with bare_datapath() as datapath, program_statistics(), empty_program() as empty:
        flows, payloads = datapath.ring("flows"), datapath.ring("payloads")
        cases = _cases(datapath, empty)
        _handshake(datapath)
        times: dict[str, list[float]] = {case.name: [] for case in cases}
        for number in range(ROUNDS):
            for case in cases:
                times[case.name].append(round_of(case, number))
                flows.rows(datapath.flow_dtype, PACKETS * 2)
                heads = sum(1 for _ in payloads.records(PACKETS * 2))
                if case.heads and heads != PACKETS:
                    raise BenchmarkError(f"{heads} heads of {PACKETS} were copied: {case.name} measures something else")
        flows.close()
        payloads.close()
    nothing = median(times.pop("empty"))
    for name, rounds in times.items():
        note = f"{median(rounds):.0f} ns, of which {nothing:.0f} ns are an empty program and the clock"
        yield Figure(f"packet_{name}", median(rounds) - nothing, "ns", None, note)


def _cases(datapath: Datapath, empty: int) -> list[Case]:
    out, back = datapath.program("from_endpoint"), datapath.program("to_endpoint")
    template = frames.tcp("11.0.0.0", SERVER, PORTS, SYN)
    data = frames.tcp(CLIENT, SERVER, PORTS, ACK, bytes(1400))
    answer = frames.tcp(SERVER, CLIENT, PORTS[::-1], ACK, bytes(1400))
    request = frames.tcp(CLIENT, SERVER, PORTS, PSH | ACK, REQUEST)

    def fresh(number: int) -> list[bytes]:
        return [row.tobytes() for row in frames.distinct(template, PACKETS, number * PACKETS)]

    return [
        Case("empty", empty, lambda _: [data] * PACKETS),
        Case("from_endpoint_established", out, lambda _: [data] * PACKETS),
        Case("to_endpoint_established", back, lambda _: [answer] * PACKETS),
        Case("from_endpoint_new_connection", out, fresh),
        Case("from_endpoint_http_head", out, lambda _: [request] * PACKETS, heads=True),
    ]


def _handshake(datapath: Datapath) -> None:
    for sender, flags in (("from_endpoint", SYN), ("to_endpoint", SYN | ACK), ("from_endpoint", PSH | ACK)):
        ends = (CLIENT, SERVER, PORTS) if sender == "from_endpoint" else (SERVER, CLIENT, PORTS[::-1])
        testrun.verdict(datapath.program(sender), frames.tcp(*ends, flags))


def round_of(case: Case, number: int) -> float:
    """Nanoseconds a packet."""
    packets = case.packets(number)
    before = _spent(case.program)
    for packet in packets:
        testrun.verdict(case.program, packet)
    after = _spent(case.program)
    return (after[0] - before[0]) / (after[1] - before[1])


def _spent(program: int) -> tuple[int, int]:
    """Nanoseconds and runs so far."""
    told = _Statistics()
    libbpf.info(program, told, "program statistics")
    return int(told.nanoseconds), int(told.runs)


@contextmanager
def program_statistics() -> Iterator[None]:
    """The kernel counts run times as long as the descriptor is open."""
    descriptor = libbpf.call("cannot switch on program statistics", "bpf_enable_stats", _RUN_TIME_STATS)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def empty_program(kind: libbpf.ProgramType = libbpf.ProgramType.SCHED_CLS, flags: int = 0) -> Iterator[int]:
    """A program of two instructions."""
    code = ct.create_string_buffer(_DO_NOTHING, len(_DO_NOTHING))
    program = libbpf.load_program(kind, "empty", ct.addressof(code), len(_DO_NOTHING), flags)
    try:
        yield program
    finally:
        os.close(program)
