"""Which endpoints of a Service port may be used on this node.

This is kube-proxy's rule, kept exactly, because users' expectations are its test suite: ready endpoints first, thinned
out by topology hints only when every ready endpoint carries them, and endpoints that terminate but still serve when
nothing else is left (KEP-1669). The Cluster and the Local set are chosen independently of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from msgspec import Struct

from daemon.model.objects import Endpoint, Service, ServicePort, TrafficPolicy
from daemon.model.workload import Node
from daemon.services.exposure import reached_from_outside


class Candidate(Struct, frozen=True, gc=False):
    """An endpoint of one Service port; `record` is its address (16 bytes) and port (2 bytes), network order."""

    record: bytes
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Policy:
    """Which sets a Service port needs: endpoints anywhere, endpoints of this node, or both."""

    uses_cluster: bool = True
    uses_local: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """The usable endpoints. `reachable` is what any frontend may choose from.

    `anywhere` tells whether a usable endpoint exists on any node: traffic is refused when there is none, and dropped
    when only this node has none.
    """

    cluster: tuple[Candidate, ...] = ()
    local: tuple[Candidate, ...] = ()
    reachable: tuple[Candidate, ...] = ()
    anywhere: bool = False


def policy_of(service: Service, port: ServicePort) -> Policy:
    """The sets that a port needs, from both traffic policies and from how it is reached."""
    external = reached_from_outside(service, port)
    internal_local = service.spec.internal_traffic_policy is TrafficPolicy.LOCAL
    external_local = external and service.spec.external_traffic_policy is TrafficPolicy.LOCAL
    return Policy(uses_cluster=external or not internal_local, uses_local=internal_local or external_local)


def select(candidates: Sequence[Candidate], policy: Policy, node: Node) -> Selection:
    """The sets that the policy uses, in the order of `candidates`; sets that it does not use are empty."""
    ready = [candidate for candidate in candidates if candidate.endpoint.ready]
    usable = _preferred(ready, node) if policy.uses_cluster else None
    cluster = tuple(ready if usable is None else usable) or _draining(candidates) if policy.uses_cluster else ()
    if not policy.uses_local:
        return Selection(cluster, (), cluster, bool(cluster))
    local = _on(node, ready) or _on(node, _draining(candidates))
    anywhere = bool(ready) or bool(_draining(candidates))
    if not policy.uses_cluster:
        return Selection((), local, local, anywhere)
    return Selection(cluster, local, _union(candidates, cluster, local), anywhere)


def _draining(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Endpoints that are going away and still answer."""
    return tuple(entry for entry in candidates if entry.endpoint.serving and entry.endpoint.terminating)


def _on(node: Node, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    return tuple(entry for entry in candidates if entry.endpoint.node_name and entry.endpoint.node_name == node.name)


def _preferred(ready: Sequence[Candidate], node: Node) -> list[Candidate] | None:
    """The ready endpoints that hints reserve for this node, else for its zone; None when hints do not apply."""
    if not ready or not all(entry.endpoint.hints.for_nodes or entry.endpoint.hints.for_zones for entry in ready):
        return None
    return _hinted(ready, node.name, _node_hints) or _hinted(ready, node.zone, _zone_hints)


def _hinted(ready: Sequence[Candidate], name: str, hints: Callable[[Endpoint], set[str]]) -> list[Candidate] | None:
    """The endpoints with a hint for `name`; None unless every endpoint has hints of this sort and one is for it."""
    named = [hints(entry.endpoint) for entry in ready]
    if not name or not all(named):
        return None
    return [entry for entry, names in zip(ready, named, strict=True) if name in names] or None


def _node_hints(endpoint: Endpoint) -> set[str]:
    return {hint.name for hint in endpoint.hints.for_nodes}


def _zone_hints(endpoint: Endpoint) -> set[str]:
    return {hint.name for hint in endpoint.hints.for_zones}


def _union(candidates: Iterable[Candidate], *sets: Iterable[Candidate]) -> tuple[Candidate, ...]:
    wanted = {entry.record for chosen in sets for entry in chosen}
    return tuple(entry for entry in candidates if entry.record in wanted)
