"""Kubernetes policies to the one form that the compiler reads (see `parsed`).

Objects have passed the API server or the folder's checks, so what is wrong in one here is something newer than this
program: such a part fails closed instead of being an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import UNSET

from daemon.model.objects import Protocol
from daemon.model.policies import (
    ClusterEgressRule,
    ClusterIngressRule,
    ClusterNetworkPolicy,
    ClusterPeer,
    ClusterProtocol,
    EgressRule,
    IngressRule,
    NamespacedPods,
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    PolicyType,
    RuleAction,
    Subject,
    Tier,
)
from daemon.policy.networks import network_of
from daemon.policy.parsed import (
    BlockPeer,
    Everyone,
    Layer,
    NamesPeer,
    NodePeer,
    ParsedPolicy,
    ParsedRule,
    Peer,
    PodPeer,
    PortMatch,
)
from daemon.policy.selectors import EVERYTHING, Selector, matches, selector_of
from daemon.policy.table import Direction

ClusterRule = ClusterIngressRule | ClusterEgressRule

_DIRECTIONS = {PolicyType.INGRESS: Direction.INGRESS, PolicyType.EGRESS: Direction.EGRESS}
_LAYERS = {Tier.ADMIN: Layer.ADMIN, Tier.BASELINE: Layer.BASELINE}


class UnknownPart(Exception):
    """A peer or protocol without any field that is known here."""


def parse(policy: NetworkPolicy | ClusterNetworkPolicy, audited: Selector | None = None) -> ParsedPolicy | None:
    """One policy; None where it has no subject that is known. `audited` selects policies that only are to be told."""
    audit = policy.metadata.annotations.mode == "audit"
    audit = audit or (audited is not None and matches(audited, policy.labels))
    return _network(policy, audit) if isinstance(policy, NetworkPolicy) else _cluster(policy, audit)


def _network(policy: NetworkPolicy, audit: bool) -> ParsedPolicy:
    spec, namespace = policy.spec, policy.namespace
    types = frozenset(_DIRECTIONS[one] for one in spec.types)
    written: dict[Direction, tuple[IngressRule | EgressRule, ...]] = {
        Direction.INGRESS: spec.ingress,
        Direction.EGRESS: spec.egress,
    }
    rules = {
        direction: tuple(_allow(place, rule, namespace) for place, rule in enumerate(written[direction]))
        if direction in types
        else ()
        for direction in Direction
    }
    subject = PodPeer(namespace, EVERYTHING, selector_of(spec.pod_selector))
    return ParsedPolicy(policy.ref, Layer.NETWORK, 0, subject, types, rules, audit)


def _allow(place: int, rule: IngressRule | EgressRule, namespace: str) -> ParsedRule:
    peers = tuple(_network_peer(peer, namespace) for peer in rule.peers)
    ports = tuple(_network_port(port) for port in rule.ports)
    return ParsedRule(place, RuleAction.ACCEPT, peers or (Everyone(),), ports or None)


def _network_peer(peer: NetworkPolicyPeer, namespace: str) -> Peer:
    if peer.ip_block is not None:
        block = peer.ip_block
        return BlockPeer(network_of(block.cidr), tuple(network_of(hole) for hole in block.except_))
    pods = selector_of(peer.pod_selector) if peer.pod_selector else EVERYTHING
    if peer.namespace_selector is not None:
        return PodPeer("", selector_of(peer.namespace_selector), pods)
    return PodPeer(namespace, EVERYTHING, pods)


def _network_port(port: NetworkPolicyPort) -> PortMatch:
    number = port.protocol.number
    if port.port is None:
        return PortMatch(number)
    if isinstance(port.port, str):
        return PortMatch(number, name=port.port)
    return PortMatch(number, port.port, port.end_port or port.port)


def _cluster(policy: ClusterNetworkPolicy, audit: bool) -> ParsedPolicy | None:
    spec = policy.spec
    subject = _subject(spec.subject)
    if subject is None:
        return None
    written: dict[Direction, tuple[ClusterRule, ...]] = {
        Direction.INGRESS: spec.ingress,
        Direction.EGRESS: spec.egress,
    }
    rules = {
        direction: tuple(_decide(place, rule) for place, rule in enumerate(written[direction]))
        for direction in Direction
    }
    layer = _LAYERS[spec.tier]
    return ParsedPolicy(policy.ref, layer, spec.priority, subject, frozenset(), rules, audit)


def _subject(subject: Subject) -> PodPeer | None:
    if subject.pods is not None:
        return _pods(subject.pods)
    return PodPeer("", selector_of(subject.namespaces), EVERYTHING) if subject.namespaces is not None else None


def _decide(place: int, rule: ClusterRule) -> ParsedRule:
    try:
        peers = tuple(one for peer in rule.peers for one in _cluster_peers(peer, rule))
        ports = None if rule.protocols is None else tuple(_cluster_ports(rule.protocols))
    except UnknownPart:
        if rule.action is RuleAction.ACCEPT:
            return ParsedRule(place, rule.action, (), None, rule.name)
        return ParsedRule(place, RuleAction.DENY, (Everyone(),), None, rule.name)
    return ParsedRule(place, rule.action, peers, ports, rule.name)


def _cluster_peers(peer: ClusterPeer, rule: ClusterRule) -> Iterator[Peer]:
    egress = isinstance(rule, ClusterEgressRule)
    if peer.namespaces is not None:
        yield PodPeer("", selector_of(peer.namespaces), EVERYTHING)
    elif peer.pods is not None:
        yield _pods(peer.pods)
    elif egress and peer.nodes is not None:
        yield NodePeer(selector_of(peer.nodes))
    elif egress and peer.networks is not UNSET:
        yield from (BlockPeer(network_of(text)) for text in peer.networks)
    elif egress and peer.domain_names is not UNSET and rule.action is RuleAction.ACCEPT:
        yield NamesPeer(tuple(sorted({name.lower().rstrip(".") for name in peer.domain_names})))
    else:
        raise UnknownPart


def _pods(pods: NamespacedPods) -> PodPeer:
    return PodPeer("", selector_of(pods.namespace_selector), selector_of(pods.pod_selector))


def _cluster_ports(protocols: Iterable[ClusterProtocol]) -> Iterator[PortMatch]:
    for one in protocols:
        if one.destination_named_port:
            yield PortMatch(0, name=one.destination_named_port)
            continue
        transports = {Protocol.TCP: one.tcp, Protocol.UDP: one.udp, Protocol.SCTP: one.sctp}
        protocol, transport = next(((key, found) for key, found in transports.items() if found), (None, None))
        port = transport.destination_port if transport else None
        if protocol is None or port is None:
            raise UnknownPart
        if port.range:
            yield PortMatch(protocol.number, port.range.start, port.range.end)
        elif port.number:
            yield PortMatch(protocol.number, port.number, port.number)
        else:
            raise UnknownPart
