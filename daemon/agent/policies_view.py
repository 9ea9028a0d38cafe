"""Policies as the API tells them: what they are, whom they bind here, what their rules decided.

Everything is read in the thread that compiles and programs, so an answer is of one moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from daemon.agent.enforcement import Enforcement
from daemon.model.objects import ObjectRef
from daemon.model.policies import ClusterNetworkPolicy, NetworkPolicy
from daemon.model.snapshot import Snapshot
from daemon.policy import Direction, Rule
from daemon.policy.inventory import Name
from daemon.policy.parsed import ParsedPolicy, ParsedRule
from daemon.policy.wording import peer_words, port_words
from daemon.proto import remora_pb2 as pb

Written = NetworkPolicy | ClusterNetworkPolicy
Hits = Mapping[tuple[ObjectRef, Direction, int], int]


def listed(enforcement: Enforcement, snapshot: Snapshot, counted: Mapping[int, int]) -> pb.ListPoliciesResponse:
    """All policies of a snapshot that are in force; `counted`: packets by rule."""
    compiler, table = enforcement.compiler, enforcement.table
    bound: dict[ObjectRef, list[Name]] = defaultdict(list)
    workloads = []
    for name in sorted(compiler.local()):
        selecting = compiler.selecting(name)
        for ref in dict.fromkeys(policy.ref for policies in selecting.values() for policy in policies):
            bound[ref].append(name)
        workloads.append(_workload(name, selecting))
    hits = _hits(table.rules, counted)
    written: dict[ObjectRef, Written] = {one.ref: one for one in snapshot.policies}
    written.update((one.ref, one) for one in snapshot.cluster_policies)
    parsed = compiler.policies()
    return pb.ListPoliciesResponse(
        policies=[_policy(parsed[ref], written.get(ref), bound[ref], hits) for ref in sorted(parsed)],
        workloads=workloads,
        namespaces=[pb.PolicyNamespace(name=one.name, labels=one.labels) for one in snapshot.namespaces],
    )


def _hits(rules: Mapping[int, Rule], counted: Mapping[int, int]) -> dict[tuple[ObjectRef, Direction, int], int]:
    """Packets by policy, direction and place of the rule; place -1: denied by default."""
    found: dict[tuple[ObjectRef, Direction, int], int] = defaultdict(int)
    for number, rule in rules.items():
        for ref in rule.policies:
            found[ref, rule.direction, rule.place] += counted.get(number, 0)
    return found


def _policy(
    one: ParsedPolicy,
    written: Written | None,
    bound: Iterable[Name],
    hits: Hits,
) -> pb.NetworkPolicy:
    cluster = isinstance(written, ClusterNetworkPolicy)
    return pb.NetworkPolicy(
        kind=one.ref.kind,
        namespace=one.ref.namespace,
        name=one.ref.name,
        tier=written.spec.tier.value if isinstance(written, ClusterNetworkPolicy) else "",
        priority=one.priority if cluster else 0,
        audit=one.audit,
        isolates=[direction.value for direction in Direction if direction in one.isolates],
        workloads=["/".join(name) for name in bound],
        rules=list(_rules(one, hits)),
        default_denials=sum(hits.get((one.ref, direction, -1), 0) for direction in Direction),
        manifest=_manifest(written) if written else "",
    )


def _rules(one: ParsedPolicy, hits: Hits) -> Iterator[pb.PolicyRule]:
    for direction in Direction:
        for rule in one.rules[direction]:
            place = one.ref, direction, rule.place
            yield _rule(direction, rule, one, hits.get(place), bound=place in hits)


def _rule(direction: Direction, rule: ParsedRule, policy: ParsedPolicy, hits: int | None, bound: bool) -> pb.PolicyRule:
    return pb.PolicyRule(
        direction=direction.value,
        number=rule.place + 1,
        name=rule.name,
        action="Allow" if policy.ref.kind == "NetworkPolicy" else rule.action.value,
        peers=[peer_words(peer) for peer in rule.peers],
        ports=port_words(rule),
        hits=hits or 0,
        bound=bound,
    )


def _workload(name: Name, selecting: Mapping[Direction, Iterable[ParsedPolicy]]) -> pb.PolicyWorkload:
    isolated = {
        direction: [
            "/".join(filter(None, (one.ref.namespace, one.ref.name)))
            for one in policies
            if direction in one.isolates and not one.audit
        ]
        for direction, policies in selecting.items()
    }
    return pb.PolicyWorkload(
        namespace=name[0], name=name[1], ingress=isolated[Direction.INGRESS], egress=isolated[Direction.EGRESS]
    )


def _manifest(written: Written) -> str:
    group = "networking.k8s.io/v1" if isinstance(written, NetworkPolicy) else "policy.networking.k8s.io/v1alpha2"
    body = msgspec.to_builtins(written)
    return msgspec.json.encode({"apiVersion": group, "kind": written.ref.kind, **body}).decode()
