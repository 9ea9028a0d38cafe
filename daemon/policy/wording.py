"""Rules as people read them: who, and by which ports."""

from __future__ import annotations

from daemon.model.policies import Operator
from daemon.policy.explain import TRANSPORTS
from daemon.policy.networks import Network
from daemon.policy.parsed import BlockPeer, Everyone, NamesPeer, NodePeer, ParsedRule, Peer, PodPeer, PortMatch
from daemon.policy.selectors import Selector
from ebpf.addresses import text

_WORDS = {Operator.IN: "in", Operator.NOT_IN: "not in"}


def peer_words(peer: Peer) -> str:
    """Whom a rule means: "pods app=web in shop", "10.0.0.0/8 but 10.1.0.0/16"."""
    match peer:
        case Everyone():
            return "everyone"
        case PodPeer():
            return _pods(peer)
        case BlockPeer():
            holes = " and ".join(map(_network, peer.holes))
            return f"{_network(peer.network)} but {holes}" if holes else _network(peer.network)
        case NodePeer():
            return f"nodes {_selector(peer.nodes) or '(all)'}"
        case NamesPeer():
            return ", ".join(peer.patterns)


def port_words(rule: ParsedRule) -> list[str]:
    """The ports of a rule: "80/TCP", "8000-8100/TCP", "http/TCP", "TCP"; none: all traffic."""
    return [_port(port) for port in rule.ports or ()]


def _pods(peer: PodPeer) -> str:
    pods = f"pods {_selector(peer.pods)}".rstrip() if peer.pods else "all pods"
    if peer.namespace:
        return f"{pods} in {peer.namespace}"
    return f"{pods} in namespaces {_selector(peer.namespaces)}" if peer.namespaces else f"{pods} in any namespace"


def _selector(selector: Selector) -> str:
    return ",".join(map(_condition, selector))


def _condition(one: tuple[str, Operator, frozenset[str]]) -> str:
    key, operator, values = one
    if operator is Operator.IN and len(values) == 1:
        return f"{key}={next(iter(values))}"
    if operator in _WORDS:
        return f"{key} {_WORDS[operator]} ({','.join(sorted(values))})"
    return key if operator is Operator.EXISTS else f"!{key}"


def _network(network: Network) -> str:
    return f"{text(network.base.to_bytes(16))}/{network.bits - 96 if network.v4 else network.bits}"


def _port(port: PortMatch) -> str:
    transport = TRANSPORTS.get(port.protocol, "any protocol")
    if port.name:
        return f"{port.name}/{transport}"
    if port == PortMatch(port.protocol):
        return transport
    return f"{port.low}/{transport}" if port.low == port.high else f"{port.low}-{port.high}/{transport}"
