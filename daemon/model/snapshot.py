"""All that is wanted at one moment, as a source last read it, together with what was wrong with it.

A snapshot is whole: who gets one programs exactly that and removes the rest. So a source never hands out half of
what it read; what it could not read keeps its last good version and is told as a problem.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from daemon.model.nodes import NodeObject
from daemon.model.objects import EndpointSlice, Namespace, ObjectRef, Pod, Service
from daemon.model.policies import ClusterNetworkPolicy, NetworkPolicy
from daemon.model.shields import Shield


class Severity(Enum):
    ERROR = "error"  # the file was not taken over: its last good version stays in force
    NOTE = "note"  # the file was taken over, but a part of it has no effect


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong, where (`line` counts from 1; 0 when no line is to blame) and what to do, in `message`."""

    file: str
    line: int
    message: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.severity.value}: {self.message}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The wanted objects, in tuples or listings sorted by namespace and name.

    `ignored` are objects of kinds that are not used.
    """

    services: Sequence[Service] = ()
    slices: Sequence[EndpointSlice] = ()
    pods: Sequence[Pod] = ()
    namespaces: Sequence[Namespace] = ()
    nodes: Sequence[NodeObject] = ()
    ignored: tuple[ObjectRef, ...] = ()
    problems: tuple[Problem, ...] = ()
    read_at: float = 0.0  # s, CLOCK_MONOTONIC
    policies: Sequence[NetworkPolicy] = ()
    cluster_policies: Sequence[ClusterNetworkPolicy] = ()
    shields: Sequence[Shield] = ()
    unread: tuple[str, ...] = ()
    """where policies may be of which no version was ever read"""
    withheld: tuple[str, ...] = ()
    """whole kinds of policies that the source was never allowed to read"""
    unread_shields: tuple[str, ...] = ()
    """where Shields may be of which no version was ever read, for either reason"""

    def node(self, name: str) -> NodeObject | None:
        """The Node of that name, None where the source has none."""
        place = bisect_left(self.nodes, name, key=lambda one: one.name)
        return self.nodes[place] if place < len(self.nodes) and self.nodes[place].name == name else None

    @property
    def age(self) -> float:
        """Seconds since the source was last read without losing sight of it."""
        return time.monotonic() - self.read_at
