"""Who is there: pods, namespaces, nodes and names, by address, as far as policies care.

Objects that a source did not read again are the very same objects in its next snapshot, so what changed is found by
identity, and what was only written again by comparison. `dirty` collects the addresses whose class may be another one
now, `touched` the pods of this node that other policies may select now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from daemon.model.addresses import address_of
from daemon.model.differences import differences
from daemon.model.nodes import NodeObject
from daemon.model.objects import KubeObject, Namespace, Pod
from daemon.model.policies import NAMESPACE_NAME_LABEL
from daemon.model.snapshot import Snapshot
from daemon.policy.lens import ClassKey, Kind, Lens, NamedPort, Need, PodView, seen
from daemon.policy.networks import Network
from ebpf.addresses import pack

FINISHED = frozenset({"Succeeded", "Failed"})

Name = tuple[str, str]
Labels = Mapping[str, str]
T = TypeVar("T", bound=KubeObject)

_OWN = frozenset({Kind.PODS, Kind.POD_LABEL, Kind.NAMESPACE_LABEL, Kind.NAMESPACE, Kind.PORT})
_NOTHING: Labels = {}
_NO_NAMES: frozenset[str] = frozenset()


@dataclass(slots=True)
class Held:
    """A pod as policies see it. One that is finished or has the host's network has no addresses of its own."""

    pod: Pod
    addresses: tuple[bytes, ...]
    ports: tuple[NamedPort, ...]
    local: bool
    view: PodView | None = None
    stale: bool = True  # `view` is to be made anew


class Inventory:
    """Everything that has an address. Not thread-safe."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._seen = Snapshot()
        self._spaces: dict[str, Labels] = {}
        self._by_namespace: dict[str, set[Name]] = {}
        self._here: frozenset[bytes] = frozenset()
        self._names: Mapping[bytes, frozenset[str]] = {}
        self._node_names: dict[str, tuple[bytes, ...]] = {}
        self.pods: dict[Name, Held] = {}
        self.local: dict[Name, Held] = {}
        self.holders: dict[bytes, tuple[Name, ...]] = {}
        self.nodes: dict[bytes, dict[str, Labels]] = {}
        self.dirty: set[bytes] = set()
        self.touched: set[Name] = set()

    def labels_of(self, namespace: str) -> Labels:
        """A namespace's labels; its name is one of them, also where nobody wrote down the namespace."""
        return self._spaces.get(namespace) or {NAMESPACE_NAME_LABEL: namespace}

    def take(self, snapshot: Snapshot, here: frozenset[bytes]) -> None:
        """Take over what changed; `here` are addresses of this node's workloads, besides those that say so."""
        before, self._seen = self._seen, snapshot
        self._take_namespaces(before.namespaces, snapshot.namespaces)
        moved, self._here = self._here ^ here, here
        for name in {holder for address in moved for holder in self.holders.get(address, ())}:
            self._put(name, self.pods[name].pod)
        for name, pod in _changes(before.pods, snapshot.pods):
            held = self.pods.get(name)
            if held and pod and held.pod == pod:
                held.pod = pod
            else:
                self._put(name, pod)
        for (_, node), found in _changes(before.nodes, snapshot.nodes):
            self._put_node(node, found)

    def follow(self, names: Mapping[bytes, frozenset[str]]) -> None:
        """Take over which addresses DNS gave for names that policies use."""
        before, self._names = self._names, names
        if before is not names:
            changed = before.items() ^ names.items()
            self.dirty.update(address for address, _ in changed)

    def look(self, needs: Iterable[Need]) -> None:
        """What policies look at changed: find the addresses that look different now."""
        networks = [need.what for need in needs if isinstance(need.what, Network)]
        if networks:
            everything = self.holders.keys() | self.nodes.keys() | self._names.keys()
            self.dirty.update(one for one in everything if _in_any(networks, int.from_bytes(one)))
        for kind, what in needs:
            if kind in (Kind.NODES, Kind.NODE_LABEL):
                self.dirty.update(self.nodes)
            elif kind not in (Kind.NETWORK, Kind.NAME):
                self._mark(kind, what)

    def key(self, address: bytes, lens: Lens) -> ClassKey | None:
        """How an address looks; None where only the networks around it count."""
        holders = self.holders.get(address)
        pod = self._view(self.pods[holders[0]], lens) if holders else None
        labels = self.nodes.get(address, {}).values() if lens.nodes else ()
        nodes = tuple(sorted({seen(lens.node_labels, one) for one in labels}))
        names = self._names.get(address, _NO_NAMES)
        if pod is None and not nodes and not names:
            return None
        return ClassKey(pod, nodes, names, lens.zones.zone(int.from_bytes(address)))

    def token(self, address: bytes, labels: tuple[str, ...]) -> tuple[object, ...] | None:
        """Addresses that were of one class and have this in common still are, if no more than labels is looked at."""
        holders = self.holders.get(address)
        if not holders:
            return None
        held = self.pods[holders[0]]
        return holders[0][0], held.ports, *map(held.pod.metadata.labels.get, labels)

    def _view(self, held: Held, lens: Lens) -> PodView | None:
        if held.stale:
            namespace = held.pod.namespace
            held.view = lens.pod(namespace, held.pod.labels, self.labels_of(namespace), held.ports)
            held.stale = False
        return held.view

    def _mark(self, kind: Kind, what: object) -> None:
        """Pods that look different because of one need."""
        if kind is Kind.PODS:
            self._stain(self.pods)
        elif kind is Kind.POD_LABEL:
            self._stain(name for name, held in self.pods.items() if what in held.pod.labels)
        elif kind is Kind.NAMESPACE_LABEL:
            for space in self._by_namespace:
                if what in self.labels_of(space):
                    self._stain(self._by_namespace[space])
        elif kind is Kind.NAMESPACE:
            self._stain(self._by_namespace.get(str(what), ()))
        elif kind is Kind.PORT:
            self._stain(name for name, held in self.pods.items() if held.ports)

    def _stain(self, names: Iterable[Name]) -> None:
        for name in names:
            held = self.pods[name]
            held.stale = True
            self.dirty.update(held.addresses)

    def _take_namespaces(self, before: Sequence[Namespace], now: Sequence[Namespace]) -> None:
        for (_, name), found in _changes(before, now):
            labels = {**found.labels, NAMESPACE_NAME_LABEL: name} if found else _NOTHING
            if labels == self._spaces.get(name, _NOTHING):
                continue
            self._spaces[name] = labels
            if not found:
                del self._spaces[name]
            members = self._by_namespace.get(name, set())
            self._stain(members)
            self.touched.update(member for member in members if member in self.local)

    def _put(self, name: Name, pod: Pod | None) -> None:
        """Replace a pod, or remove it."""
        before = self.pods.pop(name, None)
        for address in before.addresses if before else ():
            self._hold(address, [holder for holder in self.holders[address] if holder != name])
        if before and self.local.pop(name, None):
            self.touched.add(name)
        members = self._by_namespace.setdefault(name[0], set())
        if pod is None:
            members.discard(name)
            return
        addresses = _addresses(pod)
        local = pod.spec.node_name in ("", self._node) or not self._here.isdisjoint(addresses)
        held = self.pods[name] = Held(pod, addresses, named_ports(pod), local and bool(addresses))
        members.add(name)
        for address in addresses:
            self._hold(address, sorted([*self.holders.get(address, ()), name]))
        if held.local:
            self.local[name] = held
            self.touched.add(name)

    def _hold(self, address: bytes, holders: Collection[Name]) -> None:
        """Who claims an address; the first has it. The others are told, in case they are of this node."""
        before = self.holders.pop(address, ())
        self.dirty.add(address)
        if holders:
            self.holders[address] = tuple(holders)
        if len(before) > 1 or len(holders) > 1:
            self.touched.update(name for name in {*before, *holders} if name in self.local)

    def _put_node(self, name: str, node: NodeObject | None) -> None:
        gone = self._node_names.pop(name, ())
        for address in gone:
            del self.nodes[address][name]
            if not self.nodes[address]:
                del self.nodes[address]
        found = {packed for entry in node.status.addresses if (packed := _packed(entry.address))} if node else set()
        if node:
            self._node_names[name] = tuple(found)
            for address in found:
                self.nodes.setdefault(address, {})[name] = node.labels
        self.dirty.update(gone, found)


def named_ports(pod: Pod) -> tuple[NamedPort, ...]:
    """What the pod calls its ports; of two of one name and protocol the first counts, as for Services."""
    found: dict[tuple[str, int], int] = {}
    for port in pod.ports:
        if port.name:
            found.setdefault((port.name, port.protocol.number), port.container_port)
    return tuple(sorted(NamedPort(name, protocol, number) for (name, protocol), number in found.items()))


def labels_alone(needs: Collection[Need]) -> tuple[str, ...] | None:
    """The labels of pods among needs; None where it is also about what is not a pod's own."""
    if not _OWN.issuperset(need.kind for need in needs):
        return None
    return tuple(str(need.what) for need in needs if need.kind is Kind.POD_LABEL)


def _addresses(pod: Pod) -> tuple[bytes, ...]:
    if pod.status.phase in FINISHED or pod.spec.host_network:
        return ()
    return tuple(dict.fromkeys(packed for text in pod.addresses if (packed := _packed(text))))


def _packed(text: str) -> bytes | None:
    """16 bytes; None for a node's host name, and for what the source has already told about."""
    try:
        return pack(address_of(text))
    except ValueError:
        return None


def _in_any(networks: Iterable[Network], address: int) -> bool:
    return any(network.has(address) for network in networks)


def _changes(before: Sequence[T], now: Sequence[T]) -> Iterable[tuple[Name, T | None]]:
    """Objects by namespace and name that are gone (None) or not the same as before."""
    gone, new = differences(before, now)
    found: dict[Name, T | None] = {(one.namespace, one.name): None for one in gone}
    found.update({(one.namespace, one.name): one for one in new})
    return found.items()
