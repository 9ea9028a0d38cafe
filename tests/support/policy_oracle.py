"""What policies mean, read off the objects one packet at a time: slow, plain, and with no code of the compiler.

It follows the words of the two APIs: who is selected, which rules match, in which order they are asked. It knows
nothing of classes, planes or prefixes, and works on addresses as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from msgspec import UNSET

from daemon.model.objects import Pod
from daemon.model.policies import (
    ClusterEgressRule,
    ClusterIngressRule,
    ClusterNetworkPolicy,
    ClusterPeer,
    ClusterProtocol,
    EgressRule,
    IngressRule,
    LabelSelector,
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
)
from daemon.model.snapshot import Snapshot

NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}


class Answer(Enum):
    ALLOW = "allow"
    DENY = "deny"
    AUDIT = "audit"


class Probe(NamedTuple):
    """A packet as one end sees it; `ingress` is whether the local pod is where it goes to."""

    local: Pod
    remote: str
    ingress: bool
    protocol: int
    port: int


class Oracle:
    """One cluster. `names` are the domain names that an address was given for."""

    def __init__(self, snapshot: Snapshot, names: Mapping[str, set[str]] | None = None) -> None:
        self._snapshot = snapshot
        self._names = names or {}
        self._spaces = {
            found.name: {**found.labels, "kubernetes.io/metadata.name": found.name} for found in snapshot.namespaces
        }

    def ask(self, probe: Probe) -> Answer:
        every = [*self._snapshot.policies, *self._snapshot.cluster_policies]
        enforced = [one for one in every if one.metadata.annotations.mode != "audit"]
        if not self._passes(probe, enforced):
            return Answer.DENY
        return Answer.ALLOW if self._passes(probe, every) else Answer.AUDIT

    def owner(self, address: str) -> Pod | None:
        """The pod that has an address: the first by name of those that run and are not on the host's network."""
        wanted = ip_address(address)
        for pod in sorted(self._snapshot.pods, key=lambda one: (one.namespace, one.name)):
            if pod.spec.host_network or pod.status.phase in ("Succeeded", "Failed"):
                continue
            if any(ip_address(own) == wanted for own in pod.addresses):
                return pod
        return None

    def _passes(self, probe: Probe, policies: list[NetworkPolicy | ClusterNetworkPolicy]) -> bool:
        cluster = [one for one in policies if isinstance(one, ClusterNetworkPolicy)]
        admin = self._tier(probe, (one for one in cluster if one.spec.tier.value == "Admin"))
        if admin in ("Accept", "Deny"):
            return admin == "Accept"
        own = [one for one in policies if isinstance(one, NetworkPolicy) and self._isolates(one, probe)]
        if own:
            return any(self._allows(one, probe) for one in own)
        return self._tier(probe, (one for one in cluster if one.spec.tier.value == "Baseline")) != "Deny"

    def _tier(self, probe: Probe, policies: Iterable[ClusterNetworkPolicy]) -> str:
        """The action of the first rule that matches."""
        for policy in sorted(policies, key=lambda one: (one.spec.priority, one.name)):
            if not self._is_subject(policy, probe.local):
                continue
            rules: tuple[ClusterIngressRule | ClusterEgressRule, ...]
            rules = policy.spec.ingress if probe.ingress else policy.spec.egress
            for rule in rules:
                action = self._action(rule, probe)
                if action:
                    return action
        return ""

    def _action(self, rule: ClusterIngressRule | ClusterEgressRule, probe: Probe) -> str:
        """The action if the rule matches, otherwise "". What is not known of a rule makes it fail closed."""
        accepts = rule.action.value == "Accept"
        peers = list(rule.from_ if isinstance(rule, ClusterIngressRule) else rule.to)
        unknown = any(_fields(peer) == 0 or (peer.domain_names is not UNSET and not accepts) for peer in peers)
        if unknown:
            return "" if accepts else "Deny"
        matched = any(self._cluster_peer(peer, probe.remote) for peer in peers)
        if matched and (rule.protocols is None or any(self._protocol(one, probe) for one in rule.protocols)):
            return rule.action.value
        return ""

    def _is_subject(self, policy: ClusterNetworkPolicy, pod: Pod) -> bool:
        subject = policy.spec.subject
        if subject.namespaces is not None:
            return selects(subject.namespaces, self._space(pod))
        assert subject.pods is not None
        return selects(subject.pods.namespace_selector, self._space(pod)) and selects(
            subject.pods.pod_selector, pod.labels
        )

    def _cluster_peer(self, peer: ClusterPeer, remote: str) -> bool:
        pod = self.owner(remote)
        if peer.namespaces is not None:
            return pod is not None and selects(peer.namespaces, self._space(pod))
        if peer.pods is not None:
            if pod is None or not selects(peer.pods.namespace_selector, self._space(pod)):
                return False
            return selects(peer.pods.pod_selector, pod.labels)
        if peer.nodes is not None:
            return any(
                selects(peer.nodes, node.labels)
                for node in self._snapshot.nodes
                if any(_same(entry.address, remote) for entry in node.status.addresses)
            )
        if peer.networks is not UNSET:
            return any(contains(network, remote) for network in peer.networks)
        assert peer.domain_names is not UNSET
        return any(named(pattern, name) for pattern in peer.domain_names for name in self._names.get(remote, ()))

    def _protocol(self, protocol: ClusterProtocol, probe: Probe) -> bool:
        if protocol.destination_named_port:
            return any(
                (probe.protocol, probe.port) == found for found in self._named(probe, protocol.destination_named_port)
            )
        for name in NUMBERS:
            transport = getattr(protocol, name.lower())
            if transport and probe.protocol == NUMBERS[name]:
                port = transport.destination_port
                if port.range:
                    return bool(port.range.start <= probe.port <= port.range.end)
                return bool(port.number == probe.port)
        return False

    def _isolates(self, policy: NetworkPolicy, probe: Probe) -> bool:
        if policy.namespace != probe.local.namespace or not selects(policy.spec.pod_selector, probe.local.labels):
            return False
        written = [one.value for one in policy.spec.policy_types]
        if not written:
            written = ["Ingress", "Egress"] if policy.spec.egress else ["Ingress"]
        return ("Ingress" if probe.ingress else "Egress") in written

    def _allows(self, policy: NetworkPolicy, probe: Probe) -> bool:
        rules: tuple[IngressRule | EgressRule, ...]
        rules = policy.spec.ingress if probe.ingress else policy.spec.egress
        for rule in rules:
            peers = rule.from_ if isinstance(rule, IngressRule) else rule.to
            by_peer = not peers or any(self._peer(peer, policy.namespace, probe.remote) for peer in peers)
            if by_peer and (not rule.ports or any(self._port(port, probe) for port in rule.ports)):
                return True
        return False

    def _peer(self, peer: NetworkPolicyPeer, namespace: str, remote: str) -> bool:
        if peer.ip_block is not None:
            block = peer.ip_block
            return contains(block.cidr, remote) and not any(contains(hole, remote) for hole in block.except_)
        pod = self.owner(remote)
        if pod is None:
            return False
        if peer.namespace_selector is None:
            if pod.namespace != namespace:
                return False
        elif not selects(peer.namespace_selector, self._space(pod)):
            return False
        return peer.pod_selector is None or selects(peer.pod_selector, pod.labels)

    def _port(self, port: NetworkPolicyPort, probe: Probe) -> bool:
        if probe.protocol != NUMBERS[port.protocol.value]:
            return False
        if port.port is None:
            return True
        if isinstance(port.port, str):
            return (probe.protocol, probe.port) in self._named(probe, port.port)
        return port.port <= probe.port <= (port.end_port or port.port)

    def _named(self, probe: Probe, name: str) -> Iterator[tuple[int, int]]:
        """Protocol and number of the destination's ports of that name; the first of a protocol counts."""
        destination = probe.local if probe.ingress else self.owner(probe.remote)
        seen = set()
        for container in destination.spec.containers if destination else ():
            for port in container.ports:
                if port.name == name and port.protocol not in seen:
                    seen.add(port.protocol)
                    yield NUMBERS[port.protocol.value], port.container_port

    def _space(self, pod: Pod) -> Mapping[str, str]:
        return self._spaces.get(pod.namespace, {"kubernetes.io/metadata.name": pod.namespace})


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    for key, value in selector.match_labels.items():
        if key not in labels or labels[key] != value:
            return False
    for one in selector.match_expressions:
        word, has = one.operator.value, one.key in labels
        if word == "In" and not (has and labels[one.key] in one.values):
            return False
        if word == "NotIn" and has and labels[one.key] in one.values:
            return False
        if word == "Exists" and not has:
            return False
        if word == "DoesNotExist" and has:
            return False
    return True


def contains(cidr: str, address: str) -> bool:
    network, found = ip_network(cidr, strict=False), ip_address(address)
    return network.version == found.version and found in network


def named(pattern: str, name: str) -> bool:
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if not pattern.startswith("*."):
        return pattern == name
    return name.endswith(pattern[1:]) and len(name) > len(pattern) - 1


def _fields(peer: ClusterPeer) -> int:
    return sum(
        found is not None and found is not UNSET
        for found in (peer.namespaces, peer.pods, peer.nodes, peer.networks, peer.domain_names)
    )


def _same(text: str, other: str) -> bool:
    try:
        return ip_address(text) == ip_address(other)
    except ValueError:
        return False
