"""What thousands of objects have in common, kept once.

A decoder makes everything anew that it reads: fifty thousand endpoints name a hundred nodes and three zones fifty
thousand times, and all pods of a Deployment have the same labels, owners and ports. So before anybody has seen an
object, strings that repeat are replaced by one and the same string, and parts that repeat by one and the same part.
"""

from __future__ import annotations

from functools import lru_cache
from sys import intern
from typing import Any, TypeVar

from msgspec.structs import force_setattr

from daemon.model.objects import EndpointSlice, KubeObject, Pod, Service

T = TypeVar("T", bound=KubeObject)

_PARTS = 4096  # different parts that are remembered: lists come by name, so those that are alike come together


def shared(found: T) -> T:
    """The same object, with what repeats kept once. Only for one that was just decoded."""
    meta = found.metadata
    force_setattr(meta, "namespace", intern(meta.namespace))
    if meta.labels:
        force_setattr(meta, "labels", {intern(key): intern(value) for key, value in meta.labels.items()})
    if isinstance(found, EndpointSlice):
        _share_slice(found)
    elif isinstance(found, Pod):
        _share_pod(found)
    elif isinstance(found, Service):
        force_setattr(found.spec, "ports", _once(found.spec.ports))
        force_setattr(found.spec, "cluster_ip", intern(found.spec.cluster_ip))
        force_setattr(found.spec, "cluster_ips", _interned(found.spec.cluster_ips))
    return found


def _share_slice(found: EndpointSlice) -> None:
    force_setattr(found, "ports", _once(found.ports))
    for endpoint in found.endpoints:
        force_setattr(endpoint, "addresses", _interned(endpoint.addresses))
        force_setattr(endpoint, "node_name", intern(endpoint.node_name))
        force_setattr(endpoint, "zone", intern(endpoint.zone))
        force_setattr(endpoint, "conditions", _once(endpoint.conditions))


def _share_pod(found: Pod) -> None:
    meta = found.metadata
    force_setattr(meta, "labels", _labels(tuple(meta.labels.items())))
    force_setattr(meta, "owner_references", _once(meta.owner_references))
    force_setattr(found.spec, "node_name", intern(found.spec.node_name))
    force_setattr(found.spec, "containers", _once(found.spec.containers))
    force_setattr(found.status, "phase", intern(found.status.phase))
    force_setattr(found.status, "pod_ip", intern(found.status.pod_ip))
    for one in found.status.pod_ips:
        force_setattr(one, "ip", intern(one.ip))


def _interned(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(intern, texts))


@lru_cache(_PARTS)
def _once(part: Any) -> Any:
    return part


@lru_cache(_PARTS)
def _labels(items: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return dict(items)
