"""A guarded workload without a device: policy tables go in by the reconciler, packets by test runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from daemon.policy.reconcile import Changes, Guard, PolicyReconciler
from daemon.policy.table import Action, Entry, Isolation, PolicyTable, Ruleset
from ebpf import testrun
from ebpf.addresses import pack
from ebpf.constants import PolicyFlag, Reserved
from tests.bpf.conftest import EVERYTHING, TC_ACT_UNSPEC, Wire
from tests.conformance.policy.kernel import LOOPBACK, TC_ACT_SHOT, load, reconciler

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
FRIEND, STRANGER = 16, 17
FREE = Isolation(0, 0)
ALLOWED, DENIED, ISOLATED, AUDITED = 101, 102, 103, 104


@dataclass(frozen=True)
class Family:
    """Addresses of one family: the workload, a peer that rules name, one that they do not, the node."""

    name: str
    pod: str
    friend: str
    stranger: str
    node: str

    def ip(self, source: str, target: str, **fields: object) -> Packet:
        head = IP if self.name == "IPv4" else IPv6
        return ETHER / head(src=source, dst=target, **fields)

    def ping(self, number: int) -> Packet:
        return ICMP(id=number) if self.name == "IPv4" else ICMPv6EchoRequest(id=number)


FAMILIES = (
    Family("IPv4", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.254"),
    Family("IPv6", "fd00::1", "fd00::2", "fd00::3", "fd00::fe"),
)


@dataclass
class Gate:
    """The workload behind the device of test runs."""

    wire: Wire
    family: Family
    policies: PolicyReconciler
    isolation: Isolation = FREE
    table: PolicyTable = field(default_factory=PolicyTable)
    source_check: bool = True

    def rules(
        self, ingress: Sequence[Entry] | None = None, egress: Sequence[Entry] | None = None, *, audit: bool = False
    ) -> Changes:
        """Restrict the workload to these entries; None leaves a direction free."""
        first = max(self.table.rulesets, default=0) + 1
        wanted = {first: ingress, first + 1: egress}
        rulesets = {
            number: Ruleset(number, tuple(entries), Action.DENY, ISOLATED, audit)
            for number, entries in wanted.items()
            if entries is not None
        }
        self.isolation = Isolation(*(number if number in rulesets else 0 for number in wanted))
        return self.apply(replace(self.table, rulesets=rulesets))

    def apply(self, table: PolicyTable) -> Changes:
        """Bring a table into force."""
        self.table = table
        return self.policies.apply(table, {LOOPBACK: Guard(self.isolation, self.source_check)})

    def settings(self, flags: PolicyFlag) -> None:
        """Start anew on what is there, with other settings."""
        self.policies = reconciler(self.wire.datapath, flags)

    def address(self, text: str, workload: int, ifindex: int) -> None:
        """Let the kernel know an address."""
        table = self.wire.datapath.maps["addresses"]
        key, value = np.zeros(1, table.key_dtype), np.zeros(1, table.value_dtype)
        key["addr"] = np.frombuffer(pack(text), np.uint32)
        value["workload"], value["ifindex"] = workload, ifindex
        table.update(key, value)

    def sends(self, packet: Packet) -> bool:
        """Does it get out?"""
        return self._passes("from_endpoint", packet)

    def gets(self, packet: Packet) -> bool:
        """Does it get in?"""
        return self._passes("to_endpoint", packet)

    def records(self) -> np.ndarray:
        """Flow records since they were last asked for."""
        return self.wire.flows.rows(self.wire.datapath.flow_dtype, EVERYTHING)

    def hits(self, rule: int) -> int:
        """Packets that a rule decided."""
        return self.wire.datapath.rule_hits.totals().get(rule, 0)

    def out(self, transport: Packet, peer: str = "") -> Packet:
        """A packet of the workload."""
        return self.family.ip(self.family.pod, peer or self.family.friend) / transport

    def into(self, transport: Packet, peer: str = "") -> Packet:
        """A packet to the workload."""
        return self.family.ip(peer or self.family.friend, self.family.pod) / transport

    def _passes(self, program: str, packet: Packet) -> bool:
        frame = bytes(packet)
        result = testrun.run(self.wire.datapath.program(program), frame)
        assert result.verdict in (TC_ACT_UNSPEC, TC_ACT_SHOT)
        assert result.packet == frame, "a program changed a packet"
        return result.verdict == TC_ACT_UNSPEC


def made(wire: Wire, family: Family) -> Gate:
    """A gate with nothing in force, on empty maps."""
    datapath = wire.datapath
    datapath.rule_hits.forget(datapath.rule_hits.totals())
    gate = Gate(wire, family, load(datapath, PolicyTable()))
    gate.table = PolicyTable(classes={pack(family.friend): FRIEND, pack(family.stranger): STRANGER})
    gate.address(family.pod, 100, LOOPBACK)
    gate.address(family.node, Reserved.HOST, 0)
    gate.apply(gate.table)
    gate.records()
    return gate


def tcp(source: int, target: int, flags: str = "S") -> Packet:
    return TCP(sport=source, dport=target, flags=flags)


def udp(source: int, target: int) -> Packet:
    return UDP(sport=source, dport=target) / Raw(b"x")


def allow(peer: int, protocol: int = 0, port: int = 0, bits: int = 0) -> Entry:
    return Entry(peer, protocol, port, bits, Action.ALLOW, ALLOWED)


def deny(peer: int, protocol: int = 0, port: int = 0, bits: int = 0, *, audit: bool = False) -> Entry:
    return Entry(peer, protocol, port, bits, Action.DENY, AUDITED if audit else DENIED, audit)
