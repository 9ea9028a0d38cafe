"""What policies cost to compile: a cluster of 200 namespaces, 10,000 pods and 1,000 policies, seen by one node of 110.

The layout: five Deployments of ten pods in each namespace, every pod with a label of its own (so that labels alone
would make ten thousand identities). Each namespace has five policies: default deny, web to db, ports 80 and 443 from
its team, DNS and its team for egress, and two address blocks, one with a hole. The node's pods are spread evenly.

One full compile, then changes of one object at a time, each compiled from the state before: a policy edited, a pod
added and removed, a namespace relabelled, and, because it is the dearest, a policy that looks at a label that none
has looked at before. Reading files and writing maps are not in these figures.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median, quantiles

from msgspec import convert

from benchmarks.report import Figure, at_most
from daemon.model.objects import Namespace, Pod
from daemon.model.policies import NetworkPolicy
from daemon.model.snapshot import Snapshot
from daemon.policy.compile import PolicyCompiler

NAMESPACES, APPS, REPLICAS = 200, ("web", "db", "api", "cache", "job"), 10
TEAMS = 20
LOCAL_EVERY = 91  # one pod of so many is on the node: 110 of 10,000
ROUNDS = 200
NODE = "here"


def measure() -> Iterator[Figure]:
    """Full compile, memory, changes."""
    snapshot = cluster()
    yield _full(snapshot)
    yield _memory(snapshot)
    for name, change in _CHANGES.items():
        spent = _rounds(snapshot, change)
        p99 = quantiles(spent, n=100)[98]
        note = f"p50 {median(spent) * 1e3:.2f} ms, longest {max(spent) * 1e3:.1f} ms, {len(spent)} changes"
        yield Figure(f"policy_{name}_p99", p99 * 1e3, "ms", at_most(50), note)


def cluster() -> Snapshot:
    """The cluster, sorted as a source hands it out."""
    pods, policies, namespaces = [], [], []
    for number in range(NAMESPACES):
        space = f"ns-{number:03}"
        namespaces.append(_namespace(space, {"team": f"team-{number % TEAMS}"}))
        policies += _policies(space, f"team-{number % TEAMS}")
        pods += [
            _pod(space, app, replica, (number * len(APPS) + place) * REPLICAS + replica)
            for place, app in enumerate(APPS)
            for replica in range(REPLICAS)
        ]
    namespaces.append(_namespace("kube-system", {}))
    return Snapshot(pods=tuple(pods), namespaces=tuple(namespaces), policies=tuple(policies))


def _full(snapshot: Snapshot) -> Figure:
    spent = []
    for _ in range(5):
        gc.collect()
        compiler, began = PolicyCompiler(NODE), time.perf_counter()
        table = compiler.compile(snapshot)[-1]
        spent.append(time.perf_counter() - began)
    entries = sum(len(ruleset.entries) for ruleset in table.rulesets.values())
    note = (
        f"{len(table.workloads)} workloads, {len(table.classes):,} addresses in {len(set(table.classes.values()))} "
        f"classes, {len(table.networks)} networks, {len(table.rulesets)} rulesets, {entries:,} entries"
    )
    return Figure("policy_full_compile", median(spent), "s", at_most(1), note)


def _memory(snapshot: Snapshot) -> Figure:
    tracemalloc.start()
    compiler = PolicyCompiler(NODE)
    compiler.compile(snapshot)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    note = f"peak {peak / 2**20:.1f} MiB; the objects themselves are not in it"
    return Figure("policy_memory", held / 2**20, "MiB", note=note)


def _rounds(snapshot: Snapshot, change: Callable[[Snapshot, int], Snapshot]) -> list[float]:
    """Seconds of each change, there and back."""
    compiler = PolicyCompiler(NODE)
    compiler.compile(snapshot)
    spent = []
    for number in range(ROUNDS):
        for wanted in (change(snapshot, number), snapshot):
            began = time.perf_counter()
            compiler.compile(wanted)
            spent.append(time.perf_counter() - began)
    return spent


def _edit_policies(snapshot: Snapshot, number: int) -> Snapshot:
    """One namespace after the other."""
    return edit_policy(snapshot, number * 7 % NAMESPACES, number)


def edit_policy(snapshot: Snapshot, space: int, number: int) -> Snapshot:
    """Another port in the policy that has ports, of a namespace."""
    place = space * 5 + 2
    before = snapshot.policies[place]
    after = _policy(before.namespace, before.name, **_team_ingress(f"team-{number % TEAMS}", 8443))
    return replace(snapshot, policies=(*snapshot.policies[:place], after, *snapshot.policies[place + 1 :]))


def add_pod(snapshot: Snapshot, number: int) -> Snapshot:
    """A pod of a kind that is there already; every second one on the node."""
    pod = _pod(f"ns-{number:03}", "web", REPLICAS, 20_000 + number * LOCAL_EVERY * (number % 2) + number)
    return replace(snapshot, pods=(*snapshot.pods[: number * 50], pod, *snapshot.pods[number * 50 :]))


def _new_kind_of_pod(snapshot: Snapshot, number: int) -> Snapshot:
    """A pod whose labels no other pod has."""
    pod = _pod(f"ns-{number:03}", f"new-{number}", 0, 20_000 + number)
    return replace(snapshot, pods=(*snapshot.pods[: number * 50], pod, *snapshot.pods[number * 50 :]))


def relabel_namespace(snapshot: Snapshot, number: int) -> Snapshot:
    """Another team for a namespace of 50 pods."""
    spaces = list(snapshot.namespaces)
    place = number % NAMESPACES
    spaces[place] = _namespace(spaces[place].name, {"team": f"team-{(number + 7) % TEAMS}"})
    return replace(snapshot, namespaces=tuple(spaces))


def _new_label(snapshot: Snapshot, number: int) -> Snapshot:
    """A policy that selects by a label that all pods have and no policy has looked at."""
    spec = {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": [_pods(tier="front")]}]}
    return replace(snapshot, policies=(*snapshot.policies, _policy(f"ns-{number:03}", "new-label", **spec)))


_CHANGES = {
    "policy_changed": _edit_policies,
    "pod_added": add_pod,
    "pod_of_new_kind": _new_kind_of_pod,
    "namespace_relabelled": relabel_namespace,
    "new_label_selected": _new_label,
}


def _policies(space: str, team: str) -> list[NetworkPolicy]:
    """Five policies, sorted by name."""
    dns = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    ports = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    blocks = [
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.96.0.0/12"]}},
        {"ipBlock": {"cidr": "192.0.2.0/24"}},
    ]
    return [
        _policy(space, "a-default-deny", policyTypes=["Ingress", "Egress"]),
        _policy(
            space, "b-web-to-db", podSelector={"matchLabels": {"app": "db"}}, ingress=[{"from": [_pods(app="web")]}]
        ),
        _policy(space, "c-team-ingress", **_team_ingress(team, 443)),
        _policy(
            space,
            "d-egress",
            policyTypes=["Egress"],
            egress=[{"to": [dns], "ports": ports}, {"to": [{"namespaceSelector": {"matchLabels": {"team": team}}}]}],
        ),
        _policy(space, "e-blocks", podSelector={"matchLabels": {"app": "api"}}, ingress=[{"from": blocks}]),
    ]


def _team_ingress(team: str, port: int) -> dict[str, object]:
    peers = [{"namespaceSelector": {"matchLabels": {"team": team}}}]
    return {"ingress": [{"from": peers, "ports": [{"port": 80}, {"port": port}]}]}


def _pods(**labels: str) -> dict[str, object]:
    return {"podSelector": {"matchLabels": labels}}


def _policy(space: str, name: str, **spec: object) -> NetworkPolicy:
    return convert({"metadata": {"name": name, "namespace": space}, "spec": spec}, NetworkPolicy)


def _namespace(name: str, labels: dict[str, str]) -> Namespace:
    return convert({"metadata": {"name": name, "labels": {**labels, "kubernetes.io/metadata.name": name}}}, Namespace)


def _pod(space: str, app: str, replica: int, number: int) -> Pod:
    labels = {"app": app, "tier": "front" if app == "web" else "back", "pod-name": f"{space}-{app}-{replica}"}
    spec = {"nodeName": NODE if number % LOCAL_EVERY == 0 else f"node-{number % LOCAL_EVERY}"}
    address = f"10.{100 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    status = {"phase": "Running", "podIPs": [{"ip": address}]}
    metadata = {"name": f"{app}-{replica}", "namespace": space, "labels": labels}
    return convert({"metadata": metadata, "spec": spec, "status": status}, Pod)
