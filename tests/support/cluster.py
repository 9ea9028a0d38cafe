"""A small cluster on one kernel: nodes in network namespaces, each with a real agent, joined by a router outside.

A node has its own agent, cgroup, bpffs folder and manifests; its pods hang behind veths. The router joins the nodes'
uplinks and has the subnet of those who are outside the cluster. It knows the ways to pods, as a network does whose CNI
masquerades nothing, and those to ClusterIPs, balancers' addresses and external ones only where a test gives it one.

Objects are written to all agents at once, and a change is in force when every agent lists the Service that says its
generation: the words of the agent itself, read from what it has written to the kernel.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from daemon.cli.client import Client, connect
from daemon.cli.server import Server
from daemon.proto import remora_pb2
from tests.support.agent import AgentProcess, agent_on
from tests.support.kube import Manifest, Port, Svc, dump, pod
from tests.support.netns import TestNode, unique
from tests.support.place import FAMILIES, Place, until
from tests.support.wire import as_wire

PODS = {"one": ("alice", "ann", "abe", "vic"), "two": ("bob", "ben", "bea", "val"), "three": ("carol", "cleo")}
MACHINES = ("vic", "val")  # like virtual machines: no socket program sees their processes
ZONES = {"one": "east", "two": "east", "three": "west"}
OUTSIDERS = ("customer", "stranger")
UPLINK, UNDERLAY = "uplink", "underlay"
NODE_NETS = (IPv4Network("172.30.0.0/24"), IPv6Network("fd00:30::/64"))
OUTSIDE_NETS = (IPv4Network("198.51.100.0/24"), IPv6Network("fd00:51::/64"))
PORT = 8080  # where every pod listens
_START = 60.0  # s for an agent to compile and to answer
_READ = 5.0  # s for an agent's answer
_CONVERGE = 15.0  # s for a change to be in force everywhere


def subnets(number: int) -> tuple[IPv4Network, IPv6Network]:
    """Those of a node's pods."""
    return IPv4Network(f"10.244.{number}.0/24"), IPv6Network(f"fd00:10:244:{number}::/64")


class ClusterNode(TestNode):
    """A node with an uplink; `number` begins at 1 and is in all its addresses."""

    def __init__(self, label: str, number: int, router: TestNode) -> None:
        super().__init__(f"{router.name}-{label}", subnets(number))
        self.label, self.number, self.router = label, number, router

    @property
    def uplink(self) -> dict[str, str]:
        """The node's own addresses, by family."""
        return {family: str(net[10 + self.number]) for family, net in zip(FAMILIES, NODE_NETS, strict=True)}

    def join(self) -> None:
        """Lay the uplink to the router, with the way to everybody outside."""
        self.router.run(_lay, f"to-{self.label}", self.path)
        routes = [("default", str(net[1])) for net in NODE_NETS]
        self.run(_settle, UPLINK, [f"{self.uplink[f]}/{n.prefixlen}" for f, n in zip(FAMILIES, NODE_NETS, strict=True)])
        self.run(_route, routes)

    def know(self, others: Iterable[ClusterNode]) -> None:
        """The ways to the pods of other nodes."""
        for other in others:
            self.run(_route, other.ways)

    @property
    def ways(self) -> list[tuple[str, str]]:
        """The subnets of its pods, and by which address they are reached."""
        return [(str(net), gateway) for net, gateway in zip(self.subnets, self.uplink.values(), strict=True)]


@dataclass
class Cluster:
    """What tests see of it. `places`: pods by name, nodes by theirs, and the outsiders."""

    router: TestNode
    nodes: dict[str, ClusterNode]
    agents: dict[str, AgentProcess]
    places: dict[str, Place]
    clients: dict[str, Client] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))
    _generations: Any = field(default_factory=lambda: itertools.count(1))

    def __getitem__(self, name: str) -> Place:
        return self.places[name]

    def svc(self, name: str, *ports: Port, **spec: Any) -> Svc:
        """A Service under a ClusterIP that no other has had; ports that want a node port (-1) get a fresh one."""
        number = next(self._numbers)
        high, low = divmod(number, 200)
        own = {"IPv4": f"10.96.{high}.{low + 1}", "IPv6": f"fd00:10:96::{number:x}"}
        given = tuple(self._numbered(port) for port in ports or (Port(),))
        return Svc(name, own, given, spec)

    def _numbered(self, port: Port) -> Port:
        if port.node_port != -1:
            return port
        return Port(port.port, port.target, port.name, port.protocol, 30_000 + next(self._numbers))

    def outer(self) -> dict[str, str]:
        """Addresses for a load balancer or an externalIP, by family, that nobody has."""
        number = next(self._numbers)
        return {"IPv4": f"203.0.113.{number % 250 + 1}", "IPv6": f"fd00:203::{number:x}"}

    def apply(self, *objects: Manifest | Sequence[Manifest]) -> None:
        """Make these objects all that there is besides the pods; returns when it is in force on every node."""
        generation = next(self._generations)
        flat = [one for each in objects for one in (each if isinstance(each, list | tuple) else [each])]
        marker = Svc("generation", {"IPv4": "10.96.255.1"}, (Port(generation, 1),))
        text = dump([*flat, marker.manifest()])
        for agent in self.agents.values():
            replace_file(agent.manifests / "case.yaml", text)
        for name in self.agents:
            until(partial(self._converged, name, generation), _CONVERGE)

    def _converged(self, node: str, generation: int) -> bool:
        return self.generation(node) == generation

    def generation(self, node: str) -> int:
        """Which state an agent has in force."""
        request = remora_pb2.ListServicesRequest()
        listed = self.clients[node].agent.ListServices(request, timeout=_READ).services
        return next((one.port for one in listed if one.name == "generation"), 0)

    def route(self, addresses: Iterable[str], *nodes: str) -> None:
        """The router's way to addresses that no host has: by these nodes, sharing connections; by none, no way."""
        for address in addresses:
            family = FAMILIES[":" in address]
            ways = [self.nodes[node].uplink[family] for node in nodes]
            self.router.run(_lead, address, ways)


def replace_file(path: Path, text: str) -> None:
    """Write a file at once, as a reader sees it."""
    waiting = path.with_suffix(".new")
    waiting.write_text(text)
    waiting.rename(path)


@contextmanager
def cluster(folder: Path, count: int = 3, xdp: str = "off") -> Iterator[Cluster]:
    """So many nodes (1 to 3) with pods, agents and residents; gone at the end. `xdp`: where agents accelerate."""
    labels = list(PODS)[:count]
    with ExitStack() as stack:
        router = stack.enter_context(TestNode(unique(), OUTSIDE_NETS))
        router.run(_bridge)
        nodes = {
            label: stack.enter_context(ClusterNode(label, number, router)) for number, label in enumerate(labels, 1)
        }
        for node in nodes.values():
            node.join()
            node.know(other for other in nodes.values() if other is not node)
            router.run(_route, node.ways)
            if xdp != "off":
                router.run(as_wire, f"to-{node.label}")
        places = {place.name: place for place in [*_pods(nodes, folder), *_hosts(nodes, router, folder)]}
        agents = {label: stack.enter_context(_agent(node, folder, xdp)) for label, node in nodes.items()}
        base = dump(pod(place) for place in places.values() if place.workload and place.node)
        for agent in agents.values():
            replace_file(agent.manifests / "base.yaml", base)
            agent.launch()
        for place in places.values():
            place.settle(watched=place.name not in MACHINES)
        for place in places.values():
            if place.workload:
                place.listen(PORT)
        made = Cluster(router, nodes, agents, places)
        made.clients = {label: stack.enter_context(connect(Server(agent.server))) for label, agent in agents.items()}
        for agent in agents.values():
            agent.until(agent.status_or_none, _START)
        made.apply()
        yield made


def _agent(node: ClusterNode, folder: Path, xdp: str) -> Any:
    own = folder / node.label
    own.mkdir()
    return agent_on(
        node,
        own,
        node_name=node.label,
        zone=ZONES[node.label],
        healthz_address="0.0.0.0:10256",
        proxymode_address="127.0.0.1:10249",
        uplinks=[UPLINK],
        verify_interval=1.0,
        xdp=xdp,
        acceleration=xdp != "off",
    )


def _pods(nodes: dict[str, ClusterNode], folder: Path) -> Iterator[Place]:
    for label, node in nodes.items():
        for name in PODS[label]:
            yield _place(name, label, node, folder)


def _hosts(nodes: dict[str, ClusterNode], router: TestNode, folder: Path) -> Iterator[Place]:
    for label, node in nodes.items():
        yield Place(label, label, node.uplink, node, "", folder / f"{label}.order")
    for name in OUTSIDERS:
        yield _place(name, "", router, folder)


def _place(name: str, label: str, home: TestNode, folder: Path) -> Place:
    addresses = home.add(name).addresses
    by_family = {FAMILIES[each.version == 6]: str(each.ip) for each in addresses}
    return Place(name, label, by_family, home, name, folder / f"{name}.order")


def _bridge() -> None:
    """In the router: what the uplinks hang on."""
    Path("/proc/sys/net/ipv4/conf/all/send_redirects").write_text("0")
    with IPRoute() as ipr:
        ipr.link("add", ifname=UNDERLAY, kind="bridge")
    _settle(UNDERLAY, [f"{net[1]}/{net.prefixlen}" for net in NODE_NETS])


def _lay(name: str, node: Path) -> None:
    """In the router: a link into a node."""
    with IPRoute() as ipr, node.open("rb") as namespace:
        ipr.link("add", ifname=name, kind="veth", peer={"ifname": UPLINK, "net_ns_fd": namespace.fileno()})
        index = ipr.link_lookup(ifname=name)[0]
        ipr.link("set", index=index, master=ipr.link_lookup(ifname=UNDERLAY)[0], state="up")


def _settle(device: str, addresses: Iterable[str]) -> None:
    with IPRoute() as ipr:
        index = ipr.link_lookup(ifname=device)[0]
        for address in addresses:
            flags = {"flags": 0x02} if ":" in address else {}  # IFA_F_NODAD
            ipr.addr("add", index=index, address=address, **flags)
        ipr.link("set", index=index, state="up")


def _route(routes: Iterable[tuple[str, str]]) -> None:
    with IPRoute() as ipr:
        for destination, gateway in routes:
            ipr.route("add", dst=destination, gateway=gateway, family=10 if ":" in gateway else 2)


def _lead(address: str, gateways: list[str]) -> None:
    net = str(ip_network(address))
    family = 10 if ":" in address else 2
    with IPRoute() as ipr:
        if not gateways:
            ipr.route("del", dst=net, family=family)
        elif len(gateways) == 1:
            ipr.route("replace", dst=net, gateway=gateways[0], family=family)
        else:
            ipr.route("replace", dst=net, multipath=[{"gateway": each} for each in gateways], family=family)
