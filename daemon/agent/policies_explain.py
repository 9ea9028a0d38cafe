"""`remora policy explain`, answered: both ends of a connection, from the policies and from the kernel's maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from daemon.agent.enforcement import Enforcement
from daemon.agent.wording import PROTOCOLS
from daemon.model import WORLD, Directory, Workload
from daemon.model.directory import packed
from daemon.model.workload import IPAddress
from daemon.policy import Action, Direction
from daemon.policy.evaluate import Packet
from daemon.policy.explain import Side, explain
from daemon.policy.kernel_lookup import KernelJudge
from daemon.policy.table import policy_label
from daemon.policy.verdicts import Verdict
from daemon.proto import remora_pb2 as pb

MISSES_MAX = 5
_NUMBERS = {word: number for number, word in PROTOCOLS.items()}
_OUTSIDE = {4: ip_address("203.0.113.1"), 6: ip_address("2001:db8::1")}


@dataclass(frozen=True, slots=True)
class Party:
    """One end of a connection; `workload` None for an address that belongs to nobody known."""

    name: str
    addresses: tuple[IPAddress, ...]
    workload: Workload | None = None

    @property
    def local(self) -> bool:
        return self.workload is not None and bool(self.workload.ifindex and self.workload.namespace)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and all that it takes to answer it; for the thread that programs."""

    request: pb.ExplainPolicyRequest
    enforcement: Enforcement
    directory: Directory
    node: frozenset[IPAddress]

    def answer(self) -> pb.ExplainPolicyResponse:
        """Raises ValueError for what cannot be understood."""
        source, destination = self._party(self.request.source), self._party(self.request.destination)
        ends = _of_one_family(source, destination)
        protocol = _NUMBERS.get(self.request.protocol.upper())
        if protocol is None:
            raise ValueError(f"protocol {self.request.protocol!r} is not known; one of {', '.join(_NUMBERS)}")
        packet = Packet(packed(ends[0]), packed(ends[1]), protocol, self.request.port)
        exempt = _exempt(ends, self.node)
        found = explain(self.enforcement.compiler, self.enforcement.table, packet)
        sides = [
            self._side(side, party, own, remote, packet, exempt)
            for side, party, own, remote in zip(found.sides, (source, destination), ends, reversed(ends), strict=True)
        ]
        return pb.ExplainPolicyResponse(
            passes=bool(exempt) or found.passes,
            sides=sides,
            notes=[*([exempt] if exempt else []), *_notes(source, destination, ends)],
            differs=any(one.live and one.verdict and one.live.split(" ")[0] != one.verdict for one in sides),
        )

    def _side(
        self, side: Side, party: Party, own: IPAddress, remote: IPAddress, packet: Packet, exempt: str
    ) -> pb.PolicySide:
        told = pb.PolicySide(direction=side.direction.value, party=party.name, address=str(own))
        if not party.local:
            told.words = f"{side.direction.value}: no pod of this node, so nothing binds it here"
            return told
        verdict = None if exempt else side.verdict
        told.verdict, told.words = _word(verdict), f"{side.direction.value}: {exempt}" if exempt else side.text
        if verdict and side.rule:
            told.policies.extend(policy_label(policy) for policy in side.rule.policies)
            told.misses.extend(miss.text for miss in side.misses[:MISSES_MAX])
        if self.request.live and not exempt:
            told.live = self._live(party, side.direction, remote, packet)
        return told

    def _live(self, party: Party, direction: Direction, remote: IPAddress, packet: Packet) -> str:
        assert party.workload is not None
        judge = KernelJudge(self.enforcement.maps)
        device = party.workload.ifindex
        guarded, verdict = judge.verdict(device, direction, packed(remote), packet.protocol, packet.port)
        if not guarded:
            return f"unguarded (device {party.workload.device} has no verdict yet: `policy_default` holds)"
        rule = self.enforcement.ruled_by(verdict.rule) if verdict else None
        by = f" by {rule.words}" if rule else ""
        return f"{_word(verdict)}{by}"

    def _party(self, text: str) -> Party:
        if text in ("", "world"):
            return Party("world", (_OUTSIDE[4], _OUTSIDE[6]))
        try:
            address = ip_address(text)
        except ValueError:
            return self._named(text)
        holder = self.directory.by_address(packed(address))
        known = holder if holder not in (None, WORLD) else None
        return Party(_name(known) if known else text, (address,), known)

    def _named(self, text: str) -> Party:
        """A workload by its name or its owner's; of several one of this node, then the first."""
        found = sorted(
            (one for one in self.directory.workloads() if _goes_by(one, text)),
            key=lambda one: (not one.ifindex, one.namespace, one.name),
        )
        if not found:
            raise ValueError(f"no workload is called {text!r}; `remora endpoint list` names them")
        spaces = sorted({one.namespace for one in found})
        if len(spaces) > 1:
            raise ValueError(f"{text!r} is in several namespaces ({', '.join(spaces)}); write NAMESPACE/{text}")
        return Party(_name(found[0]), found[0].addresses, found[0])


def _of_one_family(source: Party, destination: Party) -> tuple[IPAddress, IPAddress]:
    for one in source.addresses:
        for other in destination.addresses:
            if one.version == other.version:
                return one, other
    raise ValueError(f"{source.name} and {destination.name} have no addresses of the same family")


def _goes_by(one: Workload, text: str) -> bool:
    names = (one.name, *(owner.name for owner in one.owners))
    space, slash, name = text.partition("/")
    return (space == one.namespace and name in names) if slash else text in names


def _name(one: Workload) -> str:
    return f"{one.namespace}/{one.name}" if one.namespace else one.name


def _word(verdict: Verdict | None) -> str:
    if verdict is None or (verdict.action is Action.ALLOW and not verdict.audit):
        return "allowed"
    return "audited" if verdict.audit else "denied"


def _exempt(ends: tuple[IPAddress, IPAddress], node: frozenset[IPAddress]) -> str:
    if ends[0] == ends[1]:
        return "a workload is never kept from itself"
    if not node.isdisjoint(ends):
        return "traffic with the own node always passes"
    return ""


def _notes(source: Party, destination: Party, ends: tuple[IPAddress, IPAddress]) -> Iterator[str]:
    for party in (source, destination):
        if party.workload is not None and not party.local and party.workload.namespace:
            yield f"{party.name} is on another node: what its policies say is asked there"
    for party, address in zip((source, destination), ends, strict=True):
        if party.name == "world":
            yield f"world was asked with {address}; a block of addresses may say otherwise of other ones"
