"""Every cell of cyclonus' 256 tables, through the compiler and the real programs, in both families."""

from __future__ import annotations

import pytest

from daemon.policy import Direction
from daemon.policy.compile import PolicyCompiler
from ebpf.addresses import pack
from ebpf.datapath import Datapath
from tests.conformance.policy.cyclonus import CELLS, cases
from tests.conformance.policy.kernel import Probe, Verdict, verdicts
from tests.support.policies import HERE


@pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])
def test_the_programs_say_of_every_cell_what_cyclonus_says(datapath: Datapath, v6: bool) -> None:
    total, wrong = 0, []
    for step in (step for steps in cases() for step in steps):
        snapshot = step.snapshot(v6)
        addresses = {f"{pod.namespace}/{pod.name}": pack(pod.addresses[0]) for pod in snapshot.pods}
        table = PolicyCompiler(HERE).compile(snapshot)[-1]
        cells = list(step.cells())
        probes = [Probe(addresses[one], addresses[two], protocol, port) for one, two, protocol, port, _ in cells]
        found = verdicts(datapath, table, probes)
        total += len(found)
        wrong += [
            (step.name, cell, said)
            for cell, said in zip(cells, found, strict=True)
            if said != expected(*cell[:2], cell[4])
        ]
    assert wrong == []
    assert total == CELLS


def expected(source: str, target: str, sides: dict[Direction, bool]) -> Verdict:
    """What the table says; a pod reaches itself whatever the table says, as its packets never leave it."""
    if source == target:
        return Verdict(egress=True, ingress=True)
    return Verdict(sides[Direction.EGRESS], sides[Direction.INGRESS])
