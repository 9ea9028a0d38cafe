"""What the agent costs traffic: a bulk transfer and many small requests between two namespaces, with over without.

The load runs all the time. In short turns the agent's programs are attached to devices, cgroup and tracepoint,
or nothing of it is attached and the agent sleeps (SIGSTOP); who is first changes from round to round. What arrives is
read from the receiving device, and the figure is the median of the rounds' ratios, so neighbours on the machine weigh
on both sides alike. Client and server have a processor each; the scheduler's choices are not what is measured.

iperf3 sends one TCP stream with its defaults. wrk keeps 32 connections of one thread to one nginx worker busy, which
serves a file of 1 KiB; all answers have one size, so bytes stand for requests. That is the price of small packets and
of HTTP heads where all processors are taken, the agent's own share included.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import web
from benchmarks.report import Figure, Goal, at_least, say
from benchmarks.stand import CLIENT, PORT, SERVER, Agent, BenchmarkError, Stand

ROUNDS = 40
WARM_UP = 2.0  # s of load before the first turn
SETTLE = 0.1  # s after a change until counting begins
TURN = 0.4  # s of counting
CONNECTIONS = 32
_LONG = 600  # s; every load is ended after its rounds


@dataclass(frozen=True, slots=True)
class Load:
    """A load that runs: whose eth0 tells what arrives, the name of the figure, what it should reach."""

    name: str
    receiver: subprocess.Popen[bytes]
    sender: subprocess.Popen[bytes]
    goal: Goal


def measure() -> Iterator[Figure]:
    """iperf3, then wrk."""
    for begin in (_bulk, _requests):
        with Stand() as stand, stand.agent() as agent:
            yield _ratio(stand, agent, begin(stand))


def _bulk(stand: Stand) -> Load:
    client, server = processors()
    receiver = stand.spawn(["iperf3", "-s"], SERVER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(WARM_UP / 4)
    argv = ["iperf3", "-c", stand.address(SERVER), "-t", str(_LONG), "-A", f"{client},{server}"]
    sender = stand.spawn(argv, CLIENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Load("throughput_iperf3_with_over_without", receiver, sender, at_least(0.97))


def _requests(stand: Stand) -> Load:
    client, server = processors()
    web.serve(stand, server)
    url = f"http://{stand.address(SERVER)}:{PORT}/"
    argv = ["taskset", "-c", str(client), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{_LONG}s", url]
    wrk = stand.spawn(argv, CLIENT, stdout=subprocess.DEVNULL)
    return Load("throughput_wrk_with_over_without", wrk, wrk, at_least(0.95))


def _ratio(stand: Stand, agent: Agent, load: Load) -> Figure:
    time.sleep(WARM_UP)
    rates: dict[bool, list[float]] = {True: [], False: []}
    used = agent.processor_time()
    for turn in range(ROUNDS):
        for attached in (turn % 2 == 0, turn % 2 == 1):
            with nullcontext() if attached else stand.detached(agent):
                rates[attached].append(_rate(load))
    used = (agent.processor_time() - used) / (ROUNDS * (TURN + SETTLE))
    ratios = [ours / plain for ours, plain in zip(rates[True], rates[False], strict=True)]
    say(f"   rounds: {' '.join(f'{ratio:.2f}' for ratio in ratios)}")
    say(f"   agent: {used:.0%} of a processor while attached, {agent.resident():.0f} MB; {_lost(agent)}")
    note = f"{median(rates[True]) / 1e6:,.1f} with, {median(rates[False]) / 1e6:,.1f} without (MB/s)"
    return Figure(load.name, median(ratios), "ratio", load.goal, note)


def _rate(load: Load) -> float:
    """Bytes a second that arrive during a turn; raises BenchmarkError when the load ended."""
    time.sleep(SETTLE)
    began, before = time.monotonic(), _received(load.receiver.pid)
    time.sleep(TURN)
    rate = (_received(load.receiver.pid) - before) / (time.monotonic() - began)
    if load.sender.poll() is not None or not rate:
        raise BenchmarkError(f"no traffic for {load.name}")
    return rate


def _received(pid: int) -> int:
    """Bytes that came in over eth0 of a process's namespace."""
    for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines():
        device, _, counts = line.partition(":")
        if device.strip() == "eth0":
            return int(counts.split()[0])
    raise BenchmarkError(f"process {pid} has no eth0")


def _lost(agent: Agent) -> str:
    counters = agent.counters()
    return f"{counters['seen']:,} records, {counters['flow_lost']:,} lost, {counters['payload_lost']:,} heads lost"


def processors() -> tuple[int, int]:
    """One for the client, one for the server; the same where there is but one."""
    mine = sorted(os.sched_getaffinity(0))
    return mine[0], mine[-1]
