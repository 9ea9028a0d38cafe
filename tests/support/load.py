"""Load on a Service: new TCP connections at an even rate, or many UDP flows that each ask and wait for the answer.

Run as `python -m tests.support.load tcp ADDRESS PORT RATE` or `… udp ADDRESS PORT FLOWS INTERVAL`; prints `ready` when
under way, and when something comes on its input a JSON object with what became of all requests. Half of the UDP flows
are connected sockets; such a one connects anew when the kernel tells it that its peer is gone, as resolvers do.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field

PATIENCE = 1.0  # s for an answer
_TICK = 0.01  # s between two rounds of sending
_TOLD = 20  # failures that are told in words


@dataclass
class Outcome:
    """What became of the requests. `longest`: s that the slowest answer took, or the longest silence of a UDP flow."""

    requests: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    longest: float = 0.0
    reconnected: int = 0
    seconds: float = 0.0

    def fail(self, words: str) -> None:
        self.failed += 1
        if len(self.failures) < _TOLD:
            self.failures.append(words)


def asked_to_end() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def tcp(address: tuple[str, int], rate: float) -> Outcome:
    """`rate` connections a second, each with a request and its answer, until told to end."""
    outcome = Outcome()
    began = due = time.monotonic()
    while not asked_to_end():
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))
        start = time.monotonic()
        try:
            _exchange(address)
        except OSError as error:
            outcome.fail(f"after {start - began:.2f} s: {error!r}")
        outcome.requests += 1
        outcome.longest = max(outcome.longest, time.monotonic() - start)
    outcome.seconds = time.monotonic() - began
    return outcome


def _exchange(address: tuple[str, int]) -> None:
    with socket.create_connection(address, PATIENCE * 3) as connection:
        connection.sendall(b"?")
        if not connection.recv(64):
            raise ConnectionError("closed without an answer")


@dataclass(slots=True)
class Flow:
    """One UDP flow. `waiting`: when the first request was sent that has no answer yet; 0: none."""

    number: int
    address: tuple[str, int]
    connected: bool
    socket: socket.socket = field(init=False)
    waiting: float = 0.0

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        if self.connected:
            self.socket.connect(self.address)

    def send(self) -> None:
        data = self.number.to_bytes(4)
        self.socket.send(data) if self.connected else self.socket.sendto(data, self.address)


class Flows:
    """All UDP flows behind one epoll."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self.outcome = Outcome()
        self.flows = [Flow(number, address, number % 2 == 0) for number in range(count)]
        self._epoll = select.epoll()
        self._by_fd: dict[int, Flow] = {}
        for flow in self.flows:
            self._watch(flow)

    def run(self, interval: float) -> Outcome:
        """Each flow asks once in an interval until told to end; then the last answers are waited for."""
        began = time.monotonic()
        sent = 0
        while not asked_to_end():
            due = int((time.monotonic() - began) / interval * len(self.flows))
            for index in range(sent, due):
                self._ask(self.flows[index % len(self.flows)])
            sent = max(sent, due)
            self._hear(_TICK)
        self.outcome.seconds = time.monotonic() - began
        while any(flow.waiting for flow in self.flows) and time.monotonic() < began + self.outcome.seconds + PATIENCE:
            self._hear(_TICK)
        for flow in self.flows:
            if flow.waiting:
                self.outcome.fail(f"flow {flow.number} had no answer at the end")
        return self.outcome

    def _watch(self, flow: Flow) -> None:
        self._by_fd[flow.socket.fileno()] = flow
        self._epoll.register(flow.socket, select.EPOLLIN)

    def _ask(self, flow: Flow) -> None:
        now = time.monotonic()
        if flow.waiting:
            self.outcome.longest = max(self.outcome.longest, now - flow.waiting)
            self.outcome.fail(f"flow {flow.number} ({'connected' if flow.connected else 'not connected'}): no answer")
        flow.waiting = flow.waiting or now
        self.outcome.requests += 1
        self._alive(flow, flow.send)

    def _hear(self, patience: float) -> None:
        for fd, _ in self._epoll.poll(patience):
            flow = self._by_fd[fd]
            if self._alive(flow, lambda flow=flow: flow.socket.recv(64)) and flow.waiting:  # type: ignore[misc]
                self.outcome.longest = max(self.outcome.longest, time.monotonic() - flow.waiting)
                flow.waiting = 0.0

    def _alive(self, flow: Flow, call: Callable[[], object]) -> bool:
        """Make a call on the flow's socket; one whose peer is gone is opened anew and asks at once."""
        with suppress(BlockingIOError):
            try:
                call()
            except OSError:
                del self._by_fd[flow.socket.fileno()]
                flow.socket.close()
                flow.open()
                self._watch(flow)
                self.outcome.reconnected += 1
                flow.send()
                return False
            return True
        return False


def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    kind, address = sys.argv[1], (sys.argv[2], int(sys.argv[3]))
    flows = Flows(address, int(sys.argv[4])) if kind == "udp" else None
    print("ready", flush=True)
    outcome = flows.run(float(sys.argv[5])) if flows else tcp(address, float(sys.argv[4]))
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
