"""How fast flow records get from the kernel's ring buffer into the store, and whether any is lost under load.

Speed: in this process, on one core, with the agent's own reader, metrics and store. The ring is filled by running the
pinned programs on the packets of whole TCP conversations between 64 workloads (BPF_PROG_TEST_RUN: six packets, six
records each), then the reader's way of emptying it is timed; filling and timing alternate, and only the second
counts. The figure is records over seconds of all rounds together. Metrics are counted by pair, so how many pairs
talk matters: 256 for the goal, and all 4,032 for comparison.

Loss: the agent as shipped, in a process of its own, and real frames on a workload's veth at 200,000 a second for 30 s
(see benchmarks.offer), each of which makes a record. Every one must be in the store's count.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np

from benchmarks import frames
from benchmarks.frames import ACK, FIN, SYN
from benchmarks.report import Figure, Goal, at_least, at_most
from benchmarks.stand import CLIENT, Agent, BenchmarkError, Stand, await_true, bare_datapath
from daemon.agent.answers import Answers
from daemon.agent.reader import Reader
from daemon.flows.cgroups import Cgroups
from daemon.flows.metrics import FlowMetrics
from daemon.flows.pipeline import FlowPipeline
from daemon.flows.store import FlowStore
from daemon.model import Directory, Identity, Workload, WorkloadId
from daemon.policy.names import Names
from ebpf import addresses, testrun
from ebpf.datapath import Datapath

WORKLOADS = 64
PEERS = 4  # workloads that each of them talks to
CONVERSATIONS = 3_500  # nearly fill the ring: six records of 192 bytes each, header included, in 4 MiB
ROUNDS = 40
RATE, SECONDS = 200_000, 30
_CONVERSATION = ((0, SYN), (1, SYN | ACK), (0, ACK), (0, FIN | ACK), (1, FIN | ACK), (0, ACK))
"""Who sends (0: the client, whose device it is) and with which flags."""


def measure() -> Iterator[Figure]:
    """Speed on one core, then loss under load."""
    yield _speed("records_ring_to_store", PEERS, at_least(1e6))
    yield _speed("records_ring_to_store_all_pairs", WORKLOADS - 1, None)
    with Stand() as stand, stand.agent() as agent:
        yield from _loss(stand, agent)


def _speed(name: str, peers: int, goal: Goal | None) -> Figure:
    with bare_datapath() as datapath, _one_core():
        directory = Directory()
        directory.update_workloads(_workloads(datapath))
        store = FlowStore(datapath.flow_dtype)
        metrics = FlowMetrics(directory)
        reader = Reader(
            datapath, FlowPipeline(store, metrics), metrics, Cgroups(None), Answers(Names(), Path("/nonexistent"))
        )
        programs = (datapath.program("from_endpoint"), datapath.program("to_endpoint"))
        packets = list(_packets(peers))
        spent = sum(_round(reader, programs, packets) for _ in range(ROUNDS))
    expected = ROUNDS * len(packets)
    if store.seen != expected:
        raise BenchmarkError(f"{store.seen:,} records of {expected:,} reached the store")
    return Figure(name, expected / spent, "records/s", goal, f"{expected:,} records of {WORKLOADS * peers:,} pairs")


def _round(reader: Reader, programs: tuple[int, int], packets: list[tuple[int, bytes]]) -> float:
    """Fill the ring, empty it; seconds that the emptying took."""
    for sender, packet in packets:
        testrun.verdict(programs[sender], packet)
    began = time.perf_counter()
    while reader.take():
        pass
    return time.perf_counter() - began


def _packets(peers: int) -> Iterator[tuple[int, bytes]]:
    for number in range(CONVERSATIONS):
        client, server = _address(number % WORKLOADS), _address((number + 1 + number // WORKLOADS % peers) % WORKLOADS)
        ports = (32768 + number, 8000 + number % 16)
        for sender, flags in _CONVERSATION:
            ends = (client, server, ports) if sender == 0 else (server, client, ports[::-1])
            yield sender, frames.tcp(*ends, flags)


def _address(number: int) -> str:
    return f"10.244.1.{number + 2}"


def _workloads(datapath: Datapath) -> list[Workload]:
    """Workloads with a name each, known to the datapath and to the directory."""
    table = datapath.maps["addresses"]
    keys, values = np.zeros(WORKLOADS, table.key_dtype), np.zeros(WORKLOADS, table.value_dtype)
    made = []
    for index in range(WORKLOADS):
        address, number = _address(index), 16 + index
        keys["addr"][index] = np.frombuffer(addresses.pack(address), np.uint32)
        values["workload"][index] = number
        name, labels = f"pod-{index}", (f"k8s:app=app-{index % 8}",)
        made.append(
            Workload(WorkloadId(number), Identity(256 + index % 8), "bench", name, labels, (), (IPv4Address(address),))
        )
    table.update(keys, values)
    return made


@contextmanager
def _one_core() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _loss(stand: Stand, agent: Agent) -> Iterator[Figure]:
    before, used = agent.counters(), agent.processor_time()
    argv = [sys.executable, "-m", "benchmarks.offer", str(RATE), str(SECONDS), stand.address(CLIENT)]
    told = json.loads(stand.output(argv, CLIENT))
    used = agent.processor_time() - used
    passed = agent.counters()["forwarded_egress"] - before["forwarded_egress"]
    missing = _missing(agent, before, told["sent"])
    if passed < told["sent"]:
        raise BenchmarkError(f"{passed:,} of {told['sent']:,} frames were forwarded; the others were not measured")
    note = (
        f"{told['sent']:,} frames sent, {passed:,} seen by the program; processor: agent {used / SECONDS:.0%}, "
        f"sender with the program {told['processor'] / SECONDS:.0%} of a core"
    )
    yield Figure("records_offered", told["sent"] / told["seconds"], "records/s", at_least(RATE * 0.99), note)
    counted = agent.counters()["flow_lost"] - before["flow_lost"]
    untracked = agent.counters()["conn_full"] - before["conn_full"]
    words = f"{counted:,} counted as lost by the kernel, {untracked:,} untracked"
    yield Figure("records_lost", missing, "records", at_most(0), words)


def _missing(agent: Agent, before: dict[str, int], sent: int) -> int:
    """Records that did not reach the store, once it has had time to take what waits."""
    with suppress(BenchmarkError):
        await_true(lambda: agent.counters()["seen"] - before["seen"] >= sent, "all records", patience=2)
    return max(0, sent - (agent.counters()["seen"] - before["seen"]))
