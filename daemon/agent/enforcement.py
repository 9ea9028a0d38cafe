"""Policies from a snapshot into the kernel: compile, put in force in order, and keep what was in force if that fails.

What is asked is compared with what was asked last, so that a change of Services, of which there may be many a second,
costs policies nothing. The compiler is as good as the snapshot: where a place may hold policies of which no version
was ever read, an agent that finds the policies of another in the kernel leaves them in force, because half of the
policies may be far less than half of the protection. Where no agent was before, what can be read is put in force and
the rest told; only a kind that may not be read at all keeps a node shut whose settings want nothing to pass unjudged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from daemon.agent.answers import Answers
from daemon.agent.guards import addresses_here, wanted_guards
from daemon.endpoints import Party
from daemon.flows.metrics.policy import Decider
from daemon.flows.ruled import Ruled
from daemon.model.differences import differences
from daemon.model.objects import KubeObject, ObjectRef
from daemon.model.snapshot import Snapshot
from daemon.policy import Direction, PolicyTable, Rule
from daemon.policy.compile import PolicyCompiler
from daemon.policy.names import Names
from daemon.policy.parsed import ParsedPolicy
from daemon.policy.reconcile import Changes, PolicyReconciler
from daemon.settings import PolicyDefault, Settings
from ebpf.datapath import Datapath
from ebpf.errors import RemoraError

log = logging.getLogger(__name__)


class PolicyError(RemoraError):
    """The policies in force are not those that are wanted."""


class Wanted(NamedTuple):
    """All that verdicts follow from."""

    objects: tuple[Sequence[KubeObject], ...]
    local: tuple[Party, ...]
    names: Mapping[bytes, frozenset[str]]
    source_check: bool

    def same(self, other: Wanted) -> bool:
        """Whether nothing is different; names by identity, for their view is made anew by each change."""
        return (
            self.names is other.names
            and self.source_check is other.source_check
            and (self.local is other.local or self.local == other.local)
            and all(differences(*pair) == ([], []) for pair in zip(other.objects, self.objects, strict=True))
        )


class Enforcement:
    """The policies of this node; for the programmer's thread."""

    def __init__(self, datapath: Datapath, settings: Settings) -> None:
        """Reads the maps; raises KernelError."""
        self.maps = datapath.maps
        self.reconciler = PolicyReconciler(datapath.maps, datapath.rule_hits, settings.policy_flags())
        self.compiler = PolicyCompiler(settings.node, self.reconciler.first_numbers(), settings.policy_audit)
        self.table = PolicyTable()
        """what is in force"""
        self._words = self.table  # may be ahead: a flow must not come before the words for its rule
        self.revision = 0
        """counts what was put in force"""
        self.restricted = self.guarded = 0
        """devices of this node's pods that a policy restricts, and all of them"""
        self.names = Names()
        self.answers = Answers(self.names, Path(settings.state_dir) / "names.json")
        self._inherited = self.reconciler.restricted > 0
        self._shut = settings.policy_default is PolicyDefault.DENY
        self._applied: Wanted | None = None

    def apply(self, snapshot: Snapshot, local: tuple[Party, ...], source_check: bool) -> None:
        """Put a snapshot's policies into force; raises RemoraError or ValueError with the old ones in force."""
        self.answers.settle()
        wanted = _wanted(snapshot, local, self.names, source_check)
        if self._applied is not None and wanted.same(self._applied):
            self._applied = wanted
            return
        self._hold_back(snapshot)
        self._applied = None
        self._put(self._compiled(snapshot, local), local, source_check)
        self._applied = _wanted(snapshot, local, self.names, source_check)
        self._inherited = self._shut = False
        self.revision += 1
        self.answers.keep()

    def _hold_back(self, snapshot: Snapshot) -> None:
        """Raise PolicyError where less would be enforced than before the agent came."""
        unread = (*snapshot.withheld, *snapshot.unread)
        if unread and (self._inherited or (self._shut and snapshot.withheld)):
            kept = "those of the agent before stay in force" if self._inherited else "nothing passes (`policy_default`)"
            what = f"{', '.join(unread[:3])} cannot be read and may hold policies, so {kept}"
            raise PolicyError(what, "`sources` says why; until then no change of policies or pods is taken over")

    @property
    def in_force(self) -> Mapping[ObjectRef, ParsedPolicy]:
        """The policies that the compiler took over last."""
        return self.compiler.policies()

    def ruled_by(self, number: int) -> Ruled | None:
        """What the number of a rule in a flow stands for. Safe from any thread."""
        rule = self._rule(number)
        return rule and Ruled(rule.policies, rule.direction is Direction.INGRESS, rule.match.value, rule.words)

    def policy_of(self, number: int) -> Decider | None:
        """The same, as metrics name it: of several policies that isolate together the first."""
        rule = self._rule(number)
        if rule is None:
            return None
        policy = rule.policies[0]
        return Decider("/".join(filter(None, (policy.kind, policy.namespace, policy.name))), rule.match.word)

    def _rule(self, number: int) -> Rule | None:
        """None for one that is not known, and where no policy says anything."""
        table = self._words
        rule = table.rules.get(number) or table.retired.get(number)
        return rule if rule is not None and rule.policies else None

    def _compiled(self, snapshot: Snapshot, local: tuple[Party, ...]) -> PolicyTable:
        """The last table alone: the kernel changes all at once, and one between may know new labels by old policies."""
        try:
            return self.compiler.compile(snapshot, self.names, addresses_here(local))[-1]
        except Exception as error:  # whatever it is: services and flows go on, and the policies in force stay
            log.exception("the policies could not be compiled")
            what = f"the policies could not be compiled ({type(error).__name__}: {error})"
            raise PolicyError(what, "the old ones stay in force; please report this with the policies") from error

    def _put(self, table: PolicyTable, local: tuple[Party, ...], source_check: bool) -> None:
        guards = wanted_guards(local, table, source_check=source_check)
        self._words = table
        changes: Changes = self.reconciler.apply(table, guards)
        self.table = table  # only now: what could not be programmed is not in force
        self.guarded, self.restricted = len(guards), sum(any(one.isolation) for one in guards.values())
        if changes:
            log.info("policies: %s", changes)


def _wanted(snapshot: Snapshot, local: tuple[Party, ...], names: Names, source_check: bool) -> Wanted:
    policies = snapshot.policies, snapshot.cluster_policies
    return Wanted((*policies, snapshot.pods, snapshot.namespaces, snapshot.nodes), local, names.view, source_check)
