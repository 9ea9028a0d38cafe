"""Whether a kind that is not there is there in another version.

`404` for ClusterNetworkPolicies means that a cluster has none, or that it serves them in a version that this agent does
not read. The first is nothing to tell; to take the second for the first would leave policies out without a word.

Source: the discovery documents of the Kubernetes API, `/apis/GROUP` and `/apis/GROUP/VERSION`.
"""

from __future__ import annotations

from typing import TypeVar

import httpx2
import msgspec

from daemon.sources.kubernetes import refusals, wire
from daemon.sources.kubernetes.resources import Resource
from daemon.sources.kubernetes.wire import ApiError

T = TypeVar("T")


class _Version(msgspec.Struct, frozen=True):
    version: str


class _Group(msgspec.Struct, frozen=True):
    versions: tuple[_Version, ...] = ()


class _Kind(msgspec.Struct, frozen=True):
    name: str


class _Kinds(msgspec.Struct, frozen=True):
    resources: tuple[_Kind, ...] = ()


async def served_as(client: httpx2.AsyncClient, resource: Resource) -> str:
    """The first other version of the kind, "" where there is none; raises ApiError and what httpx2 raises."""
    try:
        group = await _read(client, f"/apis/{resource.group}", _Group)
        for one in group.versions:
            kinds = await _read(client, f"/apis/{resource.group}/{one.version}", _Kinds)
            if one.version != resource.version and any(kind.name == resource.name for kind in kinds.resources):
                return one.version
    except ApiError as error:
        if error.code not in refusals.LASTING:
            raise
    return ""


async def _read(client: httpx2.AsyncClient, path: str, kind: type[T]) -> T:
    answer = await client.get(path)
    if answer.status_code != httpx2.codes.OK:
        raise wire.failure(answer.content, answer.status_code)
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise ApiError(f"{path} cannot be read: {error}") from error
