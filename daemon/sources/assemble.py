"""Files put together to one snapshot, with what only shows when all of them are seen side by side."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar, cast

from daemon.model.listing import name_of
from daemon.model.nodes import NodeObject
from daemon.model.objects import (
    HEADLESS_LABEL,
    EndpointSlice,
    KubeObject,
    Namespace,
    ObjectRef,
    Pod,
    Protocol,
    Service,
    ServiceType,
)
from daemon.model.policies import ClusterNetworkPolicy, NetworkPolicy
from daemon.model.shields import Shield
from daemon.model.snapshot import Problem, Severity, Snapshot
from daemon.sources.decode import Located
from daemon.sources.files import FileState

T = TypeVar("T", bound=KubeObject)
Place = tuple[str, int]
Chosen = dict[ObjectRef, tuple[Located, str]]
"""Each object with its file."""

_WITH_NODE_PORTS = frozenset({ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER})


def assemble(folder: Path, files: Mapping[str, FileState]) -> Snapshot:
    """One snapshot of all files. An object that is written twice is taken from the later file, as `kubectl` would."""
    chosen: Chosen = {}
    problems: list[Problem] = []
    prefix = str(folder / "_").removesuffix("_")
    for name, state in files.items():
        file = prefix + name
        problems += _problems_of(file, state)
        for located in state.content.objects:
            before = chosen.get(located.ref)
            if before:
                where = "{}:{}".format(*_place(before))
                problems.append(_note((file, located.line), f"{located.ref} is also in {where}; this one is used"))
            chosen[located.ref] = located, file
    kinds: dict[type[KubeObject], list[KubeObject]] = defaultdict(list)
    for located, _ in chosen.values():
        kinds[type(located.object)].append(located.object)
    for objects in kinds.values():
        objects.sort(key=name_of)
    slices, services = _only(EndpointSlice, kinds), _only(Service, kinds)
    problems += _orphans(slices, chosen)
    problems += _shared_addresses(services, chosen)
    problems += _shared_node_ports(services, chosen)
    unread = tuple(prefix + name for name, state in files.items() if state.unread)
    return Snapshot(
        services=services,
        slices=slices,
        pods=_only(Pod, kinds),
        namespaces=_only(Namespace, kinds),
        nodes=_only(NodeObject, kinds),
        policies=_only(NetworkPolicy, kinds),
        cluster_policies=_only(ClusterNetworkPolicy, kinds),
        shields=_only(Shield, kinds),
        ignored=tuple(ref for state in files.values() for ref in state.content.ignored),
        problems=tuple(sorted(problems, key=lambda problem: (problem.file, problem.line))),
        read_at=time.monotonic(),
        unread=unread,
        unread_shields=unread,
    )


def _place(one: tuple[Located, str]) -> Place:
    located, file = one
    return file, located.line


def _problems_of(file: str, state: FileState) -> Iterator[Problem]:
    if state.problem:
        yield state.problem
    for note in state.content.notes:
        yield _note((file, note.line), note.message)


def _orphans(slices: Iterable[EndpointSlice], chosen: Chosen) -> Iterator[Problem]:
    """Slices that name a Service which is not there."""
    for found in slices:
        if not found.service or HEADLESS_LABEL in found.labels:
            continue
        service = ObjectRef("Service", found.namespace, found.service)
        if service not in chosen:
            yield _note(
                _place(chosen[found.ref]), f"{found.ref}: there is no {service}; it has no effect until there is"
            )


def _shared_addresses(services: Iterable[Service], chosen: Chosen) -> Iterator[Problem]:
    """Services that claim a clusterIP which another one has; the first by namespace and name keeps it."""
    holders: dict[str, ObjectRef] = {}
    for found in services:
        for address in found.spec.cluster_ips:
            holder = holders.setdefault(address, found.ref)
            if holder != found.ref and address != "None":
                message = f"{found.ref}: clusterIP {address} is that of {holder}; the ports that both have stay there"
                yield _note(_place(chosen[found.ref]), message)


def _shared_node_ports(services: Iterable[Service], chosen: Chosen) -> Iterator[Problem]:
    """Services that claim a node port which another one has; it stays with the first by namespace and name."""
    holders: dict[tuple[int, Protocol], ObjectRef] = {}
    for found in services:
        for port in found.spec.ports:
            if not port.node_port or found.spec.type not in _WITH_NODE_PORTS:
                continue
            holder = holders.setdefault((port.node_port, port.protocol), found.ref)
            if holder != found.ref:
                what = f"nodePort {port.node_port}/{port.protocol.value}"
                yield _note(_place(chosen[found.ref]), f"{found.ref}: {what} is that of {holder}, and stays there")


def _only(kind: type[T], kinds: Mapping[type[KubeObject], list[KubeObject]]) -> tuple[T, ...]:
    return tuple(cast(list[T], kinds.get(kind, ())))


def _note(place: Place, message: str) -> Problem:
    return Problem(*place, message, Severity.NOTE)
