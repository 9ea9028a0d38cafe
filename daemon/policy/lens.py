"""What policies look at, and what an address looks like through it.

Ten thousand pods with a label of their own each are ten thousand identities to whoever looks at all labels. Policies
look at a few. So an address is described by those alone: the labels that some peer of some policy selects on, the
namespace where a policy speaks of its own, the named ports that an egress rule asks for, the networks it is in.
Addresses of equal description are one class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from daemon.policy.networks import Network, Zones
from daemon.policy.parsed import BlockPeer, NamesPeer, NodePeer, ParsedPolicy, Peer, PodPeer
from daemon.policy.selectors import keys_of, matches

Labels = tuple[tuple[str, str], ...]


class Kind(Enum):
    """What a policy may look at."""

    PODS = 1  # whether it is a pod at all
    POD_LABEL = 2
    NAMESPACE_LABEL = 3
    NAMESPACE = 4
    PORT = 5
    NETWORK = 6
    NODES = 7
    NODE_LABEL = 8
    NAME = 9


class Need(NamedTuple):
    """One thing that a policy looks at."""

    kind: Kind
    what: str | Network | tuple[int, str] = ""


class NamedPort(NamedTuple):
    """What a pod's containers call a port."""

    name: str
    protocol: int
    number: int


class PodView(NamedTuple):
    namespace: str  # "" where no policy speaks of it
    labels: Labels
    namespace_labels: Labels
    ports: tuple[NamedPort, ...]


class ClassKey(NamedTuple):
    """The description of an address; the empty one is the world's."""

    pod: PodView | None = None
    nodes: tuple[Labels, ...] = ()  # of those that have the address; more than one while one replaces another
    names: frozenset[str] = frozenset()
    zone: Network | None = None


WORLD = ClassKey()


@dataclass(frozen=True, slots=True)
class Lens:
    """All that policies look at."""

    pods: bool
    pod_labels: tuple[str, ...]
    namespace_labels: tuple[str, ...]
    namespaces: frozenset[str]
    ports: frozenset[tuple[int, str]]
    nodes: bool
    node_labels: tuple[str, ...]
    names: frozenset[str]
    networks: tuple[Network, ...]
    zones: Zones

    def pod(
        self, namespace: str, labels: Mapping[str, str], space: Mapping[str, str], ports: Iterable[NamedPort]
    ) -> PodView | None:
        """A pod; None where policies look at no pods."""
        if not self.pods:
            return None
        return PodView(
            namespace if namespace in self.namespaces else "",
            seen(self.pod_labels, labels),
            seen(self.namespace_labels, space),
            tuple(port for port in ports if self._asked(port)) if self.ports else (),
        )

    def _asked(self, port: NamedPort) -> bool:
        return (port.protocol, port.name) in self.ports or (0, port.name) in self.ports


class Projection:
    """Counts what all policies need; `lens` is valid until the next `add` or `remove`."""

    def __init__(self) -> None:
        self._needs: Counter[Need] = Counter()
        self.lens = _lens(())

    def add(self, policies: Iterable[ParsedPolicy]) -> set[Need]:
        """Count policies; what nobody needed before."""
        wanted = Counter(need for policy in policies for need in needs_of(policy))
        new = {need for need in wanted if need not in self._needs}
        self._needs += wanted
        if new:
            self.lens = _lens(self._needs)
        return new

    def remove(self, policies: Iterable[ParsedPolicy]) -> set[Need]:
        """Count policies no more; what nobody needs now."""
        dropped = Counter(need for policy in policies for need in needs_of(policy))
        self._needs -= dropped
        gone = {need for need in dropped if need not in self._needs}
        if gone:
            self.lens = _lens(self._needs)
        return gone


def needs_of(policy: ParsedPolicy) -> set[Need]:
    """What has to be known of a peer to tell whether the policy means it, and by which port."""
    found = {need for peer in policy.peers for need in _peer_needs(peer)}
    if policy.egress_names:
        found |= {Need(Kind.PODS), *(Need(Kind.PORT, port) for port in policy.egress_names)}
    return found


def matched(peer: Peer, key: ClassKey) -> bool:
    """Whether a peer means the addresses of a class. `Everyone` is not asked: it means all."""
    match peer:
        case PodPeer(namespace, namespaces, pods):
            pod = key.pod
            return (
                pod is not None
                and (not namespace or pod.namespace == namespace)
                and matches(pods, dict(pod.labels))
                and matches(namespaces, dict(pod.namespace_labels))
            )
        case BlockPeer(network, holes):
            zone = key.zone
            return zone is not None and network.holds(zone) and not any(hole.holds(zone) for hole in holes)
        case NodePeer(nodes):
            return any(matches(nodes, dict(labels)) for labels in key.nodes)
        case NamesPeer(patterns):
            return not key.names.isdisjoint(patterns)
    return False


def seen(keys: tuple[str, ...], labels: Mapping[str, str]) -> Labels:
    """Of the labels those with the given keys."""
    return tuple((key, labels[key]) for key in keys if key in labels)


def _peer_needs(peer: Peer) -> Iterator[Need]:
    match peer:
        case PodPeer(namespace, namespaces, pods):
            yield Need(Kind.PODS)
            yield from (Need(Kind.POD_LABEL, key) for key in keys_of(pods))
            yield from (Need(Kind.NAMESPACE_LABEL, key) for key in keys_of(namespaces))
            if namespace:
                yield Need(Kind.NAMESPACE, namespace)
        case BlockPeer(network, holes):
            yield from (Need(Kind.NETWORK, one) for one in (network, *holes))
        case NodePeer(nodes):
            yield Need(Kind.NODES)
            yield from (Need(Kind.NODE_LABEL, key) for key in keys_of(nodes))
        case NamesPeer(patterns):
            yield from (Need(Kind.NAME, pattern) for pattern in patterns)


def _lens(needs: Iterable[Need]) -> Lens:
    words: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    networks: list[Network] = []
    ports: list[tuple[int, str]] = []
    for kind, what in needs:
        if isinstance(what, Network):
            networks.append(what)
        elif isinstance(what, tuple):
            ports.append(what)
        else:
            words[kind].append(what)
    return Lens(
        bool(words[Kind.PODS]),
        tuple(sorted(words[Kind.POD_LABEL])),
        tuple(sorted(words[Kind.NAMESPACE_LABEL])),
        frozenset(words[Kind.NAMESPACE]),
        frozenset(ports),
        bool(words[Kind.NODES]),
        tuple(sorted(words[Kind.NODE_LABEL])),
        frozenset(words[Kind.NAME]),
        tuple(sorted(networks)),
        Zones(networks),
    )
