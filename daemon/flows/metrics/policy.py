"""`policy` and `remora-policy`: what network policy said about new connections.

A record tells of a verdict when a rule decided it: the first packet of a connection that a rule lets pass, what a rule
only would have dropped (AUDIT), and every packet that is dropped for policy. What a rule's number stands for is known
to whoever compiles policies; `PolicyOf` asks there.

    verdict: source end 15 | destination end 15 | direction 2 | verdict 3 | denied by default 1 | rule 24
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from daemon.flows.metrics import catalogue
from daemon.flows.metrics.contexts import direction_text
from daemon.flows.metrics.options import Handler, HandlerConfig
from daemon.flows.metrics.packets import POLICY_DENIED, verdict_text
from daemon.flows.metrics.stage import CountStage, Keys
from daemon.flows.metrics.tables import Cells, Tables
from daemon.flows.record import RowArray
from daemon.proto import flow_pb2
from ebpf.constants import EventKind, Point, Verdict

_HOST = "reserved:host"
_DENIALS = (POLICY_DENIED, int(flow_pb2.DropReason.POLICY_DENY))
_AUDIT = int(flow_pb2.Verdict.AUDIT)
_RULES = (1 << 24) - 1


class Decider(NamedTuple):
    """What decided: a policy as `kind/namespace/name`, and how closely its rule matched, in Hubble's words.

    `match`: none, l3-only, l3-l4, l4-only, all, l3-proto or proto-only.
    """

    policy: str
    match: str


PolicyOf = Callable[[int], Decider | None]
"""What a rule's number stands for; None where it is not known (any more)."""


class PolicyMetrics:
    """Counts verdicts of those handlers that are on."""

    def __init__(self, configs: dict[Handler, HandlerConfig], tables: Tables, policy_of: PolicyOf) -> None:
        hubble, own = configs.get(Handler.POLICY), configs.get(Handler.REMORA_POLICY)
        self._verdicts = tables.counter(hubble, catalogue.VERDICTS) if hubble else None
        self._policies = tables.counter(own, catalogue.OWN_VERDICTS) if own else None
        self._tables = tables
        self._policy_of = policy_of
        self.stage = CountStage(self._cells, 28)

    def put(self, rows: RowArray, talking: Keys) -> None:
        """Stage the records (n,) that tell of a verdict."""
        verdict, reason = rows["verdict"], rows["reason"]
        chosen = (verdict == _AUDIT) | ((verdict == Verdict.DROPPED) & np.isin(reason, _DENIALS))
        with_rules = "rule" in (rows.dtype.names or ())
        if with_rules:
            chosen |= (rows["rule"] != 0) & (rows["kind"] == EventKind.NEW)
            chosen &= rows["point"] != Point.FROM_NETWORK  # there the shield judges, which is no policy
        if not chosen.any():
            return
        found = rows[chosen]
        rules = found["rule"].astype(np.uint64) & np.uint64(_RULES) if with_rules else np.uint64(0)
        by_default = (found["reason"] == POLICY_DENIED).astype(np.uint64)
        keys = (talking[chosen] << np.uint64(3) | (found["verdict"] & 7)) << np.uint64(1) | by_default
        self.stage.put(keys << np.uint64(24) | rules)

    def message_cells(self, talking: int, protocol: str, verdict: int) -> Cells:
        """An application message, which Hubble counts as a verdict of its own."""
        told = self._tables.told(talking)
        if self._verdicts:
            words = direction_text(told.talk.direction), f"l7/{protocol.lower()}", verdict_text(verdict).lower()
            yield self._verdicts.cell(told, *words)

    def _cells(self, key: int) -> Cells:
        told = self._tables.told(key >> 28)
        if told.talk.source.reserved == _HOST:
            return
        rule, by_default = key & _RULES, key >> 24 & 1
        direction, action = direction_text(told.talk.direction), verdict_text(key >> 25 & 7).lower()
        decider = self._policy_of(rule) if rule else None
        if self._verdicts:
            match = decider.match if decider else "none" if by_default else "all"
            yield self._verdicts.cell(told, direction, match, action)
        if self._policies:
            yield self._policies.cell(told, decider.policy if decider else "", direction, action)


def unknown_policy(_rule: int) -> None:
    """Nobody knows policies here."""
    return None
