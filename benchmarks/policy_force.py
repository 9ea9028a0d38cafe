"""From a written file to the kernel: 10,000 pods and 1,000 policies in a folder, and an agent on a node of 110 of them.

The cluster is that of `policy_compile`, and the node's pods have network namespaces. Each policy and each namespace
is a file, and so are the pods of one namespace together. A change is one file that is renamed into place: a policy
that is edited, a pod that comes, a namespace with another label. It is in force when the kernel is told which side of
its tables holds; that number is read every half millisecond. The folder is read when it was quiet for a while, so
that several writes are one change: this wait is in the figures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from statistics import median, quantiles

import numpy as np

from benchmarks import policy_compile as layout
from benchmarks.report import Figure, at_most
from benchmarks.stand import STAGE, Agent, BenchmarkError, Stand, await_true
from daemon.model.snapshot import Snapshot
from ebpf import libbpf
from ebpf.maps import HashMap, MapSpec
from tests.support.policies import Object, manifest

SUBNETS = (ip_network("10.0.0.0/8"),)
ROUNDS = 100
SETTLED = 0.15  # s without a change of sides, after which the last one was that which counts
LOOK_EVERY = 0.0005  # s
PATIENCE = 10.0  # s
_ONLY = np.zeros(1, np.uint32)  # the map's key

Change = Callable[[Snapshot, int], Snapshot]


def measure() -> Iterator[Figure]:
    """Changes, one kind after the other, and memory."""
    snapshot = layout.cluster()
    with Stand(SUBNETS) as stand:
        here = [pod for pod in snapshot.pods if pod.spec.node_name == layout.NODE]
        for number, pod in enumerate(here):
            stand.node.add(f"p{number}", pod.addresses, device=f"pod{number}")
        _write_all(snapshot)
        with stand.agent() as agent, _state() as state:
            await_true(lambda: _guards(agent) >= len(here), "guards for all pods", patience=60)
            note = f"{len(snapshot.pods):,} pods, {len(snapshot.policies):,} policies, {len(here)} pods here"
            yield Figure("policy_agent_start", agent.started, "s", note=f"{note}; all files read")
            for name, change in _CHANGES.items():
                yield _figure(name, [_seconds(state, snapshot, change, number) for number in range(ROUNDS)])
            yield Figure("policy_agent_rss", agent.resident(), "MB", note=note)


def _figure(name: str, spent: list[float]) -> Figure:
    p99 = quantiles(spent, n=100)[98]
    note = f"p50 {median(spent) * 1e3:.1f} ms, longest {max(spent) * 1e3:.1f} ms, {len(spent)} changes"
    return Figure(f"policy_force_{name}_p99", p99 * 1e3, "ms", at_most(100), note)


def _seconds(state: HashMap, snapshot: Snapshot, change: Change, number: int) -> float:
    """From the rename of a file to the last change of sides that it brought; then everything is as before."""
    changed = change(snapshot, number)
    spent = _forced(state, snapshot, changed)
    _forced(state, changed, snapshot)
    return spent


def _forced(state: HashMap, before: Snapshot, after: Snapshot) -> float:
    change = _prepared(before, after)
    side, began = _side(state), time.monotonic()
    change()
    return _last_flip(state, side) - began


def _last_flip(state: HashMap, side: int) -> float:
    """When the side in force changed and then did not for a while."""
    flipped, deadline = 0.0, time.monotonic() + PATIENCE
    while not flipped or time.monotonic() < flipped + SETTLED:
        now = _side(state)
        if now != side:
            side, flipped = now, time.monotonic()
        elif not flipped and time.monotonic() > deadline:
            raise BenchmarkError(f"a change was not in force after {PATIENCE:g} s")
        time.sleep(LOOK_EVERY)
    return flipped


def _side(state: HashMap) -> int:
    value = state.lookup(_ONLY)
    assert value is not None
    return int(value[0])


@contextmanager
def _state() -> Iterator[HashMap]:
    """The map that says which side holds, from the agent's own pins; what its value means is not looked at."""
    spec = MapSpec("policy_state", libbpf.MapType.ARRAY, np.dtype(np.uint32), np.dtype(np.uint64), 1)
    state = HashMap(spec, next(STAGE.pins.glob("maps-*/policy_state")))
    try:
        yield state
    finally:
        state.close()


def _guards(agent: Agent) -> int:
    return next(int(one.entries) for one in agent.status().maps if one.name == "guards")


def _edit_policy(snapshot: Snapshot, number: int) -> Snapshot:
    """Another port for the pods of a namespace that has one here."""
    spaces = sorted({pod.namespace for pod in snapshot.pods if pod.spec.node_name == layout.NODE})
    return layout.edit_policy(snapshot, int(spaces[number % len(spaces)].removeprefix("ns-")), number)


_CHANGES: dict[str, Change] = {
    "policy_changed": _edit_policy,
    "pod_added": layout.add_pod,
    "namespace_relabelled": layout.relabel_namespace,
}


def _write_all(snapshot: Snapshot) -> None:
    spaces: dict[str, list[Object]] = {}
    for pod in snapshot.pods:
        spaces.setdefault(pod.namespace, []).append(pod)
    for space, pods in spaces.items():
        _write(STAGE.manifests / f"pods-{space}.json", pods)
    objects: tuple[Object, ...] = (*snapshot.namespaces, *snapshot.policies)
    for one in objects:
        _write(_file(one), [one])


def _prepared(before: Snapshot, after: Snapshot) -> Callable[[], object]:
    """What puts the one file that differs into place, or takes it away."""
    old, new = ({one.ref: one for one in _each(each)} for each in (before, after))
    for ref in old.keys() - new.keys():
        return _file(old[ref]).unlink
    changed = next(one for ref, one in new.items() if one is not old.get(ref))
    return lambda: _write(_file(changed), [changed])


def _each(snapshot: Snapshot) -> Iterator[Object]:
    yield from snapshot.pods
    yield from snapshot.namespaces
    yield from snapshot.policies


def _file(one: Object) -> Path:
    return STAGE.manifests / f"{type(one).__name__}-{one.namespace}-{one.name}.json".lower()


def _write(path: Path, objects: list[Object]) -> None:
    waiting = path.with_suffix(".new")
    waiting.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [manifest(one) for one in objects]}))
    waiting.rename(path)
