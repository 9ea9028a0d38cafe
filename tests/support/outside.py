"""A world outside a node: a switch that the node's uplink hangs on, clients on it, and nodes beside the node.

The switch is a namespace with a bridge. Clients live in namespaces of their own, so each has its own address; the
neighbour stands for any other machine of the cluster. Nobody but the node runs any program of ours.

Where XDP is to look at frames, the links are as wires are: checksums are whole, no packet is larger than the MTU, and
the switch takes what XDP sends.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from pyroute2 import IPRoute, netns

from daemon.demo.processes import spawn, stop
from daemon.demo.topology import NAMESPACES, in_namespace
from tests.support.netns import TestNode, unique
from tests.support.wire import as_wire

NETWORKS = (IPv4Network("198.18.0.0/24"), IPv6Network("2001:db8:18::/64"))
NODE = ("198.18.0.10", "2001:db8:18::10")
NEIGHBOUR = ("198.18.0.20", "2001:db8:18::20")
CLIENT = ("198.18.0.99", "2001:db8:18::99")
UPLINK = "uplink0"
DAD_OFF = 0x02  # IFA_F_NODAD


@dataclass
class Outside:
    """The switch and who hangs on it, by name; programs in it end with it."""

    name: str
    _stack: ExitStack
    wired: bool = False
    machines: dict[str, Path] = field(default_factory=dict)

    def join(self, name: str, path: Path, addresses: Sequence[str], device: str = UPLINK) -> None:
        """Link a namespace to the switch, with these addresses and a default route to the client."""
        self.machines[name] = path
        in_namespace(NAMESPACES / self.name, _link, path, device, f"to-{name}")
        in_namespace(path, _settle, device, addresses)
        if self.wired:
            in_namespace(NAMESPACES / self.name, as_wire, f"to-{name}")

    def machine(self, name: str, addresses: Sequence[str]) -> None:
        """A namespace of its own on the switch."""
        netns.create(f"{self.name}-{name}")
        self._stack.callback(netns.remove, f"{self.name}-{name}")
        self.join(name, NAMESPACES / f"{self.name}-{name}", addresses, "eth0")

    def route(self, name: str, *routes: tuple[str, str]) -> None:
        """Give a machine routes: network and gateway."""
        in_namespace(self.machines[name], _routes, routes)

    def popen(self, argv: Sequence[str], machine: str = "client") -> subprocess.Popen[bytes]:
        """Start a program in a machine; it ends with the switch."""
        process = spawn(argv, self.machines[machine], None, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._stack.callback(stop, process)
        return process

    def python(self, code: str, machine: str = "client", timeout: float = 60) -> str:
        """Run Python in a machine; what it prints."""
        process = self.popen([sys.executable, "-c", code], machine)
        out, error = process.communicate(timeout=timeout)
        assert process.returncode == 0, error.decode()
        return out.decode().strip()


@contextmanager
def outside(*, wired: bool = False) -> Iterator[Outside]:
    """A switch with a client and nobody else on it; `wired`: XDP can look at what passes."""
    with ExitStack() as stack:
        name = unique("out")
        netns.create(name)
        stack.callback(netns.remove, name)
        in_namespace(NAMESPACES / name, _switch)
        made = Outside(name, stack, wired)
        made.machine("client", CLIENT)
        yield made


def attach(node: TestNode, world: Outside, addresses: Sequence[str] = NODE) -> None:
    """Hang a node on the switch by its uplink; its default routes lead to the client."""
    world.join(node.name, node.path, addresses)
    world.route(node.name, ("0.0.0.0/0", CLIENT[0]), ("::/0", CLIENT[1]))


@contextmanager
def jumbo(world: Outside, *nodes: TestNode) -> Iterator[None]:
    """Links of the switch and of nodes' workloads take frames of 9,000 bytes for a while."""
    spaces = [one.path for made in nodes for one in made.spaces.values()]
    places = [NAMESPACES / world.name, *world.machines.values(), *spaces]
    for place in places:
        in_namespace(place, _resize, 9000)
    yield
    for place in places:
        in_namespace(place, _resize, 1500)


def _resize(mtu: int) -> None:
    with IPRoute() as ipr:
        for link in ipr.get_links():
            if link["index"] != 1:
                ipr.link("set", index=link["index"], mtu=mtu)


def _switch() -> None:
    with IPRoute() as ipr:
        ipr.link("add", ifname="switch", kind="bridge")
        ipr.link("set", index=ipr.link_lookup(ifname="switch")[0], state="up")


def _link(path: Path, device: str, port: str) -> None:
    with IPRoute() as ipr, path.open("rb") as namespace:
        ipr.link("add", ifname=port, kind="veth", peer={"ifname": device, "net_ns_fd": namespace.fileno()})
        ipr.link("set", index=ipr.link_lookup(ifname=port)[0], master=ipr.link_lookup(ifname="switch")[0], state="up")


def _settle(device: str, addresses: Sequence[str]) -> None:
    with IPRoute() as ipr:
        ipr.link("set", index=1, state="up")
        index = ipr.link_lookup(ifname=device)[0]
        for address, network in zip(addresses, NETWORKS, strict=True):
            flags = {"flags": DAD_OFF} if network.version == 6 else {}
            ipr.addr("add", index=index, address=address, prefixlen=network.prefixlen, **flags)
        ipr.link("set", index=index, state="up")


def _routes(routes: Sequence[tuple[str, str]]) -> None:
    with IPRoute() as ipr:
        for network, gateway in routes:
            ipr.route("add", dst=network, gateway=gateway, family=10 if ":" in gateway else 2)
