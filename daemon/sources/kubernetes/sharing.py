"""Strings that thousands of objects have in common, kept once.

A decoder makes a new string for each value that it reads: fifty thousand endpoints name a hundred nodes and three zones
fifty thousand times. What repeats, namespaces, labels, names of nodes and zones, is replaced by one and the same string
before anybody has seen the object; so are conditions.
"""

from __future__ import annotations

from functools import lru_cache
from sys import intern
from typing import TypeVar

from msgspec.structs import force_setattr

from daemon.model.objects import EndpointConditions, EndpointSlice, KubeObject, Pod

T = TypeVar("T", bound=KubeObject)


def shared(found: T) -> T:
    """The same object, with what repeats kept once. Only for one that was just decoded."""
    meta = found.metadata
    force_setattr(meta, "namespace", intern(meta.namespace))
    if meta.labels:
        force_setattr(meta, "labels", {intern(key): intern(value) for key, value in meta.labels.items()})
    if isinstance(found, EndpointSlice):
        for endpoint in found.endpoints:
            force_setattr(endpoint, "node_name", intern(endpoint.node_name))
            force_setattr(endpoint, "zone", intern(endpoint.zone))
            force_setattr(endpoint, "conditions", _once(endpoint.conditions))
    elif isinstance(found, Pod):
        force_setattr(found.spec, "node_name", intern(found.spec.node_name))
        force_setattr(found.status, "phase", intern(found.status.phase))
        for owner in meta.owner_references:
            force_setattr(owner, "kind", intern(owner.kind))
            force_setattr(owner, "name", intern(owner.name))
    return found


@lru_cache(64)
def _once(conditions: EndpointConditions) -> EndpointConditions:
    return conditions
