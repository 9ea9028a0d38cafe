"""Every endpoint of a Service's slices, and why a port uses it or not.

The reasons come from the very code that selects. What joins slices to ports says whether an endpoint takes part at all;
for one that takes part and is not chosen, the selection is asked again with the endpoint changed: ready, on this node,
meant for this zone. The smallest change that would have it chosen is the reason. So no rule is written here a second
time, and an explanation cannot tell another story than the kernel's maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import msgspec

from daemon.model.objects import (
    HEADLESS_LABEL,
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointSlice,
    ForNode,
    ForZone,
    Service,
    ServicePort,
)
from daemon.model.snapshot import Snapshot
from daemon.model.workload import Node
from daemon.services.blocks import candidates
from daemon.services.selection import Candidate, Policy, select
from daemon.services.table import PortKey, Scope, ServiceTable


@dataclass(frozen=True, slots=True)
class Seen:
    """One endpoint, as one port sees it. `record` is None where it has no such port; no reasons: it is used."""

    slice: str
    endpoint: Endpoint
    record: bytes | None
    reasons: tuple[str, ...] = ()
    same_family: bool = True


def service_of(table: ServiceTable, namespace: str, name: str) -> Service | None:
    """A Service that the table was compiled from."""
    return table.workings.services.get((namespace, name))


def survey(table: ServiceTable, key: PortKey) -> list[Seen]:
    """The endpoints of all slices that name the port's Service; none where the Service or its port is gone."""
    name = (key.name.namespace, key.name.name)
    service = service_of(table, *name)
    port = _port(service, key) if service else None
    if port is None:
        return []
    slices = table.workings.slices.get(name, ())
    chosen = _Choice(candidates(port, slices, key.family), key.scope, table.node)
    seen = [one for slice_ in slices for one in _of_slice(slice_, port, key, chosen)]
    return seen + list(_headless(table.workings.snapshot, name))


def _port(service: Service, key: PortKey) -> ServicePort | None:
    named = (key.name.port_name, key.protocol)
    return next((port for port in service.spec.ports if (port.name, port.protocol.number) == named), None)


def _headless(snapshot: Snapshot, name: tuple[str, str]) -> Iterator[Seen]:
    for slice_ in snapshot.slices:
        if (slice_.namespace, slice_.service) == name and HEADLESS_LABEL in slice_.labels:
            for endpoint in slice_.endpoints:
                yield Seen(slice_.name, endpoint, None, (f"slice {slice_.name} is marked {HEADLESS_LABEL}",))


def _of_slice(slice_: EndpointSlice, port: ServicePort, key: PortKey, choice: _Choice) -> Iterator[Seen]:
    own = {id(one.endpoint): one for one in candidates(port, (slice_,), key.family)}
    same = slice_.address_type.value == f"IPv{key.family}"
    for endpoint in slice_.endpoints:
        candidate = own.get(id(endpoint))
        if candidate is None:
            yield Seen(slice_.name, endpoint, None, (_not_joined(slice_, endpoint, port, key),), same)
        else:
            yield Seen(slice_.name, endpoint, candidate.record, choice.reasons(candidate))


def _not_joined(slice_: EndpointSlice, endpoint: Endpoint, port: ServicePort, key: PortKey) -> str:
    """Why an endpoint takes no part in a port."""
    if slice_.address_type.value != f"IPv{key.family}":
        return f"other family: slice {slice_.name} is {slice_.address_type.value}, the frontend IPv{key.family}"
    if not any(one.port and (one.name, one.protocol) == (port.name, port.protocol) for one in slice_.ports):
        named = f"named {port.name}" if port.name else "without a name"
        return f"slice {slice_.name} has no {port.protocol.value} port {named}"
    twins = [one for one in slice_.endpoints if one is not endpoint and one.addresses[0] == endpoint.addresses[0]]
    return f"duplicate: slice {slice_.name} has it twice" if twins else f"its address is not IPv{key.family}"


class _Choice:
    """What the selection chose among all candidates of a port, and would have chosen if one were different."""

    def __init__(self, candidates: Sequence[Candidate], scope: Scope, node: Node) -> None:
        self._all = candidates
        self._scope = scope
        self._node = node
        self._places = {one.record: index for index, one in enumerate(candidates)}
        self._chosen = {one.record for one in self._select(candidates)}
        self._known: dict[object, tuple[str, ...]] = {}

    def reasons(self, candidate: Candidate) -> tuple[str, ...]:
        """Why a candidate is not chosen; empty where it is."""
        if self._all[self._places[candidate.record]].endpoint is not candidate.endpoint:
            return ("duplicate: another slice has the same address and port, and that one counts",)
        if candidate.record in self._chosen:
            return ()
        endpoint = candidate.endpoint
        alike = (endpoint.conditions, endpoint.node_name, endpoint.hints)  # equal in these, equal in fate
        if alike not in self._known:
            self._known[alike] = tuple(self._words(name, endpoint) for name in self._smallest(candidate))
        return self._known[alike]

    def _select(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        local = self._scope is Scope.LOCAL
        found = select(candidates, Policy(uses_cluster=not local, uses_local=local), self._node)
        return found.local if local else found.cluster

    def _smallest(self, candidate: Candidate) -> tuple[str, ...]:
        """The fewest of _CHANGES with which the candidate would be chosen."""
        for size in range(1, len(_CHANGES) + 1):
            for names in combinations(_CHANGES, size):
                if self._would(candidate, names):
                    return names
        return tuple(_CHANGES)

    def _would(self, candidate: Candidate, names: Sequence[str]) -> bool:
        endpoint = candidate.endpoint
        for name in names:
            endpoint = _CHANGES[name](endpoint, self._node)
        changed = list(self._all)
        changed[self._places[candidate.record]] = Candidate(candidate.record, endpoint)
        return any(one.record == candidate.record for one in self._select(changed))

    def _words(self, name: str, endpoint: Endpoint) -> str:
        if name == "condition":
            return _condition(endpoint, self._scope)
        if name == "node":
            where = f"on node {endpoint.node_name}" if endpoint.node_name else "on no node that it names"
            return f"{where}: policy Local takes those of {self._node.name} only"
        return f"its hints give it to {_meant_for(endpoint.hints)}, not to this node{_zone(self._node)}"


def _ready(endpoint: Endpoint, _: Node) -> Endpoint:
    return msgspec.structs.replace(endpoint, conditions=EndpointConditions(True, True, False))


def _here(endpoint: Endpoint, node: Node) -> Endpoint:
    return msgspec.structs.replace(endpoint, node_name=node.name)


def _meant(endpoint: Endpoint, node: Node) -> Endpoint:
    hints = EndpointHints((ForZone(node.zone),), (ForNode(node.name),))
    return msgspec.structs.replace(endpoint, hints=hints)


_CHANGES: Mapping[str, Callable[[Endpoint, Node], Endpoint]] = {"condition": _ready, "node": _here, "hints": _meant}


def _condition(endpoint: Endpoint, scope: Scope) -> str:
    if not endpoint.terminating:
        return "not ready"
    if not endpoint.serving:
        return "terminating, and no longer serving"
    return f"terminating: used only while none {'on this node ' if scope is Scope.LOCAL else ''}is ready"


def _meant_for(hints: EndpointHints) -> str:
    nodes, zones = (", ".join(one.name for one in some) for some in (hints.for_nodes, hints.for_zones))
    return " and ".join(filter(None, [f"node {nodes}" if nodes else "", f"zone {zones}" if zones else ""]))


def _zone(node: Node) -> str:
    return f" in {node.zone}" if node.zone else ""
