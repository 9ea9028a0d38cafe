"""Where traffic to an address and port goes from a node, as the kernel's programs will decide it.

The order of the look-ups is that of `bpf_programs/include/service.h`; the table is the one that the maps were filled
from; who is eligible, and why others are not, is `survey`'s business. Pure: nothing is asked of the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from daemon.agent.survey import Seen, service_of, survey
from daemon.agent.wording import kind, place_words, protocol, range_words
from daemon.model.directory import Frontend
from daemon.model.objects import Endpoint, TrafficPolicy
from daemon.model.workload import IPAddress
from daemon.services.exposure import ANY_ADDRESS, OUTSIDE
from daemon.services.table import PortKey, Scope, ServicePortEntry, ServiceTable, records
from ebpf import addresses
from ebpf.constants import FrontendFlag


class Rule(Enum):
    """How a destination was found to be a frontend."""

    EXACT = "exact"
    NODE_ADDRESS = "node address"  # an address of the node: node ports and host ports
    REFUSED = "refused"  # the address is a Service's, the port is not
    NONE = "none"


class Verdict(Enum):
    BALANCED = "balanced"
    REFUSED = "refused"
    DROPPED = "dropped"
    UNTOUCHED = "untouched"


@dataclass(frozen=True, slots=True)
class Question:
    """A destination; `protocol` is the IP protocol's number.

    `in_node`: the caller is in the node's own namespace. `outside`: it is beyond an uplink of the node.
    """

    address: IPAddress
    port: int
    protocol: int
    in_node: bool = True
    outside: bool = False

    @property
    def place(self) -> Frontend:
        """The destination as a frontend."""
        return Frontend(addresses.pack(self.address), self.port, self.protocol)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. `place` is the frontend that matched, `key` its Service port; `seen` are its endpoints."""

    rule: Rule
    verdict: Verdict
    words: str
    place: Frontend | None = None
    flags: FrontendFlag | None = None
    key: PortKey | None = None
    seen: tuple[Seen, ...] = ()
    notes: tuple[str, ...] = ()


def explain(question: Question, table: ServiceTable, node_addresses: frozenset[IPAddress]) -> Explanation:
    """What happens to traffic for `question`; `node_addresses` are the node's own, loopback not among them."""
    rule, place = match(question, table, node_addresses)
    if rule is Rule.NONE:
        words = f"{place_words(question.place)} is no frontend of any Service: traffic goes there untouched"
        return Explanation(rule, Verdict.UNTOUCHED, words, notes=_missed(question))
    if rule is Rule.REFUSED:
        owner = next(origin for origin, block in table.blocks.items() if place in block.addresses)
        port = f"{question.port}/{protocol(question.protocol)}"
        words = f"{question.address} is the ClusterIP of {owner.namespace}/{owner.name}, which has no port {port}"
        return Explanation(rule, Verdict.REFUSED, f"{words}: connections are refused", place)
    place = _as_seen(question, place, table)
    entry = table.frontends[place]
    seen = tuple(_pod(entry, table) if entry.key.scope is Scope.POD else survey(table, entry.key))
    verdict = Verdict.BALANCED if entry.count else Verdict.DROPPED if entry.drop else Verdict.REFUSED
    words = f"{_what(question, rule, entry, place)}: {_outcome(verdict, entry, seen)}"
    notes = (*_notes(entry, place, table), *_of_client(question, entry, place))
    return Explanation(rule, verdict, words, place, entry.frontends[place], entry.key, seen, notes)


def match(question: Question, table: ServiceTable, node_addresses: frozenset[IPAddress]) -> tuple[Rule, Frontend]:
    """The rule that decides and the entry that it finds; for NONE the destination itself."""
    place = question.place
    if place in table.frontends:
        return Rule.EXACT, place
    general = place._replace(address=ANY_ADDRESS[question.address.version])
    own = question.address in node_addresses or (question.address.is_loopback and question.in_node)
    if own and general in table.frontends:
        return Rule.NODE_ADDRESS, general
    known = Frontend(place.address, 0, 0)
    return (Rule.REFUSED, known) if known in table.addresses else (Rule.NONE, place)


def _as_seen(question: Question, place: Frontend, table: ServiceTable) -> Frontend:
    """The frontend that clients outside have of their own, where they do."""
    own = place._replace(scope=OUTSIDE)
    return own if question.outside and own in table.frontends else place


def _of_client(question: Question, entry: ServicePortEntry, place: Frontend) -> Iterator[str]:
    """What a backend sees of the client, and whether it may come."""
    flags = entry.frontends[place]
    if FrontendFlag.RANGES in flags:
        yield f"loadBalancerSourceRanges admits {', '.join(map(range_words, entry.ranges))} and drops all others"
    if question.outside:
        kept = place.scope or FrontendFlag.HOST_PORT in flags
        yield "the backend sees the client's address" if kept else "the backend sees an address of the node as client"


def _missed(question: Question) -> tuple[str, ...]:
    if question.address.is_loopback and not question.in_node:
        return ("loopback belongs to the workload itself; node ports answer there for the node's own processes only",)
    return ()


def _what(question: Question, rule: Rule, entry: ServicePortEntry, place: Frontend) -> str:
    """`10.96.0.1:80/TCP is a ClusterIP of shop/web (port http)`."""
    name = entry.key.name
    owner = f"{name.namespace}/{name.name}"
    named = f" (port {name.port_name})" if name.port_name else ""
    word = f"the {kind(entry.frontends[place])} of {owner}{named}"
    if rule is Rule.EXACT:
        return f"{place_words(place)} is {word}"
    return f"{question.address} is an address of the node, and {place.port}/{protocol(place.protocol)} {word}"


def _outcome(verdict: Verdict, entry: ServicePortEntry, seen: tuple[Seen, ...]) -> str:
    if verdict is Verdict.BALANCED:
        return f"a backend is drawn at random from {entry.count} of {len(seen)} endpoints"
    if verdict is Verdict.DROPPED:
        return "usable endpoints exist, but none on this node, and the policy is Local: connections are dropped"
    return f"none of {len(seen)} endpoints is usable, here or anywhere: connections are refused"


def _pod(entry: ServicePortEntry, table: ServiceTable) -> list[Seen]:
    """The one pod behind a host port."""
    return [
        Seen("", Endpoint((addresses.text(record[:16]),), node_name=table.node.name), record)
        for record in records(entry.backends)
    ]


def _notes(entry: ServicePortEntry, place: Frontend, table: ServiceTable) -> tuple[str, ...]:
    """What else decides."""
    found = []
    if entry.affinity:
        found.append(f"a client stays with its backend until {entry.affinity} s after its last connection")
    service = service_of(table, entry.key.name.namespace, entry.key.name.name)
    outside = FrontendFlag.CLUSTER_IP not in entry.frontends[place] and entry.key.scope is not Scope.POD
    if service and outside and not place.scope and service.spec.external_traffic_policy is TrafficPolicy.LOCAL:
        found.append("externalTrafficPolicy Local narrows what comes from outside; clients in the cluster reach all")
    return tuple(found)
