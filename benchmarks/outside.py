"""What a node port costs a client outside, with its backend on the node that is asked and on another one.

A switch with a client, two nodes that are asked, one with remora's programs and one with the chains of iptables that
kube-proxy programs, and a third node that has the other backend. remora is measured twice: answers come back by the
node that was asked (`snat`), or go to the client directly (`dsr`). All take turns, so they see the same moments of the
machine. `direct` is the other node's backend under its own address, which is what the network alone takes; it has a
client of its own, as two ways to one backend from one client must not use the same port within a minute.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from socket import if_nametoindex
from typing import Any

import numpy as np
from pyroute2 import IPRoute, netns

from benchmarks import kubeproxy, web
from benchmarks.report import Figure
from benchmarks.sites import Asker, Bare
from benchmarks.stand import PORT, SERVER, STAGE, BenchmarkError, Stand
from benchmarks.tables import put, raw
from benchmarks.throughput import processors
from daemon.demo.topology import NAMESPACES, SUBNETS, Node, in_namespace
from daemon.model.directory import Frontend, ServiceName
from daemon.model.workload import Node as Name
from daemon.services import Block, Origin, PortKey, ServicePortEntry, ServiceReconciler, ServiceTable
from ebpf import features
from ebpf.addresses import pack
from ebpf.constants import FrontendFlag, NodeFlag, Reserved
from ebpf.datapath import Datapath
from ebpf.source import Options

ROUNDS, ANSWERS = 40, 60
UPLINK, PREFIX = "up0", 24
CLIENTS = {"client": "198.18.0.99", "direct": "198.18.0.98"}
ADDRESSES = {"remora": "198.18.0.10", "iptables": "198.18.0.11", "other": "198.18.0.20"}
PODS = {"remora": "10.244.1", "iptables": "10.244.3", "other": "10.244.2"}
PLACES = {"local": 30080, "remote": 30081}
MODES = {"snat": NodeFlag(0), "dsr": NodeFlag.DIRECT_TCP}


@dataclass(frozen=True, slots=True)
class Outsider:
    """A client; for `Asker`."""

    path: Path
    stand: Stand

    def spawn(self, argv: Sequence[str], workload: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program at the client."""
        return self.stand.launch(argv, self.path, "bare", **options)


def measure() -> Iterator[Figure]:
    """Medians and 99th percentiles of connect and request, requests a second, and what they are of iptables'."""
    with ExitStack() as stack:
        stand = stack.enter_context(Stand())
        nodes = {name: _node(stack, stand, name) for name in ADDRESSES}
        clients = {name: Outsider(_machine(f"outside-{name}"), stand) for name in CLIENTS}
        _connect(nodes, {name: client.path for name, client in clients.items()})
        asked, _ = (_datapath(stack, nodes[name], name, nodes["other"]) for name in ("remora", "other"))
        _rules(nodes["iptables"], nodes["other"])
        for place, port in PLACES.items():
            for kind in ("connect", "request"):
                yield from _told(f"outside_{place}_{kind}", _ask(clients, asked, nodes, port, kind))


def _ask(
    clients: Mapping[str, Outsider], asked: Datapath, nodes: Mapping[str, Bare], port: int, kind: str
) -> dict[str, list[int]]:
    """Nanoseconds of each answer, by who steered."""
    places = {
        "direct": f"{nodes['other'].address(SERVER)}:{PORT}",
        "iptables": f"{ADDRESSES['iptables']}:{port}",
        **dict.fromkeys(MODES, f"{ADDRESSES['remora']}:{port}"),
    }
    askers = {}
    times: dict[str, list[int]] = {name: [] for name in places}
    for name, place in places.items():
        asked.tell_flags(MODES.get(name, NodeFlag(0)))
        askers[name] = Asker(clients.get(name, clients["client"]), [place])
        askers[name].ask(kind, ANSWERS)  # opens the connection that stays in this mode
    for turn in range(ROUNDS):
        for index in range(len(places)):
            name = list(places)[(turn + index) % len(places)]
            asked.tell_flags(MODES.get(name, NodeFlag(0)))
            times[name] += askers[name].ask(kind, ANSWERS)
    for one in askers.values():
        one.end()
    return times


def _told(name: str, times: Mapping[str, list[int]]) -> Iterator[Figure]:
    found = {who: np.percentile(np.array(those) / 1000, (50, 99)) for who, those in times.items()}
    for who, (median, high) in found.items():
        yield Figure(f"{name}_{who}_median", float(median), "us")
        yield Figure(f"{name}_{who}_p99", float(high), "us")
        yield Figure(f"{name}_{who}_rate", 1e9 / float(np.mean(times[who])), "1/s", note="one client, one at a time")
    for who in MODES:
        for other in ("iptables", "direct"):
            yield Figure(f"{name}_{who}_over_{other}_median", float(found[who][0] / found[other][0]), "ratio")


def _node(stack: ExitStack, stand: Stand, name: str) -> Bare:
    """A node with a web server in a namespace of its own."""
    network = type(SUBNETS[0])(f"{PODS[name]}.0/24")
    one = Bare(stack.enter_context(Node(f"{STAGE.name}-{name}", (network,))), stand)
    one.node.add(SERVER)
    web.serve(one, processors()[1], STAGE.folder / f"web-{name}")
    return one


def _machine(name: str) -> Path:
    """A namespace that goes with the stage."""
    netns.create(f"{STAGE.name}-{name}")
    return NAMESPACES / f"{STAGE.name}-{name}"


def _connect(nodes: Mapping[str, Bare], clients: Mapping[str, Path]) -> None:
    """Lay everybody's link to a switch, and the ways between them."""
    switch = _machine("switch")
    in_namespace(switch, _bridge)
    routes = {name: [(f"{PODS['other']}.0/24", ADDRESSES["other"])] for name in nodes if name != "other"}
    for name, one in nodes.items():
        in_namespace(switch, _link, one.node.path, name)
        one.node.run(_settle, ADDRESSES[name], routes.get(name, []))
    for name, path in clients.items():
        in_namespace(switch, _link, path, name)
        in_namespace(path, _settle, CLIENTS[name], routes["remora"])


def _bridge() -> None:
    with IPRoute() as ipr:
        ipr.link("add", ifname="switch", kind="bridge")
        ipr.link("set", index=ipr.link_lookup(ifname="switch")[0], state="up")


def _link(path: Path, name: str) -> None:
    with IPRoute() as ipr, path.open("rb") as namespace:
        port = f"to-{name}"
        ipr.link("add", ifname=port, kind="veth", peer={"ifname": UPLINK, "net_ns_fd": namespace.fileno()})
        ipr.link("set", index=ipr.link_lookup(ifname=port)[0], master=ipr.link_lookup(ifname="switch")[0], state="up")


def _settle(address: str, routes: Sequence[tuple[str, str]]) -> None:
    with IPRoute() as ipr:
        index = ipr.link_lookup(ifname=UPLINK)[0]
        ipr.link("set", index=1, state="up")
        ipr.addr("add", index=index, address=address, prefixlen=PREFIX)
        ipr.link("set", index=index, state="up")
        for network, gateway in routes:
            ipr.route("add", dst=network, gateway=gateway)


def _datapath(stack: ExitStack, one: Bare, name: str, other: Bare) -> Datapath:
    """The programs on a node, which knows its own backend and the other node's."""
    for folder in (STAGE.pins, STAGE.folder / name):
        folder.mkdir(exist_ok=True)
    made = Datapath(STAGE.pins / name, STAGE.folder / name, Options(), features.probe())
    stack.callback(made.close)
    made.tell_flags(NodeFlag.DIRECT_TCP)
    uplink, device = (one.node.run(if_nametoindex, found) for found in (UPLINK, one.node.spaces[SERVER].device))
    own, far = one.address(SERVER), other.address(SERVER)
    put(made, "uplinks", uplink, address4=raw(ADDRESSES[name]))
    put(made, "addresses", raw(far), workload=3)
    put(made, "addresses", raw(own), workload=2, ifindex=device)
    put(made, "addresses", raw(ADDRESSES[name]), workload=Reserved.HOST)
    blocks = {
        Origin(False, "bench", place): Block((_entry(place, port, own if place == "local" else far),))
        for place, port in PLACES.items()
    }
    ServiceReconciler(made.maps["services"], made.maps["backends"]).apply(ServiceTable(Name(name, ""), blocks))
    one.node.run(made.attach_uplink, uplink, UPLINK)
    one.node.run(made.attach_device, device, SERVER)
    return made


def _entry(place: str, port: int, backend: str) -> ServicePortEntry:
    frontend = Frontend(pack("0.0.0.0"), port, 6)
    key = PortKey(ServiceName("bench", place, "http"), 6, 4)
    return ServicePortEntry(key, {frontend: FrontendFlag.NODE_PORT}, pack(backend) + PORT.to_bytes(2))


def _rules(one: Bare, other: Bare) -> None:
    """Load what kube-proxy would have; raises BenchmarkError."""
    backends = {"local": one.address(SERVER), "remote": other.address(SERVER)}
    text = kubeproxy.node_ports({port: f"{backends[place]}:{PORT}" for place, port in PLACES.items()})
    enter = ["nsenter", f"--net={one.node.path}", "iptables-restore"]
    done = subprocess.run(enter, input=text, text=True, capture_output=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"iptables-restore refuses the rules: {done.stderr[:500]}")
