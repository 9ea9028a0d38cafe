"""Policies of both kinds in one form: who is subject to them, and rules with peers and ports.

What the API says by absence is said outright here: a rule without peers has `Everyone`, one without ports has None.
A peer that cannot be understood makes its rule fail closed: an Accept rule then matches nothing, any other one denies
everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

from daemon.model.objects import ObjectRef
from daemon.model.policies import RuleAction
from daemon.policy.networks import Network
from daemon.policy.selectors import Selector
from daemon.policy.table import Direction

PORT_MAX = 65_535


class Layer(IntEnum):
    """In the order in which they are asked."""

    ADMIN = 0
    NETWORK = 1
    BASELINE = 2


@dataclass(frozen=True, slots=True)
class Everyone:
    """All peers, those outside the cluster included."""


@dataclass(frozen=True, slots=True)
class PodPeer:
    """Pods of a namespace ("" any) whose labels, and those of their namespace, match."""

    namespace: str
    namespaces: Selector
    pods: Selector


@dataclass(frozen=True, slots=True)
class BlockPeer:
    """A network without its holes."""

    network: Network
    holes: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class NodePeer:
    """The addresses of nodes whose labels match."""

    nodes: Selector


@dataclass(frozen=True, slots=True)
class NamesPeer:
    """What DNS gave for any of these names, in lower case without the last dot; "*." stands for one or more labels."""

    patterns: tuple[str, ...]


Peer = Everyone | PodPeer | BlockPeer | NodePeer | NamesPeer


class PortMatch(NamedTuple):
    """Ports of a protocol; with a `name`, the one that the destination gives it (protocol 0: of any protocol)."""

    protocol: int
    low: int = 0
    high: int = PORT_MAX
    name: str = ""


@dataclass(frozen=True, slots=True)
class ParsedRule:
    """`ports` None: all traffic, other protocols included. A NetworkPolicy's rule accepts."""

    place: int
    action: RuleAction
    peers: tuple[Peer, ...]
    ports: tuple[PortMatch, ...] | None
    name: str = ""


@dataclass(frozen=True)
class ParsedPolicy:
    """`isolates`: directions in which what no rule allows is denied, for subjects."""

    ref: ObjectRef
    layer: Layer
    priority: int
    subject: PodPeer
    isolates: frozenset[Direction]
    rules: Mapping[Direction, tuple[ParsedRule, ...]]
    audit: bool = False

    def __hash__(self) -> int:
        return hash(self.ref)

    def concerns(self, direction: Direction) -> bool:
        """Whether it changes anything for its subjects in a direction."""
        return direction in self.isolates or bool(self.rules[direction])

    @cached_property
    def order(self) -> tuple[int, int, str, str]:
        """Precedence; of two with equal priority the first by name."""
        return self.layer, self.priority, self.ref.namespace, self.ref.name

    @cached_property
    def peers(self) -> frozenset[Peer]:
        return frozenset(peer for rules in self.rules.values() for rule in rules for peer in rule.peers)

    @cached_property
    def ingress_names(self) -> bool:
        """Whether the selected pod has to resolve named ports."""
        return any(port.name for rule in self.rules[Direction.INGRESS] for port in rule.ports or ())

    @cached_property
    def egress_names(self) -> frozenset[tuple[int, str]]:
        """Protocol and name of the named ports that the destination has to resolve."""
        rules = self.rules[Direction.EGRESS]
        return frozenset((port.protocol, port.name) for rule in rules for port in rule.ports or () if port.name)
