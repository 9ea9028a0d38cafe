"""After each of a seeded row of faults the agent has brought the kernel to what a fresh agent would.

Between two faults Services, slices and pods change; then the same content is wanted in the pinned maps that is told by
the server, and at the end by a second agent that starts on nothing. `--faults 1000` runs the whole thousand.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ebpf.datapath import cleanup
from tests.integration import shop as manifests
from tests.support.agent import AgentProcess, agent_on
from tests.support.apiserver_process import Remote
from tests.support.netns import TestNode, node
from tests.support.pinned import Contents, contents

SEED = 6
NAMES = 12
PATIENCE = 30.0  # s until the kernel must be right; after most faults it takes some milliseconds
LOOK = 0.02  # s
BUDGET, AT_LEAST = 0.5, 20  # s a fault, all together; faults whatever they take
PODS = 30


@dataclass
class World:
    """The objects that the server has, and the agent that follows them."""

    node: TestNode
    api: Remote
    agent: AgentProcess
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))
    backends: dict[str, tuple[str, ...]] = field(default_factory=dict)
    pods: set[str] = field(default_factory=set)

    def change(self) -> None:
        """Make, change or remove a Service with its slice, and a pod."""
        number = self.dice.randrange(NAMES)
        name = f"s{number}"
        if name in self.backends and self.dice.random() < 0.3:
            self.api.tell(delete=["Service", "shop", name])
            self.api.tell(delete=["EndpointSlice", "shop", f"{name}-ipv4"])
            del self.backends[name]
        else:
            chosen = tuple(f"10.9.0.{host}" for host in self.dice.sample(range(1, 60), self.dice.randrange(1, 5)))
            self.api.tell(put=[service(number), manifests.endpoint_slice(name, list(chosen), 8080)])
            self.backends[name] = chosen
        self._change_pod(f"p{self.dice.randrange(PODS)}")

    def _change_pod(self, name: str) -> None:
        if name in self.pods:
            self.api.tell(delete=["Pod", "shop", name])
            self.pods.remove(name)
        else:
            self.api.tell(put=[manifests.pod(name, [f"10.9.1.{int(name[1:]) + 1}"])])
            self.pods.add(name)

    def lose_everything(self) -> None:
        """The server comes back with another history and another content."""
        self.api.tell(down=True)
        self.api.tell(clear=True)
        self.backends.clear()
        self.pods.clear()
        self.api.tell(put=[{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}])
        for _ in range(3):
            self.change()
        self.api.tell(down=False)

    def wanted(self) -> tuple[dict[str, frozenset[tuple[str, int]]], set[str]]:
        """Backends by clusterIP, and the pods' addresses."""
        services = {vip(int(name[1:])): backends for name, backends in self.backends.items()}
        told = {address: frozenset((one, 8080) for one in backends) for address, backends in services.items()}
        return told, {f"10.9.1.{int(name[1:]) + 1}" for name in self.pods}

    def fault(self) -> str:
        """One of the ways in which a server and its connections fail."""
        dice = self.dice
        match dice.randrange(10):
            case 0:
                self.api.tell(cut=dice.random() < 0.5)
                return "connections cut"
            case 1:
                self.api.tell(compact=True)
                self.api.tell(cut=True)
                return "version forgotten"
            case 2:
                self.api.tell(inject='{"type":"ERROR","object":{"code":410}}')
                return "410 in a watch"
            case 3:
                self.api.tell(inject='{"type":"MODIFIED","obj')
                return "half an event"
            case 4:
                self.api.tell(fail=[dice.choice([429, 500, 503, 504]) for _ in range(dice.randrange(1, 4))])
                self.api.tell(cut=True)
                return "refusals"
            case 5:
                self.api.tell(dribble=dice.random() < 0.5)
                return "dribble"
            case 6:
                self.api.tell(down=True)
                self.change()
                self.api.tell(down=False)
                return "server restarted"
            case 7:
                self.agent.kill()
                self.agent.launch()
                return "agent killed"
            case 8:
                self.api.tell(inject='{"type":"ERROR","object":{"code":500,"message":"etcd"}}')
                return "error in a watch"
            case _:
                self.lose_everything()
                return "another history"

    def converged(self) -> bool:
        """The kernel says what the server says."""
        services, pods = self.wanted()
        found = contents(self.agent.pins)
        served = {place[0]: behind for place, (_, _, behind) in found.services.items() if place[1]}
        return served == services and pods == {one for one in found.addresses if one.startswith("10.9.1.")}


def vip(number: int) -> str:
    return f"10.96.7.{number + 1}"


def service(number: int) -> dict[str, Any]:
    return manifests.service(f"s{number}", [vip(number)], 80, 8080)


@pytest.fixture
def world(root: None, tmp_path: Path) -> Iterator[World]:
    with node() as made:
        api = Remote.start(made.popen, tmp_path)
        source = {"source": "kubernetes", "kubeconfig": str(api.kubeconfig(tmp_path))}
        with agent_on(made, tmp_path, **source) as agent:
            made.add("client")
            api.tell(put=[{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}])
            agent.start()
            yield World(made, api, agent)


def fresh(world: World, folder: Path) -> Contents:
    """What an agent that starts on nothing makes of the same server."""
    folder.mkdir()
    other = AgentProcess(world.node, folder)
    other.configure(
        source="kubernetes",
        kubeconfig=str(folder.parent / "kubeconfig"),
        metrics_address="",
        cgroup=str(world.node.cgroup.parent),
    )
    try:
        other.start()
        return contents(other.pins)
    finally:
        other.kill()
        world.node.run(cleanup, other.pins, other.state)


def test_after_every_fault_the_kernel_holds_what_a_fresh_agent_would_write(
    world: World, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    faults, began = pytestconfig.getoption("faults"), time.monotonic()
    for step in range(faults):
        if step >= AT_LEAST and time.monotonic() > began + faults * BUDGET:
            break  # a machine that has much else to do
        world.change()
        what = world.fault()
        world.change()
        deadline = time.monotonic() + PATIENCE
        while not world.converged():
            assert time.monotonic() < deadline, f"fault {step}, {what}: {world.wanted()}\n{world.agent.log[-3000:]}"
            time.sleep(LOOK)
    world.agent.until(lambda: world.agent.status_or_none() is not None)
    assert contents(world.agent.pins) == fresh(world, tmp_path / "fresh")
