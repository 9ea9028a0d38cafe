"""A node with an uplink, workloads behind it, a neighbour with more of them, and a client and a stranger outside."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from ebpf.constants import Counter
from tests.integration import shop as manifests
from tests.support.agent import AgentProcess, agent_on
from tests.support.netns import TestNode, node
from tests.support.outside import NEIGHBOUR, NODE, Outside, attach, outside

WHOAMI = Path(__file__).parents[1] / "support" / "whoami.py"
PORT = 8080
STRANGER = ("198.18.0.50", "2001:db8:18::50")
HERE = (IPv4Network("10.244.1.0/24"), IPv6Network("fd00:10:244:1::/64"))
THERE = (IPv4Network("10.244.2.0/24"), IPv6Network("fd00:10:244:2::/64"))
FAMILIES = {"IPv4": 0, "IPv6": 1}
PROTOCOLS = ("TCP", "UDP")
NUMBERS = {
    "cluster": 1,
    "local": 2,
    "empty": 3,
    "away": 4,
    "ranged": 5,
    "sticky": 6,
    "host": 7,
    "echo": 8,
    "moving": 9,
    "counted": 10,
    "counted-local": 11,
}
"""Services by their number, from which their addresses and node ports follow"""

ASK = """
import json, socket, sys
address, port, kind, times = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
size = int(sys.argv[5])
answers = []
for _ in range(times):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                       socket.SOCK_STREAM if kind == "TCP" else socket.SOCK_DGRAM) as s:
        s.settimeout(3)
        try:
            s.connect((address, port))
            if kind == "UDP":
                s.send(b"who" * size)
            answers.append(s.recv(100).decode().split())
        except OSError as error:
            answers.append(["error", error.__class__.__name__])
print(json.dumps(answers))
"""

ECHO = """
import socket, threading
def serve(s):
    while data := s.recv(1 << 16):
        s.sendall(b"%d " % len(data))
listener = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


@dataclass
class City:
    """A node with an agent and two workloads, a neighbour with one, and a client outside."""

    world: Outside
    node: TestNode
    neighbour: TestNode
    agent: AgentProcess

    def ask(
        self, address: str, port: int, protocol: str = "TCP", times: int = 20, machine: str = "client", size: int = 1
    ) -> Any:
        """Pairs of who answered and whom it saw, one a connection."""
        code = f"import sys\nsys.argv = ['', {address!r}, {port}, {protocol!r}, {times}, {size}]\n{ASK}"
        return json.loads(self.world.python(code, machine))

    def ask_inside(self, address: str, port: int, workload: str = "") -> Any:
        """What a workload gets, or a process of the node, which is in the agent's cgroup as well."""
        code = f"import sys\nsys.argv = ['', {address!r}, {port}, 'TCP', 2, 1]\n{ASK}"
        argv = [sys.executable, "-c", code]
        process = self.node.popen(argv, workload, cgroup=self.node.cgroup, stdout=subprocess.PIPE)
        return json.loads(process.communicate(timeout=30)[0])

    def counter(self, which: Counter) -> int:
        """A counter of the datapath."""
        name = which.name.lower()
        return next(int(one.get("value", 0)) for one in self.agent.status()["counters"] if one["name"] == name)


def vip(kind: str, service: str, family: int) -> tuple[str, int]:
    """Where a Service is reached."""
    number = NUMBERS[service]
    if kind == "NodePort":
        return NODE[family], 30000 + number
    prefixes = {
        "ClusterIP": ("10.96.0.", "fd00:10:96::"),
        "LoadBalancer": ("203.0.113.", "2001:db8:113::"),
        "ExternalIP": ("192.0.2.", "2001:db8:2::"),
    }
    return f"{prefixes[kind][family]}{number}", 80


def objects(
    name: str, endpoints: list[tuple[tuple[str, str], str]], target: int = PORT, **spec: Any
) -> list[dict[str, Any]]:
    """A Service of both families and protocols that is reached in every way; endpoints are addresses and their node."""
    made = manifests.service(name, [vip("ClusterIP", name, family)[0] for family in (0, 1)], 80, PORT)
    made["spec"] |= {
        "type": "LoadBalancer",
        "externalIPs": [vip("ExternalIP", name, family)[0] for family in (0, 1)],
        "ports": [
            {"name": kind.lower(), "port": 80, "protocol": kind, "nodePort": 30000 + NUMBERS[name]}
            for kind in PROTOCOLS
        ],
        **spec,
    }
    ingress = [{"ip": vip("LoadBalancer", name, family)[0]} for family in (0, 1)]
    made["status"] = {"loadBalancer": {"ingress": ingress}}
    slices = [manifests.endpoint_slice(name, ["0.0.0.0" if family == 0 else "::"], PORT) for family in (0, 1)]
    for family, one in enumerate(slices):
        one["ports"] = [{"name": kind.lower(), "port": target, "protocol": kind} for kind in PROTOCOLS]
        one["endpoints"] = [
            {"addresses": [addresses[family]], "nodeName": where, "conditions": {"ready": True}}
            for addresses, where in endpoints
        ]
    return [made, *slices]


def both(space: Any) -> tuple[str, str]:
    """A workload's two addresses."""
    first, second = (str(address.ip) for address in space.addresses)
    return first, second


def serve(made: TestNode, workload: str, name: str = "", port: int = PORT) -> None:
    argv = [sys.executable, str(WHOAMI), name or workload, str(port)]
    server = made.popen(argv, workload, stdout=subprocess.PIPE)
    assert server.stdout
    assert server.stdout.readline() == b"ready\n"


def run(made: TestNode, workload: str, code: str) -> None:
    """Run a server that says when it listens."""
    server = made.popen([sys.executable, "-c", code], workload, stdout=subprocess.PIPE)
    assert server.stdout
    assert server.stdout.readline() == b"ready\n"


@pytest.fixture(scope="module", name="city")
def city_fixture(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    with built(tmp_path_factory.mktemp("agent")) as city:
        yield city


@contextmanager
def built(folder: Path, *, wired: bool = False, **settings: Any) -> Iterator[City]:
    """A city whose agent runs with these settings; `wired`: its links are as XDP needs them."""
    with (
        outside(wired=wired) as world,
        node(HERE) as made,
        node(THERE) as neighbour,
        agent_on(made, folder, uplinks=["upl*"], **settings) as agent,
    ):
        world.machine("stranger", STRANGER)
        attach(made, world)
        attach(neighbour, world, NEIGHBOUR)
        world.route(made.name, *zip(map(str, THERE), NEIGHBOUR, strict=True))
        world.route(neighbour.name, *zip(map(str, HERE), NODE, strict=True))
        for prefixes, gateway in (
            (("10.96.0.0/16", "203.0.113.0/24", "192.0.2.0/24"), NODE[0]),
            (("fd00:10:96::/64", "2001:db8:113::/64", "2001:db8:2::/64"), NODE[1]),
        ):
            for machine in ("client", "stranger"):
                world.route(machine, *((prefix, gateway) for prefix in prefixes))
        for workload in ("here", "pinned"):
            made.add(workload)
            serve(made, workload)
        made.add("counted")
        run(made, "counted", ECHO)
        for workload in ("there", "echo"):
            neighbour.add(workload)
        serve(neighbour, "there")
        run(neighbour, "echo", ECHO)
        serve(made, "", "host", 8081)
        city = City(world, made, neighbour, agent)
        write(city)
        agent.start()
        yield city


def write(city: City) -> None:
    here, there = both(city.node.spaces["here"]), both(city.neighbour.spaces["there"])
    everywhere = [(here, "node-1"), (there, "node-2")]
    counted = [(both(city.node.spaces["counted"]), "node-1")]
    pinned = manifests.pod("pinned", list(both(city.node.spaces["pinned"])))
    pinned["spec"] |= {"containers": [{"ports": [{"containerPort": PORT, "hostPort": 9000}]}]}
    pinned["status"] |= {"phase": "Running"}
    services = {
        "cluster": objects("cluster", everywhere),
        "local": objects("local", everywhere, externalTrafficPolicy="Local"),
        "empty": objects("empty", []),
        "away": objects("away", everywhere[1:], externalTrafficPolicy="Local"),
        "ranged": objects("ranged", everywhere, loadBalancerSourceRanges=["198.18.0.96/28", " 2001:db8:18::96/124"]),
        "sticky": objects("sticky", everywhere, sessionAffinity="ClientIP"),
        "host": objects("host", [(NODE, "node-1")], target=8081),
        "echo": objects("echo", [(both(city.neighbour.spaces["echo"]), "node-2")]),
        "counted": objects("counted", counted),
        "counted-local": objects("counted-local", counted, externalTrafficPolicy="Local"),
    }
    documents = [one for service in services.values() for one in service]
    (city.agent.manifests / "city.yaml").write_text(manifests.dump(pinned, *documents))
