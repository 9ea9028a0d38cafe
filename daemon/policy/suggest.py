"""NetworkPolicies made from what was seen: they let exactly that pass.

Each workload gets one policy, by its labels, never by the names or addresses of pods; peers are told the same way,
and by address where they are no pods. A set of labels that is part of another workload's would select that one, too:
then the keys that only the other has are excluded. Each namespace also denies by default, so what was never seen is
shut out even for workloads that were never seen.

What a NetworkPolicy cannot say, ICMP above all, is told apart instead of being allowed by a rule for everything.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from daemon.model.policies import NAMESPACE_NAME_LABEL
from daemon.policy.explain import TRANSPORTS
from daemon.policy.recorded import Labels, Party, Seen
from ebpf.addresses import text

Manifest = dict[str, Any]


class Kind(NamedTuple):
    """Pods of a namespace that policies treat alike: those with exactly these labels."""

    namespace: str
    labels: Labels


Peer = Kind | str  # a network, where it is no pod
Ports = dict[Peer, set[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Manifests, and what was seen but cannot be said in them."""

    policies: tuple[Manifest, ...]
    left_out: tuple[Seen, ...]


def suggest(seen: Iterable[Seen], namespaces: Collection[str]) -> Suggestion:
    """Least-privilege policies for the workloads of these namespaces. What was denied when it was seen stays so."""
    passed = [one for one in seen if one.passed]
    expressible = [one for one in passed if one.protocol in TRANSPORTS]
    known = {kind for one in passed for party in (one.source, one.destination) if (kind := _kind(party))}
    ingress: dict[Kind, Ports] = defaultdict(lambda: defaultdict(set))
    egress: dict[Kind, Ports] = defaultdict(lambda: defaultdict(set))
    for one in expressible:
        source, destination = _kind(one.source), _kind(one.destination)
        target = one.protocol, one.port
        if source:
            egress[source][_peer(one.destination)].add(target)
        if destination:
            ingress[destination][_peer(one.source)].add(target)
    policies = [_default_deny(namespace) for namespace in sorted(namespaces)]
    for kind in sorted(known):
        if kind.namespace in namespaces:
            policies.append(_policy(kind, known, ingress[kind], egress[kind]))
    return Suggestion(tuple(policies), tuple(one for one in passed if one.protocol not in TRANSPORTS))


def _kind(party: Party) -> Kind | None:
    return Kind(party.namespace, party.labels) if party.namespace else None


def _peer(party: Party) -> Peer:
    address = text(party.address)
    return _kind(party) or f"{address}/{128 if ':' in address else 32}"


def _policy(kind: Kind, known: Collection[Kind], ingress: Ports, egress: Ports) -> Manifest:
    spec = {
        "podSelector": _selector(kind, known),
        "policyTypes": ["Ingress", "Egress"],
        "ingress": _rules("from", kind, known, ingress),
        "egress": _rules("to", kind, known, egress),
    }
    return _manifest(kind.namespace, _name(kind), spec)


def _rules(side: str, kind: Kind, known: Collection[Kind], ports: Ports) -> list[Manifest]:
    """One rule for all peers that use the same ports."""
    alike: dict[tuple[tuple[int, int], ...], list[Peer]] = defaultdict(list)
    for peer, targets in ports.items():
        alike[tuple(sorted(targets))].append(peer)
    return [
        {
            side: [_element(peer, kind, known) for peer in sorted(peers, key=str)],
            "ports": [{"protocol": TRANSPORTS[protocol], "port": number} for protocol, number in targets],
        }
        for targets, peers in sorted(alike.items())
    ]


def _element(peer: Peer, kind: Kind, known: Collection[Kind]) -> Manifest:
    if isinstance(peer, str):
        return {"ipBlock": {"cidr": peer}}
    pods = {"podSelector": _selector(peer, known)}
    if peer.namespace == kind.namespace:
        return pods
    return {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME_LABEL: peer.namespace}}, **pods}


def _selector(kind: Kind, known: Collection[Kind]) -> Manifest:
    """What selects these pods and none of the other kinds that are known in the namespace."""
    own = dict(kind.labels)
    others = [dict(other.labels) for other in known if other.namespace == kind.namespace and other != kind]
    extra = sorted({key for other in others if own.items() <= other.items() for key in other.keys() - own.keys()})
    selector: Manifest = {"matchLabels": own} if own else {}
    if extra:
        selector["matchExpressions"] = [{"key": key, "operator": "DoesNotExist"} for key in extra]
    return selector


def _default_deny(namespace: str) -> Manifest:
    return _manifest(namespace, "default-deny", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})


def _name(kind: Kind) -> str:
    """A name that tells people which workload it is, and that no other kind has."""
    labels: Mapping[str, str] = dict(kind.labels)
    word = labels.get("app.kubernetes.io/name") or labels.get("app") or "pods"
    stem = "".join(letter if letter.isalnum() else "-" for letter in word.lower()).strip("-") or "pods"
    return f"{stem[:40]}-{hashlib.sha256(repr(kind.labels).encode()).hexdigest()[:8]}"


def _manifest(namespace: str, name: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
