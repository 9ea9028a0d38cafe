"""Recorded flows put to a set of policies that is not in force: what would be denied that passed, and the reverse.

The pods are those of the snapshot, and besides them all that the recording names, so a recording can be judged where
there is no cluster. An address that somebody else has by now is given to the pod of the recording under another, so
that its labels count; only blocks of addresses cannot tell it then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from msgspec.structs import replace as changed

from daemon.model.objects import ObjectMeta, Pod, PodIP, PodStatus
from daemon.model.snapshot import Snapshot
from daemon.policy.compile import PolicyCompiler
from daemon.policy.evaluate import Evaluator, Packet
from daemon.policy.inventory import Name
from daemon.policy.names import Names
from daemon.policy.recorded import Party, Seen
from daemon.policy.table import PolicyTable, Rule
from ebpf.addresses import pack, text

_STAND_IN = int.from_bytes(pack("100::"))  # addresses that are never routed, for pods whose own is somebody else's


class Change(NamedTuple):
    """Flows between two workloads that would get another answer; `rule` is the one that would decide."""

    source: str
    destination: str
    protocol: int
    port: int
    rule: Rule | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What would change, with the number of records behind it, and how many records were asked in all."""

    denied: Mapping[Change, int]
    allowed: Mapping[Change, int]
    asked: int

    @property
    def harmless(self) -> bool:
        """Nothing that passed would be denied."""
        return not self.denied


def what_if(seen: Mapping[Seen, int], candidate: Snapshot, names: Names | None = None) -> Outlook:
    """Put what was seen to the candidate's policies."""
    stage = Stage(candidate, (party for one in seen for party in (one.source, one.destination)), names)
    denied: Counter[Change] = Counter()
    allowed: Counter[Change] = Counter()
    for one, count in seen.items():
        passes, rule = stage.ask(one)
        if passes is not one.passed:
            found = Change(one.source.workload, one.destination.workload, one.protocol, one.port, rule)
            (allowed if passes else denied)[found] += count
    return Outlook(denied, allowed, sum(seen.values()))


class Stage:
    """A cluster on which every pod is at home, so that both ends of every flow are asked."""

    def __init__(self, candidate: Snapshot, parties: Iterable[Party], names: Names | None = None) -> None:
        pods = {(pod.namespace, pod.name): _at_home(pod) for pod in candidate.pods}
        self._addresses = _addresses(pods)
        for party in parties:
            self._admit(party, pods)
        ordered = tuple(pods[name] for name in sorted(pods))
        self.table: PolicyTable = PolicyCompiler("").compile(replace(candidate, pods=ordered), names)[-1]
        self._asked = Evaluator(self.table)

    def ask(self, one: Seen) -> tuple[bool, Rule | None]:
        """Whether it passes, and the rule that denies it, or else the one that lets it in."""
        ends = self._address(one.source), self._address(one.destination)
        outcome = self._asked.outcome(Packet(*ends, one.protocol, one.port))
        verdicts = [verdict for verdict in outcome if verdict]
        denying = [verdict for verdict in verdicts if not verdict.passes]
        deciding = (denying or verdicts)[-1:]
        return outcome.passes, self.table.rules[deciding[0].rule] if deciding else None

    def _admit(self, party: Party, pods: dict[Name, Pod]) -> None:
        name = party.namespace, party.pod
        if not party.namespace or name in pods:
            return
        taken = party.address in self._addresses.values()
        address = (_STAND_IN + len(pods)).to_bytes(16) if taken else party.address
        status = PodStatus(phase="Running", pod_ips=(PodIP(text(address)),))
        pods[name] = Pod(metadata=ObjectMeta(party.pod, party.namespace, dict(party.labels)), status=status)
        self._addresses[name] = address

    def _address(self, party: Party) -> bytes:
        return self._addresses.get((party.namespace, party.pod), party.address) if party.namespace else party.address


def _at_home(pod: Pod) -> Pod:
    return changed(pod, spec=changed(pod.spec, node_name=""))


def _addresses(pods: Mapping[Name, Pod]) -> dict[Name, bytes]:
    """The first address of each pod that has one of its own."""
    return {
        name: pack(pod.addresses[0])
        for name, pod in pods.items()
        if pod.addresses and not pod.spec.host_network and pod.status.phase not in ("Succeeded", "Failed")
    }
