"""Why a packet gets its verdict, in words that lead to the line of a policy.

A verdict names its rule. For a default deny there is none, and what helps then is the list of the policies that
isolate the workload and, of all their rules, the one that came nearest: its peers match and only the port does not, or
the port matches and the peer does not. That is found here by asking the rules one by one, which the kernel never does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from daemon.model.objects import ObjectRef
from daemon.policy.compile import PolicyCompiler
from daemon.policy.evaluate import Evaluator, Packet
from daemon.policy.lens import ClassKey, NamedPort, matched
from daemon.policy.parsed import Everyone, ParsedPolicy, ParsedRule
from daemon.policy.table import Action, Direction, PolicyTable, Rule, policy_label
from daemon.policy.units import spans_of
from daemon.policy.verdicts import PROTOCOLS, Verdict, plane_of

TRANSPORTS = dict(zip(PROTOCOLS, ("TCP", "UDP", "SCTP"), strict=True))


class Missing(Enum):
    """What keeps a rule from matching."""

    PORT = "port"
    PEER = "peer"


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A rule that would have allowed the packet but for one thing."""

    policy: ObjectRef
    place: int
    missing: Missing
    text: str


@dataclass(frozen=True, slots=True)
class Side:
    """One end's verdict. `verdict` None: no policy restricts this end, or it is not on this node."""

    direction: Direction
    verdict: Verdict | None
    rule: Rule | None = None
    misses: tuple[NearMiss, ...] = ()

    @property
    def text(self) -> str:
        """One sentence."""
        if self.verdict is None or self.rule is None or not self.rule.policies:
            return f"{self.direction.value}: allowed, no policy restricts it"
        word = "allowed" if self.verdict.action is Action.ALLOW else "denied"
        word = "would be denied (audit)" if self.verdict.audit else word
        if self.rule.isolation:
            policies = ", ".join(policy_label(policy) for policy in self.rule.policies)
            near = f"; nearest: {self.misses[0].text}" if self.misses else ""
            return f"{self.direction.value}: {word}, isolated by {policies} and no rule allows it{near}"
        return f"{self.direction.value}: {word} by {self.rule.words} ({self.rule.action})"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Both ends, the sender's first."""

    packet: Packet
    sides: tuple[Side, Side]

    @property
    def passes(self) -> bool:
        return all(side.verdict is None or side.verdict.passes for side in self.sides)

    @property
    def text(self) -> str:
        return "\n".join(side.text for side in self.sides)


def explain(compiler: PolicyCompiler, table: PolicyTable, packet: Packet) -> Explanation:
    """What a table says of a packet and why; `compiler` made the table last."""
    asked = Evaluator(table)
    outcome = asked.outcome(packet)
    egress = _side(compiler, table, Direction.EGRESS, packet, outcome.egress)
    return Explanation(packet, (egress, _side(compiler, table, Direction.INGRESS, packet, outcome.ingress)))


def _side(
    compiler: PolicyCompiler, table: PolicyTable, direction: Direction, packet: Packet, verdict: Verdict | None
) -> Side:
    if verdict is None:
        return Side(direction, None)
    rule = table.rules[verdict.rule]
    denied = verdict.action is Action.DENY and rule.isolation
    return Side(direction, verdict, rule, tuple(_misses(compiler, direction, packet)) if denied else ())


def _misses(compiler: PolicyCompiler, direction: Direction, packet: Packet) -> Iterator[NearMiss]:
    """Rules of the isolating policies that match but for the port, then those that match but for the peer."""
    local, remote = packet.destination, packet.source
    if direction is Direction.EGRESS:
        local, remote = remote, local
    key, ports = compiler.description(remote), compiler.named_ports(packet.destination)
    name = compiler.holder(local)
    policies = compiler.selecting(name)[direction] if name else ()
    found = [
        miss
        for policy in policies
        if direction in policy.isolates
        for rule in policy.rules[direction]
        if (miss := _miss(policy, rule, key, ports, packet))
    ]
    yield from sorted(found, key=lambda miss: miss.missing is Missing.PEER)


def _miss(
    policy: ParsedPolicy, rule: ParsedRule, key: ClassKey, ports: tuple[NamedPort, ...], packet: Packet
) -> NearMiss | None:
    where = f"rule {rule.place + 1} of {policy_label(policy.ref)}"
    by_peer = any(isinstance(peer, Everyone) or matched(peer, key) for peer in rule.peers)
    spans = spans_of(rule, ports)
    target = plane_of(packet.protocol), packet.port
    by_port = spans is None or any(plane == target[0] and low <= target[1] <= high for plane, low, high in spans)
    if by_peer and not by_port:
        return NearMiss(policy.ref, rule.place, Missing.PORT, f"peer matched, {words(packet)} not in {where}")
    if by_port and not by_peer:
        return NearMiss(policy.ref, rule.place, Missing.PEER, f"{words(packet)} matched, peer not in {where}")
    return None


def words(packet: Packet) -> str:
    """Protocol and port: "port 5432/TCP", "protocol 1"."""
    transport = TRANSPORTS.get(packet.protocol)
    return f"port {packet.port}/{transport}" if transport else f"protocol {packet.protocol}"
