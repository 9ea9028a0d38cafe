"""Four nodes side by side, the same but for what steers Services: nothing, remora, iptables or nftables.

Each has a client and a server in namespaces of their own, and all packets between the two go through the node's
routing, as with most CNIs, so that the rules of iptables and nftables see them in both directions. The server has as
many addresses as a Service has backends, and one nginx for all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pyroute2 import IPRoute

from benchmarks import kubeproxy, web
from benchmarks.fleet import PORT, TARGET, Fleet
from benchmarks.stand import CLIENT, SERVER, STAGE, Agent, BenchmarkError, Stand, await_true
from benchmarks.throughput import processors
from daemon.demo import agent as demo_agent
from daemon.demo.processes import stop
from daemon.demo.topology import Node

BACKENDS = tuple(f"10.244.1.{number}" for number in range(50, 55))
_LOADING = 600.0  # s that a rule set may take to load
_RULES: dict[str, tuple[list[str], Callable[[Fleet], str]]] = {
    "iptables": (["iptables-restore"], kubeproxy.iptables),
    "nftables": (["nft", "-f", "-"], kubeproxy.nftables),
}


@dataclass(frozen=True, slots=True)
class Bare:
    """A node without an agent. What runs in it ends with the stand, whose cgroup it is in."""

    node: Node
    stand: Stand

    def address(self, workload: str) -> str:
        """A workload's IPv4 address."""
        return str(self.node.spaces[workload].addresses[0].ip)

    def spawn(self, argv: Sequence[str], workload: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program in a workload."""
        return self.stand.launch(argv, self.node.spaces[workload].path, "bare", **options)


class Place(Protocol):
    """Where programs can be started; they end with it."""

    def spawn(self, argv: Sequence[str], workload: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program in a workload."""


class Asker:
    """A client (see benchmarks.asker) that runs in a site."""

    def __init__(self, site: Place, addresses: Sequence[str]) -> None:
        self._addresses = list(addresses)
        self._process = site.spawn(
            ["taskset", "-c", str(processors()[0]), sys.executable, "-m", "benchmarks.asker"], CLIENT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, environment=demo_agent.PACKAGES,
        )  # fmt: skip

    def ask(self, kind: str, count: int) -> list[int]:
        """Nanoseconds of so many answers, the addresses taking turns; raises BenchmarkError."""
        assert self._process.stdin
        assert self._process.stdout
        order = {"kind": kind, "count": count, "addresses": self._addresses}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"a client ended while it asked {self._addresses[0]}")
        return [int(one) for one in json.loads(line)]

    def end(self) -> None:
        """It is not needed any more."""
        stop(self._process)


class Sites:
    """A context manager over the four nodes; `load` puts a fleet of Services into those that steer."""

    def __enter__(self) -> Sites:
        with ExitStack() as stack:
            self._stand = stack.enter_context(Stand())
            bare = {name: Bare(Node(f"{STAGE.name}-{name}"), self._stand) for name in ("direct", *_RULES)}
            for one in bare.values():
                stack.enter_context(one.node)
                one.node.add(CLIENT)
                one.node.add(SERVER)
            self._sites: dict[str, web.Site] = {"remora": self._stand, **bare}
            for name, site in self._sites.items():
                _route(site.node)
                web.serve(site, processors()[1], STAGE.folder / f"web-{name}")
            self.agent: Agent = stack.enter_context(self._stand.agent())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def load(self, fleet: Fleet) -> Iterator[tuple[str, float]]:
        """Put the fleet in the place of the one before; yields names and the seconds that each took."""
        for name, (command, text) in _RULES.items():
            yield name, _restore(self._sites[name], command, text(fleet), name)
        yield "remora", self._program(fleet)

    def _program(self, fleet: Fleet) -> float:
        path = STAGE.manifests / "fleet.yaml"
        fresh = path.with_suffix(".new")
        fresh.write_text(fleet.manifests())
        began = time.monotonic()
        fresh.rename(path)
        wanted = fleet.count + 1  # the stand has a Service of its own
        await_true(lambda: self.agent.status().services == wanted, f"{wanted} Services in the kernel", patience=300)
        return time.monotonic() - began

    @contextmanager
    def askers(self, fleet: Fleet) -> Iterator[dict[str, Asker]]:
        """Clients by what they ask: the backends themselves (`direct`; `watched`: beside the agent) or Services."""
        backends = [f"{address}:{TARGET}" for address in BACKENDS]
        services = [f"{member.address}:{PORT}" for member in fleet.answered]
        asked = {"direct": backends, "remora": services, "watched": backends, **dict.fromkeys(_RULES, services)}
        made = {name: Asker(self._sites.get(name, self._stand), places) for name, places in asked.items()}
        try:
            yield made
        finally:
            for one in made.values():
                one.end()


def _restore(site: web.Site, command: list[str], text: str, name: str) -> float:
    """Load a rule set in the node's namespace in the place of what is there; the seconds. Raises BenchmarkError."""
    enter = ["nsenter", f"--net={site.node.path}"]
    flush = "flush ruleset\n" if name == "nftables" else ""
    began = time.monotonic()
    try:
        done = subprocess.run([*enter, *command], input=flush + text, text=True, capture_output=True, timeout=_LOADING)
    except FileNotFoundError as error:
        raise BenchmarkError(f"there is no {command[0]}", "tools/setup dev") from error
    if done.returncode:
        raise BenchmarkError(f"{command[0]} refuses the rules: {done.stderr[:500]}")
    return time.monotonic() - began


def _route(node: Node) -> None:
    """Make both workloads send everything to the node, and give the server its addresses."""
    node.run(_no_redirects)
    for workload in (CLIENT, SERVER):
        node.run(_settle, str(node.gateways[0].ip), BACKENDS if workload == SERVER else (), workload=workload)


def _no_redirects() -> None:
    for device in Path("/proc/sys/net/ipv4/conf").iterdir():
        (device / "send_redirects").write_text("0")


def _settle(gateway: str, addresses: Sequence[str]) -> None:
    with IPRoute() as ipr:
        index = ipr.link_lookup(ifname="eth0")[0]
        ipr.route("add", dst=f"{gateway}/32", oif=index, scope="link")
        ipr.route("del", dst="10.244.1.0/24", oif=index, scope="link", proto="kernel")
        for address in addresses:
            ipr.addr("add", index=index, address=address, prefixlen=32)
