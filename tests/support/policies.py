"""Short ways to write worlds of pods and policies, and to compare tables by what they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from msgspec import convert, to_builtins

from daemon.model.nodes import NodeObject
from daemon.model.objects import Namespace, Pod
from daemon.model.policies import ClusterNetworkPolicy, NetworkPolicy
from daemon.model.snapshot import Snapshot
from daemon.policy import Direction, PolicyTable, Rule
from daemon.policy.evaluate import Evaluator

HERE = "here"
CLUSTER_VERSION = "policy.networking.k8s.io/v1alpha2"

Object = Namespace | Pod | NodeObject | NetworkPolicy | ClusterNetworkPolicy
Said = tuple[str, bool, Rule]
_VERSIONS = {
    Namespace: ("v1", "Namespace"),
    Pod: ("v1", "Pod"),
    NodeObject: ("v1", "Node"),
    NetworkPolicy: ("networking.k8s.io/v1", "NetworkPolicy"),
    ClusterNetworkPolicy: (CLUSTER_VERSION, "ClusterNetworkPolicy"),
}


def namespace(name: str, **labels: str) -> Namespace:
    return convert({"metadata": {"name": name, "labels": labels}}, Namespace)


def pod(name: str, ips: str, labels: Mapping[str, str] | None = None, **spec: object) -> Pod:
    """A running pod of this node, `name` as "namespace/name"; `phase` goes to the status."""
    space, _, own = name.rpartition("/")
    phase = spec.pop("phase", "Running")
    body = {
        "metadata": {"name": own, "namespace": space or "default", "labels": dict(labels or {})},
        "spec": {"nodeName": HERE, **spec},
        "status": {"phase": phase, "podIPs": [{"ip": ip} for ip in ips.split()]},
    }
    return convert(body, Pod)


def containers(*ports: tuple[str, str, int]) -> list[dict[str, object]]:
    """One container with named ports (name, protocol, number)."""
    listed = [{"name": name, "protocol": protocol, "containerPort": number} for name, protocol, number in ports]
    return [{"ports": listed}]


def node(name: str, *addresses: str, **labels: str) -> NodeObject:
    listed = [{"type": "InternalIP", "address": address} for address in addresses]
    return convert({"metadata": {"name": name, "labels": labels}, "status": {"addresses": listed}}, NodeObject)


def policy(name: str, **spec: object) -> NetworkPolicy:
    """A NetworkPolicy, `name` as "namespace/name"; `annotations` and `labels` go to the metadata."""
    space, _, own = name.rpartition("/")
    return convert({"metadata": _metadata(own, spec, namespace=space or "default"), "spec": spec}, NetworkPolicy)


def cluster_policy(name: str, **spec: object) -> ClusterNetworkPolicy:
    """A ClusterNetworkPolicy, by default of the Admin tier with priority 10 and all pods as its subject."""
    metadata = _metadata(name, spec)
    body = {"tier": "Admin", "priority": 10, "subject": {"namespaces": {}}, **spec}
    return convert({"metadata": metadata, "spec": body}, ClusterNetworkPolicy)


def snapshot_of(objects: Iterable[Object]) -> Snapshot:
    """As a source would hand them out: sorted by namespace and name."""
    found = sorted(objects, key=lambda one: (one.namespace, one.name))
    return Snapshot(
        pods=tuple(one for one in found if isinstance(one, Pod)),
        namespaces=tuple(one for one in found if isinstance(one, Namespace)),
        nodes=tuple(one for one in found if isinstance(one, NodeObject)),
        policies=tuple(one for one in found if isinstance(one, NetworkPolicy)),
        cluster_policies=tuple(one for one in found if isinstance(one, ClusterNetworkPolicy)),
    )


def manifest(one: Object) -> dict[str, Any]:
    """An object as a file has it."""
    version, kind = _VERSIONS[type(one)]
    return {"apiVersion": version, "kind": kind, **_written(to_builtins(one))}


def said(table: PolicyTable, extra: Iterable[bytes] = ()) -> dict[tuple[bytes, Direction, bytes, int, int], Said]:
    """What a table says of every pair of addresses that it knows, at all ports where anything changes; no numbers.

    Two tables that say the same here differ in numbers alone.
    """
    asked = Evaluator(table)
    remotes = sorted({*table.classes, *(raw for raw, _ in table.networks), *extra})
    ports = interesting_ports([table])
    found = {}
    for local in table.workloads:
        for direction in Direction:
            for remote in remotes:
                for protocol, port in ports:
                    verdict = asked.verdict(direction, local, remote, protocol, port)
                    if verdict:
                        words = verdict.action.name, verdict.audit, table.rules[verdict.rule]
                        found[local, direction, remote, protocol, port] = words
    return found


def interesting_ports(tables: Iterable[PolicyTable]) -> list[tuple[int, int]]:
    """Protocol and port wherever an entry of a table begins or ends, and beside it."""
    entries = chain.from_iterable(ruleset.entries for table in tables for ruleset in table.rulesets.values())
    found = {(6, 7), (17, 7), (132, 7), (1, 0), (58, 0)}
    for entry in entries:
        if entry.protocol:
            last = entry.port + (1 << (16 - entry.bits)) - 1
            found.update((entry.protocol, port) for port in (entry.port - 1, entry.port, last, last + 1))
    return sorted((protocol, port) for protocol, port in found if 0 <= port <= 65_535)


def _metadata(name: str, spec: dict[str, object], **more: object) -> dict[str, object]:
    return {"name": name, "annotations": spec.pop("annotations", {}), "labels": spec.pop("labels", {}), **more}


def _written(value: Any) -> Any:
    """Without what is not said: a null, and the empty text that stands for it."""
    if isinstance(value, dict):
        return {key: _written(one) for key, one in value.items() if one is not None and one != ""}
    return [_written(one) for one in value] if isinstance(value, list | tuple) else value
