"""Under load: backends are replaced one by one, and the agent is killed, restarted and upgraded. Nobody notices.

The load is 500 new TCP connections a second and 1,000 UDP flows, half of them connected sockets.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from ebpf.libbpf import MapType
from ebpf.maps import HashMap, MapSpec
from tests.integration import shop as manifests
from tests.support.agent import ROOT, AgentProcess, agent_on
from tests.support.layouts import dtype
from tests.support.netns import TestNode, node

PYTHON = {"PYTHONPATH": str(ROOT)}
VIP, PORT, TARGET = "10.96.0.77", 80, 8080
BACKENDS, RATE, FLOWS, INTERVAL = 20, 500, 1000, 0.2
DRAIN = 0.4  # s that a backend terminates and serves before it is gone
PAUSE = 0.2  # s between two backends
REQUESTS = 100_000
SILENCE = 1.0  # s that no UDP flow may be without an answer


@dataclass
class Town:
    """A node with a client, and twice as many workloads as there are backends at a time."""

    node: TestNode
    agent: AgentProcess
    crowd: subprocess.Popen[bytes] = field(init=False)

    def build(self) -> None:
        for workload in ("client", "servers", *names(0), *names(BACKENDS)):
            self.node.add(workload)
        argv = [sys.executable, "-m", "tests.support.crowd", str(TARGET)]
        self.crowd = self.node.popen(argv, "servers", stdin=subprocess.PIPE, stdout=subprocess.PIPE, environment=PYTHON)

    def tell(self, *words: str) -> None:
        """A command to the servers, until it is done."""
        assert self.crowd.stdin
        assert self.crowd.stdout
        self.crowd.stdin.write(f"{' '.join(words)}\n".encode())
        self.crowd.stdin.flush()
        assert self.crowd.stdout.readline() == b"done\n"

    def open(self, workload: str) -> None:
        self.tell("open", workload, str(self.node.spaces[workload].path))

    def announce(self, ready: Sequence[str], leaving: Sequence[str] = ()) -> None:
        """The slices of both Services, as a controller writes them."""
        documents: list[dict[str, Any]] = []
        for name, protocol in (("web", "TCP"), ("dns", "UDP")):
            service = manifests.service(name, [VIP], PORT, TARGET, protocol=protocol)
            slice_ = manifests.endpoint_slice(name, [self.address(one) for one in [*ready, *leaving]], TARGET)
            slice_["ports"][0]["protocol"] = protocol
            for endpoint in slice_["endpoints"][len(ready) :]:
                endpoint["conditions"] = {"ready": False, "serving": True, "terminating": True}
            documents += [service, slice_]
        path = self.agent.manifests / "shop.yaml"
        path.with_suffix(".new").write_text(manifests.dump(*documents))
        path.with_suffix(".new").rename(path)

    def slots(self) -> int:
        """Slots of backends in the kernel, those that nothing counts any more included."""
        (path,) = self.agent.pins.glob("maps-*/backends")
        table = HashMap(MapSpec("backends", MapType.HASH, dtype("backend_key"), dtype("backend"), 4096), path)
        try:
            return len(table.items()[0])
        finally:
            table.close()

    def address(self, workload: str) -> str:
        return str(self.node.spaces[workload].addresses[0].ip)

    @contextmanager
    def load(self) -> Iterator[dict[str, Any]]:
        """Load on the Service; what became of it is in the dictionary when the block is left."""
        kinds = {"tcp": [str(RATE)], "udp": [str(FLOWS), str(INTERVAL)]}
        running = {kind: self._load(kind, *arguments) for kind, arguments in kinds.items()}
        told: dict[str, Any] = {}
        yield told
        for process in running.values():
            assert process.stdin
            process.stdin.write(b"end\n")
            process.stdin.flush()
        for kind, process in running.items():
            out, error = process.communicate(timeout=20)
            assert process.returncode == 0, error.decode()
            told[kind] = json.loads(out)

    def _load(self, *arguments: str) -> subprocess.Popen[bytes]:
        kind, *rest = arguments
        process = self.node.popen(
            [sys.executable, "-m", "tests.support.load", kind, VIP, str(PORT), *rest], "client",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, environment=PYTHON,
        )  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        return process


def names(first: int) -> list[str]:
    return [f"b{number}" for number in range(first, first + BACKENDS)]


@pytest.fixture(scope="module")
def town(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with node() as made, agent_on(made, tmp_path_factory.mktemp("agent")) as agent:
        town = Town(made, agent)
        town.build()
        for workload in names(0):
            town.open(workload)
        town.announce(names(0))
        agent.start()
        agent.until(lambda: len([e for e in agent.json("endpoint", "list")["endpoints"] if e.get("ifindex")]) > 40)
        yield town


def test_a_rolling_update_of_all_backends_costs_no_connection_and_no_flow_a_second(town: Town) -> None:
    with town.load() as told:
        time.sleep(1)
        serving = names(0)
        for step, (leaving, coming) in enumerate(zip(names(0), names(BACKENDS), strict=True)):
            town.open(coming)
            serving = [*serving[1:], coming]
            town.announce(serving, [leaving])
            time.sleep(DRAIN)
            town.tell("close", leaving)
            town.node.drop(leaving)  # with its device, so that nobody is left to say that nobody listens
            town.announce(serving)
            time.sleep(PAUSE)
            if step % 5 == 0:
                assert "the kernel agrees with the objects" in town.agent.remora("verify")
        time.sleep(1)
    assert told["tcp"]["failures"] == []
    assert told["tcp"]["requests"] >= 0.9 * RATE * told["tcp"]["seconds"]
    assert told["udp"]["reconnected"] > 0, "no connected socket had to move"
    assert told["udp"]["longest"] <= SILENCE, told
    town.agent.until(lambda: town.slots() == 2 * BACKENDS)


def test_an_agent_that_is_killed_restarted_and_upgraded_costs_no_request(town: Town) -> None:
    agent = town.agent
    before = builds(agent)
    with town.load() as told:
        began = time.monotonic()
        time.sleep(2)
        agent.kill()
        time.sleep(2)
        agent.start()
        time.sleep(2)
        assert agent.terminate() == 0
        agent.configure(http_budget=444)
        agent.start()
        time.sleep(max(0.0, REQUESTS / (RATE + FLOWS / INTERVAL) * 1.1 - (time.monotonic() - began)))
    assert [one["failures"] for one in told.values()] == [[], []]
    assert sum(one["requests"] for one in told.values()) >= REQUESTS
    assert told["udp"]["reconnected"] == 0
    assert builds(agent).isdisjoint(before), "the programs are the same as before"
    assert len(list(agent.pins.glob("maps-*"))) == 1, "the maps are others"


def builds(agent: AgentProcess) -> set[str]:
    """Builds whose programs are pinned."""
    return {path.name for path in agent.pins.glob("build-*")}
