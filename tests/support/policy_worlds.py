"""Random clusters, small and full of edges: a seed gives a world, and from one world to the next one thing changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from daemon.model.nodes import NodeObject
from daemon.model.objects import Namespace, Pod
from daemon.model.policies import ClusterNetworkPolicy, NetworkPolicy
from daemon.model.snapshot import Snapshot
from daemon.policy.names import Names
from ebpf.addresses import pack
from tests.support.policies import (
    Object,
    cluster_policy,
    containers,
    namespace,
    node,
    pod,
    policy,
    snapshot_of,
)
from tests.support.policy_oracle import NUMBERS, Probe

SPACES = ("red", "green", "blue")
LABELS = {"app": ("web", "db", "api"), "tier": ("front", "back"), "old": ("",)}
SPACE_LABELS = {"team": ("a", "b"), "env": ("prod", "test")}
ADDRESSES = (
    *(f"10.0.{third}.{last}" for third in (0, 1) for last in (1, 2, 9, 17, 130)),
    *(f"fd00::{last:x}" for last in (1, 2, 9, 0x101)),
)
OUTSIDE = ("10.0.0.200", "10.9.0.1", "192.0.2.1", "fd00::ffff", "2001:db8::1")
CIDRS = (
    "0.0.0.0/0", "::/0", "10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/24", "10.0.1.5/24", "10.0.0.0/28", "10.0.0.9/32",
    "192.0.2.0/24", "fd00::/8", "fd00::/120", "fd00::9/128", "2000::/3",
)  # fmt: skip
NAMES = ("a.example.com", "b.a.example.com", "example.com", "other.org")
PATTERNS = ("*.example.com", "a.example.com", "*.a.example.com", "other.org.", "Example.com")
PORTS = (1, 80, 81, 443, 8080, 65_535)
PORT_NAMES = ("http", "dns", "admin")


@dataclass
class World:
    """A cluster; `change` makes it the next one."""

    random: Random
    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    names: Names = field(default_factory=Names)
    named: dict[str, set[str]] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        return snapshot_of(self.objects.values())

    def change(self) -> None:
        """One object comes, goes or becomes another, or DNS gives an answer."""
        kind = self.random.choice((self._pod, self._policy, self._cluster_policy, self._namespace, self._node))
        if self.random.random() < 0.1:
            self._learn()
        elif self.random.random() < 0.03:
            self.names.expire(60)
            self.named.clear()
        elif self.objects and self.random.random() < 0.25:
            del self.objects[self.random.choice(sorted(self.objects))]
        else:
            found = kind()
            self.objects[type(found).__name__, found.namespace, found.name] = found

    def probes(self, snapshot: Snapshot, number: int) -> list[Probe]:
        """Packets between what is there, and to and from outside."""
        locals_ = [one for one in snapshot.pods if self._runs(one)]
        if not locals_:
            return []
        remotes = (*ADDRESSES, *OUTSIDE)
        return [
            Probe(self.random.choice(locals_), self.random.choice(remotes), self.random.random() < 0.5, *self._target())
            for _ in range(number)
        ]

    def _runs(self, found: Pod) -> bool:
        return not found.spec.host_network and found.status.phase == "Running" and bool(found.addresses)

    def _target(self) -> tuple[int, int]:
        protocol = self.random.choice((6, 6, 6, 17, 17, 132, 1))
        beside = self.random.choice((-1, 0, 0, 0, 1))
        return protocol, 0 if protocol == 1 else min(65_535, self.random.choice(PORTS) + beside)

    def _learn(self) -> None:
        name, address = self.random.choice(NAMES), self.random.choice((*OUTSIDE, ADDRESSES[0]))
        self.names.learn(name, [pack(address)], 60, 0)
        self.named.setdefault(address, set()).add(name)

    def _namespace(self) -> Namespace:
        return namespace(self.random.choice(SPACES), **self._labels(SPACE_LABELS))

    def _pod(self) -> Pod:
        name = f"{self.random.choice(SPACES)}/{self.random.choice('abcdef')}"
        chosen = self.random.sample(PORT_NAMES, self.random.randint(0, 2))
        ports = [(one, self.random.choice(list(NUMBERS)), self.random.choice(PORTS)) for one in chosen]
        addresses = " ".join(self.random.sample(ADDRESSES, self.random.choice((1, 1, 2))))
        phase = self.random.choice(("Running",) * 8 + ("Succeeded", "Failed"))
        extra: dict[str, object] = {"hostNetwork": True} if self.random.random() < 0.05 else {}
        return pod(name, addresses, self._labels(LABELS), containers=containers(*ports), phase=phase, **extra)

    def _node(self) -> NodeObject:
        address = self.random.choice((*OUTSIDE, *ADDRESSES[:2]))
        return node(self.random.choice(("n1", "n2")), address, "n1.local", **self._labels({"zone": ("x", "y")}))

    def _labels(self, known: dict[str, tuple[str, ...]]) -> dict[str, str]:
        return {key: self.random.choice(values) for key, values in known.items() if self.random.random() < 0.6}

    def _selector(self, known: dict[str, tuple[str, ...]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.random.random() < 0.5:
            key = self.random.choice(list(known))
            found["matchLabels"] = {key: self.random.choice(known[key])}
        if self.random.random() < 0.3:
            key = self.random.choice(list(known))
            operator = self.random.choice(("In", "NotIn", "Exists", "DoesNotExist"))
            values = [self.random.choice(known[key])] if operator in ("In", "NotIn") else []
            found["matchExpressions"] = [{"key": key, "operator": operator, "values": values}]
        return found

    def _policy(self) -> NetworkPolicy:
        name = f"{self.random.choice(SPACES)}/{self.random.choice('pqrs')}"
        spec: dict[str, Any] = {"podSelector": self._selector(LABELS), "annotations": self._annotations()}
        types = self.random.choice(([], ["Ingress"], ["Egress"], ["Ingress", "Egress"]))
        if types:
            spec["policyTypes"] = types
        if self.random.random() < 0.7:
            spec["ingress"] = [self._rule("from") for _ in range(self.random.randint(0, 2))]
        if self.random.random() < 0.5:
            spec["egress"] = [self._rule("to") for _ in range(self.random.randint(0, 2))]
        return policy(name, **spec)

    def _annotations(self) -> dict[str, str]:
        return {"remora.io/mode": "audit"} if self.random.random() < 0.2 else {}

    def _rule(self, side: str) -> dict[str, Any]:
        rule: dict[str, Any] = {}
        if self.random.random() < 0.8:
            rule[side] = [self._peer() for _ in range(self.random.randint(1, 2))]
        if self.random.random() < 0.7:
            rule["ports"] = [self._port() for _ in range(self.random.randint(1, 2))]
        return rule

    def _peer(self) -> dict[str, Any]:
        kind = self.random.random()
        if kind < 0.35:
            cidr = self.random.choice(CIDRS)
            family = [one for one in CIDRS if (":" in one) == (":" in cidr)]
            return {"ipBlock": {"cidr": cidr, "except": self.random.sample(family, self.random.randint(0, 1))}}
        peer: dict[str, Any] = {}
        if kind < 0.8:
            peer["podSelector"] = self._selector(LABELS)
        if kind > 0.55:
            peer["namespaceSelector"] = self._selector(SPACE_LABELS)
        return peer

    def _port(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.random.random() < 0.7:
            found["protocol"] = self.random.choice(list(NUMBERS))
        kind = self.random.random()
        if kind < 0.3:
            found["port"] = self.random.choice(PORT_NAMES)
        elif kind < 0.9:
            found["port"] = self.random.choice(PORTS)
            if self.random.random() < 0.4:
                found["endPort"] = self.random.choice([one for one in PORTS if one >= found["port"]])
        return found

    def _cluster_policy(self) -> ClusterNetworkPolicy:
        place = self.random.randrange(6)
        kinds: tuple[dict[str, Any], ...] = (
            {"namespaces": self._selector(SPACE_LABELS)},
            {"pods": {"namespaceSelector": self._selector(SPACE_LABELS), "podSelector": self._selector(LABELS)}},
        )
        return cluster_policy(
            f"c{place}",
            annotations=self._annotations(),
            tier=self.random.choice(("Admin", "Baseline")),
            priority=place,
            subject=self.random.choice(kinds),
            ingress=[self._cluster_rule("from") for _ in range(self.random.randint(0, 2))],
            egress=[self._cluster_rule("to") for _ in range(self.random.randint(0, 3))],
        )

    def _cluster_rule(self, side: str) -> dict[str, Any]:
        peers = [self._cluster_peer(side) for _ in range(self.random.randint(1, 2))]
        rule = {"action": self.random.choice(("Accept", "Deny", "Pass")), side: peers}
        if self.random.random() < 0.6:
            rule["protocols"] = [self._protocol() for _ in range(self.random.randint(1, 2))]
        return rule

    def _cluster_peer(self, side: str) -> dict[str, Any]:
        inside: list[dict[str, Any]] = [
            {"namespaces": self._selector(SPACE_LABELS)},
            {"pods": {"namespaceSelector": self._selector(SPACE_LABELS), "podSelector": self._selector(LABELS)}},
        ]
        if self.random.random() < 0.05:
            return {"somethingNewer": {}}
        if side == "from":
            return self.random.choice(inside)
        outside: list[dict[str, Any]] = [
            {"nodes": self._selector({"zone": ("x", "y")})},
            {"networks": self.random.sample(CIDRS, self.random.randint(1, 2))},
            {"domainNames": self.random.sample(PATTERNS, self.random.randint(1, 2))},
        ]
        return self.random.choice(inside + outside)

    def _protocol(self) -> dict[str, Any]:
        if self.random.random() < 0.25:
            return {"destinationNamedPort": self.random.choice(PORT_NAMES)}
        low, high = sorted(self.random.sample(PORTS, 2))
        port: dict[str, Any] = {"number": low} if self.random.random() < 0.6 else {"range": {"start": low, "end": high}}
        return {self.random.choice(("tcp", "udp", "sctp")): {"destinationPort": port}}
