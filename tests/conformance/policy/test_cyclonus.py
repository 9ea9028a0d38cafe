"""Every cell of cyclonus' 256 tables, through the compiler and the kernel's way of looking up."""

from __future__ import annotations

import pytest

from daemon.model.snapshot import Snapshot
from daemon.policy import PolicyTable
from daemon.policy.compile import PolicyCompiler
from daemon.policy.evaluate import Evaluator
from ebpf.addresses import pack
from tests.conformance.policy.cyclonus import CELLS, Step, cases
from tests.support.policies import HERE, said

FAMILIES = pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])


def mismatches(step: Step, snapshot: Snapshot, table: PolicyTable) -> tuple[int, list[str]]:
    """Cells asked, and those where a side says something else than expected."""
    asked, wrong, count = Evaluator(table), [], 0
    addresses = {f"{pod.namespace}/{pod.name}": pack(pod.addresses[0]) for pod in snapshot.pods}
    for source, destination, protocol, port, sides in step.cells():
        count += 1
        ends = [addresses[source], addresses[destination]]
        for direction, expected in sides.items():
            local, remote = ends if direction.value == "egress" else reversed(ends)
            verdict = asked.verdict(direction, local, remote, protocol, port)
            if (verdict is None or verdict.passes) != expected:
                wrong.append(f"{step.name}: {source} > {destination} {protocol}/{port} {direction.value}: {verdict}")
    return count, wrong


@FAMILIES
def test_every_cell_is_as_cyclonus_says(v6: bool) -> None:
    total, wrong = 0, []
    for steps in cases():
        for step in steps:
            snapshot = step.snapshot(v6)
            count, found = mismatches(step, snapshot, PolicyCompiler(HERE).compile(snapshot)[-1])
            total += count
            wrong += found
    assert wrong == []
    assert total == CELLS


@FAMILIES
def test_every_step_compiled_from_the_one_before_says_the_same(v6: bool) -> None:
    compiler = PolicyCompiler(HERE)
    for steps in cases():
        for step in steps:
            snapshot = step.snapshot(v6)
            table = compiler.compile(snapshot)[-1]
            assert mismatches(step, snapshot, table)[1] == []
            if len(steps) > 1:
                assert said(table) == said(PolicyCompiler(HERE).compile(snapshot)[-1]), step.name
