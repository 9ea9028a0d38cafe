"""Workloads with real sockets and policies put into force by hand: a node with its devices attached, and no agent.

Sockets are made in a workload's namespace and used from the test, so a test reads as what the two ends do.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from daemon.endpoints import WorkloadRegistry
from daemon.endpoints.discovery import scan
from daemon.model import Directory
from daemon.policy.reconcile import Guard, PolicyReconciler
from daemon.policy.table import Action, Entry, Isolation, PolicyTable, Ruleset
from ebpf import features
from ebpf.addresses import pack
from ebpf.constants import PolicyFlag
from ebpf.datapath import Datapath, cleanup
from ebpf.source import Options
from tests.support.netns import TestNode, node

PATIENCE = 0.7  # s that a packet may take where it must arrive; that it does not arrive is told after as long
OPTIONS = Options(connections_max=16384)
TCP, UDP = 6, 17
CUT = PolicyFlag(0)
FAMILIES = (socket.AF_INET, socket.AF_INET6)


@dataclass
class Stage:
    """A node with workloads; each has a class of its own, from 16 on in the order in which they were added."""

    node: TestNode
    pins: Path
    state: Path
    datapath: Datapath = field(init=False)
    policies: PolicyReconciler = field(init=False)
    guards: dict[int, Guard] = field(default_factory=dict)
    rulesets: dict[int, Ruleset] = field(default_factory=dict)

    def open(self, flags: PolicyFlag = CUT) -> None:
        """Load or find the programs, attach to all workloads, let the kernel know their addresses."""
        self.datapath = self.node.run(Datapath, self.pins, self.state, OPTIONS, features.probe())
        self.settings(flags)
        found = self.node.run(scan)
        WorkloadRegistry(Directory(), self.datapath.maps["addresses"]).apply(found, ())
        for device in found.devices:
            self.node.run(self.datapath.attach_device, device.ifindex, device.name)

    def settings(self, flags: PolicyFlag) -> None:
        """Go on with other settings."""
        self.policies = PolicyReconciler(self.datapath.maps, self.datapath.rule_hits, flags)

    def close(self) -> None:
        """Let go, and remove everything from the kernel."""
        self.datapath.close()
        self.node.run(cleanup, self.pins, self.state)

    def index(self, workload: str) -> int:
        """The node's device that leads to a workload."""
        return self.node.run(socket.if_nametoindex, self.node.spaces[workload].device)

    def number(self, workload: str) -> int:
        """The class of a workload."""
        return 16 + list(self.node.spaces).index(workload)

    def address(self, workload: str, family: socket.AddressFamily = socket.AF_INET) -> str:
        """A workload's address."""
        return str(self.node.spaces[workload].addresses[FAMILIES.index(family)].ip)

    def restrict(
        self, workload: str, ingress: Sequence[Entry] | None = None, egress: Sequence[Entry] | None = None
    ) -> None:
        """Isolate a workload but for these entries; None leaves a direction free."""
        first = max(self.rulesets, default=0) + 1
        wanted = {
            number: Ruleset(number, tuple(entries), Action.DENY, 9, default_audit=False)
            for number, entries in ((first, ingress), (first + 1, egress))
            if entries is not None
        }
        self.rulesets |= wanted
        isolation = Isolation(*(number if number in wanted else 0 for number in (first, first + 1)))
        self.guards[self.index(workload)] = Guard(isolation)
        self.apply()

    def free(self) -> None:
        """No policy at all; sources are checked."""
        self.rulesets = {}
        self.guards = {self.index(name): Guard(Isolation(0, 0)) for name in self.node.spaces}
        self.apply()

    def apply(self) -> None:
        """Bring rulesets and guards into force."""
        classes = {
            pack(str(address.ip)): self.number(name)
            for name, space in self.node.spaces.items()
            for address in space.addresses
        }
        self.policies.apply(PolicyTable(classes, {}, self.rulesets), self.guards)

    def made(self, workload: str, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
        """A socket in a workload's namespace, or in the node's for ""."""
        made = self.node.run(socket.socket, family, kind, workload=workload)
        made.settimeout(PATIENCE)
        return made

    def listener(self, workload: str, family: socket.AddressFamily, port: int) -> socket.socket:
        """A listening TCP socket."""
        made = self.made(workload, family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("", port))
        made.listen(16)
        return made

    def receiver(self, workload: str, family: socket.AddressFamily, port: int) -> socket.socket:
        """A UDP socket that is bound."""
        made = self.made(workload, family, socket.SOCK_DGRAM)
        made.bind(("", port))
        return made

    def connect(self, workload: str, address: str, port: int, source_port: int = 0) -> socket.socket:
        """A connected TCP socket; raises TimeoutError or what else comes."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = self.made(workload, family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if source_port:
                made.bind(("", source_port))
            made.connect((address, port))
        except BaseException:
            made.close()
            raise
        return made

    def records(self) -> np.ndarray:
        """Flow records since they were last asked for."""
        ring = self.datapath.ring("flows")
        rows = ring.rows(self.datapath.flow_dtype, 1 << 22)
        ring.close()
        return rows


@contextmanager
def stage(pins: Path, state: Path, workloads: Sequence[str]) -> Iterator[Stage]:
    """A stage whose workloads are not attached yet."""
    with node() as made:
        for name in workloads:
            made.add(name)
        yield Stage(made, pins, state)


def allow(peer: int, protocol: int = 0, port: int = 0) -> Entry:
    return Entry(peer, protocol, port, 16 if port else 0, Action.ALLOW, 1)


def arrives(receiver: socket.socket) -> bool:
    """Does a datagram, a connection or data come in time?"""
    try:
        return bool(receiver.recv(2048))
    except TimeoutError:
        return False
