"""What the kernel decides by: the words that the compiler and the datapath share.

A remote address has a class: a number that stands for all addresses that no policy can tell apart. A workload has
a ruleset for each direction, and a ruleset says what holds for a class, a protocol and a port. Whoever looks up takes
the longest port prefix of the class's own entries, then of the entries for every class, then the default. Precedence
of any kind is resolved before it gets here, so nobody after the compiler breaks ties.

Every verdict carries the number of a rule, and `PolicyTable.rules` turns that into words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from daemon.model.objects import ObjectRef

ANY_CLASS = 0  # in an entry: every class that has no entry that matches
WORLD_CLASS = 1  # of an address that nothing is known of
FIRST_CLASS = 16  # smaller numbers are reserved


class Action(Enum):
    """What a rule says about a packet, after precedence is resolved."""

    ALLOW = 1
    DENY = 2


class Direction(Enum):
    """As seen from the workload."""

    INGRESS = "ingress"
    EGRESS = "egress"


class Match(Enum):
    """What a rule looks at, in Hubble's words and with its numbers; NONE: no rule decides."""

    NONE = 0
    L3_ONLY = 1
    L3_L4 = 2
    L4_ONLY = 3
    ALL = 4
    L3_PROTO = 5
    PROTO_ONLY = 6

    @property
    def word(self) -> str:
        """As metrics write it: "l3-l4"."""
        return self.name.lower().replace("_", "-")


class Entry(NamedTuple):
    """One (peer class, protocol, port prefix) of a ruleset.

    Of the entries that match a packet, the longest prefix decides; there are never two equal ones.
    """

    peer: int  # class number, or ANY_CLASS for every class that has no entry that matches
    protocol: int  # IP protocol number; 0 = any protocol (then bits == 0)
    port: int  # host order; destination port
    bits: int  # length of the port prefix: 16 = one port, 0 = any port of the protocol (or any protocol)
    action: Action
    rule: int  # rule id, never 0: index into PolicyTable.rules
    audit: bool = False  # the action is a denial that only is counted and told (verdict AUDIT), the packet passes


class Ruleset(NamedTuple):
    """All that holds for one direction of one or more workloads; equal contents are one object."""

    number: int  # stable while the content is the same, never reused for other content
    entries: tuple[Entry, ...]
    default: Action  # where no entry matches
    default_rule: int  # rule id of the default: for DENY an id that stands for "isolated by these policies"
    default_audit: bool


class Isolation(NamedTuple):
    """The two rulesets of a workload: number of the ruleset, 0 = not restricted (everything passes)."""

    ingress: int
    egress: int


class Rule(NamedTuple):
    """All that a human is told of a rule.

    `policies` has one element; for a default deny all that isolate, and none where no policy says anything.
    """

    policies: tuple[ObjectRef, ...]
    direction: Direction
    place: int = -1  # index in the policy's list of the direction, from 0; -1: no rule, but a default
    name: str = ""  # as ClusterNetworkPolicy allows to write it
    action: str = ""  # as the policy says: Accept, Deny or Pass; "Allow" of NetworkPolicy; "" for a default deny
    match: Match = Match.NONE

    @property
    def words(self) -> str:
        """Which rule it is: `ingress rule 2 "name" of db/allow-api`; for a default, who isolates."""
        named = ", ".join(policy_label(policy) for policy in self.policies)
        if self.place < 0:
            return f"{self.direction.value} isolation by {named}" if named else f"{self.direction.value} default"
        quoted = f' "{self.name}"' if self.name else ""
        return f"{self.direction.value} rule {self.place + 1}{quoted} of {named}"

    @property
    def isolation(self) -> bool:
        """Whether this stands for "isolated by these policies" instead of for a rule that somebody wrote."""
        return self.place < 0 and bool(self.policies)


def policy_label(policy: ObjectRef) -> str:
    """A policy as people write it: "db/allow-api", "cluster policy no-world"."""
    return f"{policy.namespace}/{policy.name}" if policy.namespace else f"cluster policy {policy.name}"


@dataclass(frozen=True)
class PolicyTable:
    """All that a node enforces.

    Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d; an IPv4 network of n bits has 96 + n.
    `classes` has every pod address of the cluster that a policy could tell apart, `networks` the rest by longest
    prefix; what is in neither is of WORLD_CLASS. `workloads` are the addresses of this node's own workloads.
    """

    classes: Mapping[bytes, int] = field(default_factory=dict)
    networks: Mapping[tuple[bytes, int], int] = field(default_factory=dict)
    rulesets: Mapping[int, Ruleset] = field(default_factory=dict)
    workloads: Mapping[bytes, Isolation] = field(default_factory=dict)
    rules: Mapping[int, Rule] = field(default_factory=dict)
    retired: Mapping[int, Rule] = field(
        default_factory=dict
    )  # rules that bind nobody here now, for what was seen before
