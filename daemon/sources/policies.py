"""What the API server refuses in a policy, refused here in its place.

A policy that was meant otherwise than it was written is worse than none: so what the API server would not store does
not come into force from a folder either, and the file keeps its last good version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

from msgspec import UNSET

from daemon.model.addresses import network_of
from daemon.model.objects import KubeObject
from daemon.model.policies import (
    RULES_MAX,
    ClusterEgressRule,
    ClusterIngressRule,
    ClusterNetworkPolicy,
    ClusterPeer,
    ClusterPort,
    ClusterProtocol,
    EgressRule,
    IngressRule,
    IPBlock,
    LabelSelector,
    NetworkPolicy,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    Operator,
    RuleAction,
)

Path = tuple[str | int, ...]
Finding = tuple[Path, str]

_WORD = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_WORD}")
_LABEL_VALUE = re.compile(rf"({_WORD})?")
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_DOMAIN = re.compile(r"(\*\.)?([A-Za-z0-9]([-A-Za-z0-9_]*[A-Za-z0-9])?\.)+[A-Za-z0-9]([-A-Za-z0-9_]*[A-Za-z0-9])?\.?")
_EGRESS_ONLY = ("nodes", "networks", "domainNames")
_SELECTS = {Operator.IN: True, Operator.NOT_IN: True, Operator.EXISTS: False, Operator.DOES_NOT_EXIST: False}


def refusals(found: KubeObject) -> Iterator[Finding]:
    """What makes an object one that the API server would not store: the path of the field, and what about it."""
    if isinstance(found, NetworkPolicy):
        yield from _network_policy(found)
    elif isinstance(found, ClusterNetworkPolicy):
        yield from _cluster_policy(found)


def closed_rules(found: KubeObject) -> Iterator[Finding]:
    """Rules of a stored policy that fail closed, because a part of them is not known or not supported."""
    if not isinstance(found, ClusterNetworkPolicy):
        return
    for path, rule in _cluster_rules(found):
        effect = "matches nothing" if rule.action is RuleAction.ACCEPT else "denies everything"
        for peer_path, peer in _cluster_peers(path, rule):
            if not _given(peer):
                yield peer_path, f"a peer without any field that is known; the rule fails closed: it {effect}"
            elif peer.domain_names is not UNSET and rule.action is not RuleAction.ACCEPT:
                yield peer_path, f"domainNames work with action Accept alone; the rule fails closed: it {effect}"


def _network_policy(policy: NetworkPolicy) -> Iterator[Finding]:
    spec = policy.spec
    yield from _selector(("spec", "podSelector"), spec.pod_selector)
    if len(spec.policy_types) > 2:
        yield ("spec", "policyTypes"), "more than two"
    for path, side, rule in _rules(policy):
        for place, peer in enumerate(rule.peers):
            yield from _peer((*path, side, place), peer)
        for place, port in enumerate(rule.ports):
            yield from _port((*path, "ports", place), port)


def _rules(policy: NetworkPolicy) -> Iterator[tuple[Path, str, IngressRule | EgressRule]]:
    for index, ingress in enumerate(policy.spec.ingress):
        yield ("spec", "ingress", index), "from", ingress
    for index, egress in enumerate(policy.spec.egress):
        yield ("spec", "egress", index), "to", egress


def _peer(path: Path, peer: NetworkPolicyPeer) -> Iterator[Finding]:
    selectors = {"podSelector": peer.pod_selector, "namespaceSelector": peer.namespace_selector}
    if peer.ip_block is None and all(one is None for one in selectors.values()):
        yield path, "neither podSelector nor namespaceSelector nor ipBlock; write one, or leave the list out for all"
    if peer.ip_block is not None:
        if any(one is not None for one in selectors.values()):
            yield path, "ipBlock stands alone; make two elements of it"
        yield from _block((*path, "ipBlock"), peer.ip_block)
    for field, selector in selectors.items():
        if selector is not None:
            yield from _selector((*path, field), selector)


def _block(path: Path, block: IPBlock) -> Iterator[Finding]:
    network = _network(block.cidr)
    if network is None:
        yield (*path, "cidr"), f'"{block.cidr}" is not a network such as 10.0.0.0/8'
        return
    for index, text in enumerate(block.except_):
        hole = _network(text)
        if hole is None:
            yield (*path, "except", index), f'"{text}" is not a network such as 10.0.0.0/8'
        elif not _strictly_inside(hole, network):
            yield (*path, "except", index), f"{text} is not strictly inside {block.cidr}"


def _port(path: Path, port: NetworkPolicyPort) -> Iterator[Finding]:
    if isinstance(port.port, int) and not 1 <= port.port <= 65_535:
        yield (*path, "port"), f"{port.port} is not between 1 and 65535"
    elif isinstance(port.port, str) and not _PORT_NAME.fullmatch(port.port):
        yield (*path, "port"), f'"{port.port}" is no port name: up to 15 of a-z, 0-9 and "-", with a letter'
    if port.end_port is None:
        return
    if not isinstance(port.port, int):
        yield (*path, "endPort"), "needs a numeric port beside it"
    elif port.end_port < port.port:
        yield (*path, "endPort"), f"{port.end_port} is less than port {port.port}"


def _selector(path: Path, selector: LabelSelector) -> Iterator[Finding]:
    for key, value in selector.match_labels.items():
        yield from _label((*path, "matchLabels", key), key, (value,))
    for index, one in enumerate(selector.match_expressions):
        place = (*path, "matchExpressions", index)
        yield from _label(place, one.key, one.values)
        if bool(one.values) is not _SELECTS[one.operator]:
            needs = "needs values" if _SELECTS[one.operator] else "takes no values"
            yield (*place, "values"), f"{one.operator.value} {needs}"


def _label(path: Path, key: str, values: tuple[str, ...]) -> Iterator[Finding]:
    if not _LABEL_KEY.fullmatch(key):
        yield path, f'"{key}" is no label key'
    for value in values:
        if not _LABEL_VALUE.fullmatch(value):
            yield path, f'"{value}" is no label value'


def _cluster_policy(policy: ClusterNetworkPolicy) -> Iterator[Finding]:
    subject, path = policy.spec.subject, ("spec", "subject")
    if (subject.namespaces is None) is (subject.pods is None):
        yield path, "write exactly one of namespaces and pods"
    yield from _pods_or_namespaces(path, ClusterPeer(namespaces=subject.namespaces, pods=subject.pods))
    for rule_path, rule in _cluster_rules(policy):
        for peer_path, peer in _cluster_peers(rule_path, rule):
            yield from _cluster_peer(peer_path, peer)
            beside = [name for name in _EGRESS_ONLY if name in _given(peer)]
            if beside and isinstance(rule, ClusterIngressRule):
                yield peer_path, f"{beside[0]} is a peer of egress alone"
            elif beside and any(one.destination_named_port for one in rule.protocols or ()):
                yield peer_path, f"{beside[0]} have no named ports; write numbers in protocols"
        if rule.protocols == ():
            yield (*rule_path, "protocols"), "empty; leave it out for all traffic"
        for index, protocol in enumerate(rule.protocols or ()):
            yield from _protocol((*rule_path, "protocols", index), protocol)


def _cluster_rules(policy: ClusterNetworkPolicy) -> Iterator[tuple[Path, ClusterIngressRule | ClusterEgressRule]]:
    for index, ingress in enumerate(policy.spec.ingress):
        yield ("spec", "ingress", index), ingress
    for index, egress in enumerate(policy.spec.egress):
        yield ("spec", "egress", index), egress


def _cluster_peers(path: Path, rule: ClusterIngressRule | ClusterEgressRule) -> Iterator[tuple[Path, ClusterPeer]]:
    side = "from" if isinstance(rule, ClusterIngressRule) else "to"
    for index, peer in enumerate(rule.peers):
        yield (*path, side, index), peer


def _cluster_peer(path: Path, peer: ClusterPeer) -> Iterator[Finding]:
    if len(_given(peer)) > 1:
        yield path, f"write one of {' and '.join(_given(peer))}; make two elements of it"
    yield from _pods_or_namespaces(path, peer)
    if peer.nodes is not None:
        yield from _selector((*path, "nodes"), peer.nodes)
    if peer.networks is not UNSET:
        yield from _listed((*path, "networks"), peer.networks)
        for index, text in enumerate(peer.networks):
            if _network(text) is None:
                yield (*path, "networks", index), f'"{text}" is not a network such as 10.0.0.0/8'
    if peer.domain_names is not UNSET:
        yield from _listed((*path, "domainNames"), peer.domain_names)
        for index, text in enumerate(peer.domain_names):
            if not _DOMAIN.fullmatch(text):
                yield (*path, "domainNames", index), f'"{text}" is no name such as example.com or *.example.com'


def _pods_or_namespaces(path: Path, peer: ClusterPeer) -> Iterator[Finding]:
    if peer.namespaces is not None:
        yield from _selector((*path, "namespaces"), peer.namespaces)
    if peer.pods is not None:
        yield from _selector((*path, "pods", "namespaceSelector"), peer.pods.namespace_selector)
        yield from _selector((*path, "pods", "podSelector"), peer.pods.pod_selector)


def _listed(path: Path, values: tuple[str, ...]) -> Iterator[Finding]:
    if not 1 <= len(values) <= RULES_MAX:
        yield path, f"{len(values)} elements; write 1 to {RULES_MAX}"
    if len(set(values)) < len(values):
        yield path, "an element is there twice"


def _protocol(path: Path, protocol: ClusterProtocol) -> Iterator[Finding]:
    transports = {"tcp": protocol.tcp, "udp": protocol.udp, "sctp": protocol.sctp}
    given = [name for name, found in transports.items() if found is not None]
    if len(given) + bool(protocol.destination_named_port) != 1:
        yield path, "write exactly one of tcp, udp, sctp and destinationNamedPort"
    for name in given:
        found = transports[name]
        port = found.destination_port if found else None
        if port is None:
            yield (*path, name), "no destinationPort; all ports are the range 1 to 65535"
        else:
            yield from _cluster_port((*path, name, "destinationPort"), port)


def _cluster_port(path: Path, port: ClusterPort) -> Iterator[Finding]:
    if (port.number is None) is (port.range is None):
        yield path, "write exactly one of number and range"
    if port.range is not None and port.range.start >= port.range.end:
        yield (*path, "range"), f"start {port.range.start} is not less than end {port.range.end}"


def _given(peer: ClusterPeer) -> list[str]:
    fields = {"namespaces": peer.namespaces, "pods": peer.pods, "nodes": peer.nodes}
    lists = {"networks": peer.networks, "domainNames": peer.domain_names}
    return [
        *(name for name, found in fields.items() if found is not None),
        *(name for name, found in lists.items() if found is not UNSET),
    ]


def _network(text: str) -> IPv4Network | IPv6Network | None:
    """Host bits may be set and IPv4 may have leading zeros, as in the API."""
    try:
        return network_of(text) if "/" in text else None
    except ValueError:
        return None


def _strictly_inside(hole: IPv4Network | IPv6Network, network: IPv4Network | IPv6Network) -> bool:
    if hole.version != network.version or hole.prefixlen <= network.prefixlen:
        return False
    return hole.network_address in network
