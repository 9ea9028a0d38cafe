"""What the tests' API server keeps: objects and a log of their changes under one counter of versions, as etcd does."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
Name = tuple[str, str]

PATHS = {
    "Service": "/api/v1/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
    "Pod": "/api/v1/pods",
    "Namespace": "/api/v1/namespaces",
    "Node": "/api/v1/nodes",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
    "ClusterNetworkPolicy": "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
    "Shield": "/apis/remora.io/v1alpha1/shields",
}
KINDS = {path: kind for kind, path in PATHS.items()}
_DEFINED = {PATHS["ClusterNetworkPolicy"], PATHS["Shield"]}  # by CustomResourceDefinitions


@dataclass(frozen=True)
class Change:
    """An entry of the log; `before` is the object that was replaced or removed."""

    version: int
    path: str
    object: Object
    before: Object | None
    deleted: bool = False


@dataclass
class Store:
    """Objects and their history."""

    version: int = 1
    objects: dict[str, dict[Name, Object]] = field(default_factory=lambda: {path: {} for path in PATHS.values()})
    log: list[Change] = field(default_factory=list)
    lost: int = 0
    """changes up to this version are no longer in the log"""
    _sorted: dict[str, list[Name]] = field(default_factory=dict)

    def put(self, made: Object) -> None:
        self._enter(PATHS[made["kind"]], made, deleted=False)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        gone = self.objects[PATHS[kind]][namespace, name]
        self._enter(PATHS[kind], gone, deleted=True)

    def has(self, kind: str, meta: Object) -> bool:
        """Whether there is an object of that kind and name."""
        return (meta.get("namespace", ""), meta["name"]) in self.objects[PATHS[kind]]

    def names(self, path: str) -> list[Name]:
        """All objects of a kind in order; sorted again when one was added or removed."""
        known, objects = self._sorted.get(path, []), self.objects[path]
        if len(known) != len(objects) or not all(map(objects.__contains__, known)):
            known = self._sorted[path] = sorted(objects)
        return known

    def since(self, version: int) -> list[Change]:
        """The changes after a version."""
        return self.log[bisect_right(self.log, version, key=lambda one: one.version) :]

    def compact(self) -> None:
        """Forget history."""
        self.log.clear()
        self.lost = self.version

    def _enter(self, path: str, made: Object, deleted: bool) -> None:
        self.version += 1
        meta = {**made["metadata"], "resourceVersion": str(self.version)}
        stored = {**made, "metadata": meta}
        name = meta.get("namespace", ""), meta["name"]
        before = self.objects[path].get(name)
        if deleted:
            del self.objects[path][name]
        else:
            self.objects[path][name] = stored
        self.log.append(Change(self.version, path, stored, before, deleted))


def written(path: str, found: Object, listed: bool = False) -> Object:
    """As the server writes it: with who manages what, null for a slice's empty lists, no kind for items of a list."""
    noise = [{"manager": "kubectl", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}]
    made = {**found, "metadata": {**found["metadata"], "managedFields": noise}}
    if path == PATHS["EndpointSlice"]:
        made |= {key: found.get(key) or None for key in ("endpoints", "ports")}
    if listed and path not in _DEFINED:
        made = {key: value for key, value in made.items() if key not in ("kind", "apiVersion")}
    return made


@dataclass(frozen=True)
class Selection:
    """Label and field selectors of a request."""

    labels: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    @classmethod
    def of(cls, query: dict[str, str]) -> Selection:
        split = [tuple(filter(None, query.get(key, "").split(","))) for key in ("labelSelector", "fieldSelector")]
        return cls(*split)

    def matches(self, found: Object | None) -> bool:
        if found is None:
            return False
        labels = found["metadata"].get("labels", {})
        return all(_label(labels, term) for term in self.labels) and all(_field(found, term) for term in self.fields)


def _label(labels: dict[str, str], term: str) -> bool:
    if term.startswith("!"):
        return term[1:] not in labels
    key, equals, value = term.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _field(found: Object, term: str) -> bool:
    key, wanted = term.split("!=") if "!=" in term else term.split("=")
    value: object = found
    for step in key.split("."):
        value = value.get(step, "") if isinstance(value, dict) else ""
    return (value != wanted) if "!=" in term else (value == wanted)
