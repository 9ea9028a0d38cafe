"""Policies between real sockets: pods in namespaces of one node, a real agent, and a table of who reaches whom.

Pods are namespaces by address, since suites give one address to several pods one after the other. A state of the
cluster is one file, and it is in force when the agent says so: it lists the Service that counts the states, and then
answers a question that waits for the thread that writes to the kernel.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

from daemon.cli.client import Client, connect
from daemon.cli.server import Server
from daemon.proto import remora_pb2
from tests.support.agent import AgentProcess, agent_on
from tests.support.kube import Manifest
from tests.support.netns import TestNode, unique
from tests.support.place import until
from tests.support.policies import HERE, Object, manifest
from tests.support.prober import ANSWERED, SILENT

PROBER = Path(__file__).with_name("prober.py")
SILENCE, PATIENCE = 0.25, 3.0  # s without an answer where none may come; s for one that has to come
_READ, _CONVERGE = 5.0, 15.0  # s for an agent's answer; for a change to be in force


class Cell(NamedTuple):
    """One question: from a pod's address to an address and port; `passes` is what has to become of it."""

    source: str
    target: str
    protocol: str
    port: int
    passes: bool


@dataclass
class Arena:
    """A node, its agent and a prober."""

    node: TestNode
    agent: AgentProcess
    client: Client
    names: Mapping[str, str]
    _prober: subprocess.Popen[bytes]
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def become(self, objects: Iterable[Object], *more: Manifest) -> None:
        """Make these all objects that there are; returns when they are in force."""
        number = next(self._numbers)
        marker = service("generation", "10.96.255.1", [("TCP", number)])
        items = [*map(manifest, objects), *more, *marker]
        waiting = self.agent.manifests / "state.new"
        waiting.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        waiting.rename(self.agent.manifests / "state.json")
        until(lambda: self._generation() == number, _CONVERGE, step=0.005)
        self.client.agent.Verify(remora_pb2.VerifyRequest(), timeout=_READ)  # answered after what is being written

    def wrong(self, cells: Sequence[Cell], silence: float = SILENCE) -> list[str]:
        """Cells that are otherwise, in words. What is denied has to be silent, and never refused."""
        asked = [(self.names[one.source], one.target, one.protocol, one.port, one.passes) for one in cells]
        self._order({"questions": asked, "silence": silence, "patience": PATIENCE})
        told = json.loads(self._line())
        return [
            f"{one.source} > {one.target} {one.protocol}/{one.port}: {answer}"
            for one, answer in zip(cells, told, strict=True)
            if answer != (ANSWERED if one.passes else SILENT)
        ]

    def serve(self, ports: Iterable[tuple[str, int]]) -> None:
        """Begin to serve these ports in all namespaces."""
        places = {name: str(space.path) for name, space in self.node.spaces.items()}
        self._order({"places": places, "ports": list(ports)})
        assert self._line() == b"ready\n"

    def _generation(self) -> int:
        listed = self.client.agent.ListServices(remora_pb2.ListServicesRequest(), timeout=_READ).services
        return next((one.port for one in listed if one.name == "generation"), 0)

    def _order(self, order: dict[str, Any]) -> None:
        assert self._prober.stdin
        self._prober.stdin.write(json.dumps(order).encode() + b"\n")
        self._prober.stdin.flush()

    def _line(self) -> bytes:
        assert self._prober.stdout
        return self._prober.stdout.readline()


@contextmanager
def arena(
    folder: Path,
    homes: Iterable[tuple[str, ...]],
    subnets: Sequence[str],
    ports: Iterable[tuple[str, int]],
    **settings: Any,
) -> Iterator[Arena]:
    """A node with a namespace for each home, the addresses of one pod; gone at the end."""
    with ExitStack() as stack:
        node = stack.enter_context(TestNode(unique(), [ip_network(one) for one in subnets]))
        names = {}
        for number, addresses in enumerate(homes):
            node.add(f"p{number}", addresses)
            names |= dict.fromkeys(addresses, f"p{number}")
        agent = stack.enter_context(agent_on(node, folder, node_name=HERE, **settings))
        agent.start()
        client = stack.enter_context(connect(Server(agent.server)))
        prober = node.popen(
            [sys.executable, "-S", str(PROBER)], cgroup=node.cgroup, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        made = Arena(node, agent, client, names, prober)
        made.serve(ports)
        yield made


def service(name: str, address: str, ports: Iterable[tuple[str, int]], *backends: str) -> list[Manifest]:
    """A Service under a ClusterIP, port by port what its pods serve."""
    listed = [{"name": f"{protocol}-{port}".lower(), "protocol": protocol, "port": port} for protocol, port in ports]
    family = "IPv6" if ":" in address else "IPv4"
    own = {"name": name, "namespace": "live"}
    spec = {"clusterIP": address, "clusterIPs": [address], "ipFamilies": [family], "ports": listed}
    found: list[Manifest] = [{"apiVersion": "v1", "kind": "Service", "metadata": own, "spec": spec}]
    if backends:
        labels = {"kubernetes.io/service-name": name}
        endpoints = [{"addresses": [one], "nodeName": HERE, "conditions": {"ready": True}} for one in backends]
        found.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {**own, "labels": labels},
                "addressType": family,
                "endpoints": endpoints,
                "ports": listed,
            }
        )
    return found
