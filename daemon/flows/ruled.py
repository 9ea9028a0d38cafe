"""What a rule's number stands for, in the words of flows.

Records carry the number of the rule that decided. Who compiles policies knows what it means; flows ask through
`RuledBy`, so that they depend on nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from daemon.flows.record import FlowRecord
from daemon.model.objects import ObjectRef
from daemon.proto import flow_pb2
from ebpf.constants import Verdict

EVENT_VERDICT = 5  # of a policy; what a policy in audit mode says has no other event


class Ruled(NamedTuple):
    """A rule, or what stands for "isolated by these policies"; `match` is Hubble's number of what the rule looks at."""

    policies: tuple[ObjectRef, ...]
    ingress: bool
    match: int
    words: str


RuledBy = Callable[[int], Ruled | None]
"""None for a number that is not known (any more), and where no policy says anything."""


def unruled(_rule: int) -> None:
    """Nobody knows policies here."""
    return None


ShieldRule = Callable[[int], str]
"""The name of a rule of the shield by its number; "" for one that is not known."""


def unshielded(_rule: int) -> str:
    """Nobody knows the shield's rules here."""
    return ""


def set_shield(flow: flow_pb2.Flow, record: FlowRecord, name: str) -> None:
    """Name the rule of the shield that dropped a packet at an uplink, or would have."""
    words = f"Shield {name}"
    if record.verdict == Verdict.AUDIT:
        words += " would drop it"
    flow.Summary = f"{flow.Summary}; {words}" if flow.Summary else words


def set_policy(flow: flow_pb2.Flow, record: FlowRecord, ruled: Ruled) -> None:
    """Name the policies that let a flow pass or not, on the side that decided."""
    denied = record.verdict in (Verdict.DROPPED, Verdict.AUDIT)
    side, effect = "ingress" if ruled.ingress else "egress", "denied" if denied else "allowed"
    getattr(flow, f"{side}_{effect}_by").extend(
        flow_pb2.Policy(name=policy.name, namespace=policy.namespace, kind=policy.kind) for policy in ruled.policies
    )
    flow.policy_match_type = ruled.match
    if denied:
        flow.Summary = f"{flow.Summary}; {ruled.words}" if flow.Summary else ruled.words
    if record.verdict == Verdict.AUDIT:
        flow.event_type.type, flow.event_type.sub_type = EVENT_VERDICT, 0
