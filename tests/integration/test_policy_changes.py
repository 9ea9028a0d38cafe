"""Traffic while policies change and while the agent dies: no verdict that neither the old nor the new state gives."""

from __future__ import annotations

import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest

from daemon.policy.compile import PolicyCompiler
from daemon.policy.reconcile import Guard
from ebpf.addresses import pack
from ebpf.constants import Counter
from tests.integration.policy_stage import UDP, Stage, stage
from tests.support.netns import unique
from tests.support.policies import HERE, snapshot_of
from tests.support.policy_states import ALWAYS, CHANGING, NEVER, guards, objects, world

CLIENT, SERVER = "client", "server"
RATE = 5000  # packets a second
CHANGES = 200
KILLS = 8
_STAMP = struct.Struct("=Id")  # number of the packet, time of its sending
_SO_RCVBUFFORCE, _RECEIVE_BUFFER = 33, 64 << 20
ROOT = Path(__file__).parents[2]
History = list[tuple[float, float, frozenset[int]]]  # a change began, ended, and what it opened
Changer = Callable[[Stage, random.Random, int], frozenset[int]]


class Probe:
    """Sends datagrams to all ports in turn, at a steady rate, and notes which of them came.

    Each has a source port of its own, so each is the first packet of a connection and is judged.
    """

    def __init__(self, node: Stage) -> None:
        self.target = node.address(SERVER)
        self.sent: dict[int, list[float]] = {port: [] for port in (ALWAYS, NEVER, *CHANGING)}
        self.received: dict[int, set[float]] = {port: set() for port in self.sent}
        self._sender = node.node.run(
            socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW, workload=CLIENT
        )
        self._head = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, UDP, 0) + b"".join(
            map(socket.inet_aton, (node.address(CLIENT), self.target))
        )
        self._receivers = {port: node.receiver(SERVER, socket.AF_INET, port) for port in self.sent}
        for receiver in self._receivers.values():
            receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            receiver.setblocking(False)
        self._stop = Event()
        self._thread = Thread(target=self._send)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        for port, receiver in self._receivers.items():
            with closing(receiver):
                self.received[port] = set(_stamps(receiver))
        self._sender.close()

    @property
    def total(self) -> int:
        """Packets sent so far."""
        return sum(len(times) for times in self.sent.values())

    def _send(self) -> None:
        start, number = time.monotonic(), 0
        while not self._stop.is_set():
            due = int((time.monotonic() - start) * RATE)
            if number >= due:
                time.sleep(0.0005)
            for port in self.sent:
                if number < due:
                    number += 1
                    stamp = time.monotonic()
                    ports = struct.pack("!HHHH", 1024 + number % 60000, port, 8 + _STAMP.size, 0)
                    self._sender.sendto(self._head + ports + _STAMP.pack(number, stamp), (self.target, 0))
                    self.sent[port].append(stamp)


def _stamps(receiver: socket.socket) -> Iterator[float]:
    try:
        while True:
            yield _STAMP.unpack(receiver.recv(64))[1]
    except BlockingIOError:
        return


@pytest.fixture
def made(root: None, tmp_path: Path) -> Iterator[Stage]:
    with stage(Path("/sys/fs/bpf") / unique("changes"), tmp_path / "state", (CLIENT, SERVER)) as made:
        made.open()
        yield made
        made.close()


def by_hand(made: Stage, generator: random.Random, number: int) -> frozenset[int]:
    """The next table that differs in everything; the ports that it opens."""
    wanted = world(generator, made.address(CLIENT), made.address(SERVER), number)
    made.policies.apply(wanted.table, guards(wanted, made.index(SERVER)))
    return wanted.open


class Compiled:
    """Other policies, labels and blocks, through a compiler that goes on from what was before."""

    def __init__(self) -> None:
        self.compiler = PolicyCompiler(HERE)

    def __call__(self, made: Stage, generator: random.Random, number: int) -> frozenset[int]:
        found, opened = objects(generator, made.address(CLIENT), made.address(SERVER))
        table = self.compiler.compile(snapshot_of(found))[-1]  # as the agent does
        made.policies.apply(table, {made.index(SERVER): Guard(table.workloads[pack(made.address(SERVER))])})
        return opened


@pytest.mark.parametrize("changer", [by_hand, Compiled()], ids=["by hand", "compiled"])
def test_a_probe_during_many_changes_sees_the_old_state_or_the_new_one(made: Stage, changer: Changer) -> None:
    generator = random.Random(20261)
    history: History = []

    def change(number: int) -> None:
        began = time.monotonic()
        opened = changer(made, generator, number)
        history.append((began, time.monotonic(), opened))

    change(1)
    with Probe(made) as probe:
        for number in range(2, CHANGES + 2):
            time.sleep(generator.uniform(0, 0.03))
            change(number)
        time.sleep(0.2)
    assert probe.total > 5 * CHANGES
    assert not probe.received[NEVER]
    assert probe.received[ALWAYS] == set(probe.sent[ALWAYS])
    for port in CHANGING:
        wrong = [stamp for stamp in probe.sent[port] if not _explained(port, stamp, probe, history)]
        assert not wrong, f"port {port}: {len(wrong)} of {len(probe.sent[port])}"


def _explained(port: int, stamp: float, probe: Probe, history: History) -> bool:
    """Does a state that was in force at that time, or on its way, say what became of the packet?"""
    passed = stamp in probe.received[port]
    slack = 0.05  # s between the stamp and the packet's way through the kernel, on a busy host
    began = [index for index, (start, _, _) in enumerate(history) if start <= stamp + slack]
    ended = [index for index, (_, end, _) in enumerate(history) if end <= stamp]
    possible = history[max(ended, default=0) : max(began) + 1]
    return any((port in opened) == passed for _, _, opened in possible)


def test_an_agent_that_is_killed_and_starts_again_leaves_verdicts_in_force(made: Stage) -> None:
    generator = random.Random(20262)
    first = world(generator, made.address(CLIENT), made.address(SERVER), 1)
    made.policies.apply(first.table, guards(first, made.index(SERVER)))
    ifindex = made.index(SERVER)
    dropped = int(made.datapath.counters.sums()[Counter.POLICY_DROPPED])
    made.datapath.close()
    with Probe(made) as probe:
        for seed in range(KILLS):
            argv = [sys.executable, "-m", "tests.support.policy_agent", str(made.pins), str(made.state)]
            argv += [made.address(CLIENT), made.address(SERVER), str(ifindex), str(seed)]
            agent = made.node.popen(argv, stdout=subprocess.PIPE, environment={"PYTHONPATH": str(ROOT)})
            assert agent.stdout
            assert agent.stdout.readline() == b"ready\n"
            time.sleep(generator.uniform(0, 0.1))
            agent.kill()
            agent.wait()
    made.open()
    assert made.datapath.counters.sums()[Counter.POLICY_DROPPED] > dropped
    assert not probe.received[NEVER]
    assert probe.received[ALWAYS] == set(probe.sent[ALWAYS])
    assert len(probe.sent[ALWAYS]) > 100
