"""The upstream cases and those of ClusterNetworkPolicy through the real programs, in every family that a pod has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daemon.model.snapshot import Snapshot
from daemon.policy import PolicyTable
from daemon.policy.compile import PolicyCompiler
from ebpf.addresses import pack
from ebpf.datapath import Datapath
from tests.conformance.policy import cluster_cases, network_cases
from tests.conformance.policy.kernel import Probe, asked, load
from tests.support.policies import HERE, snapshot_of
from tests.support.policy_cases import Case, Expectation
from tests.support.policy_oracle import NUMBERS


@pytest.mark.parametrize("case", [*network_cases.CASES, *cluster_cases.CASES], ids=lambda case: case.name)
def test_the_programs_say_what_the_suite_says(datapath: Datapath, case: Case) -> None:
    compiler, loaded = PolicyCompiler(HERE), load(datapath, PolicyTable())
    for step in case.steps:
        snapshot = snapshot_of(step.objects)
        told = [(one, probe) for one in step.expected for probe in probes(snapshot, one)]
        assert len({one for one, _ in told}) == len(step.expected)
        for table in compiler.compile(snapshot):
            found = asked(datapath, loaded, table, [probe for _, probe in told])
        assert [one for (one, _), verdict in zip(told, found, strict=True) if verdict.passes != one.passes] == []


def probes(snapshot: Snapshot, one: Expectation) -> Iterator[Probe]:
    """One for each family that both ends have."""
    port, _, protocol = one.port.partition("/")
    for source in addresses(snapshot, one.source):
        for target in addresses(snapshot, one.destination):
            if (":" in source) == (":" in target):
                yield Probe(pack(source), pack(target), NUMBERS[protocol], int(port))


def addresses(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    """A pod's addresses, or the address itself."""
    return next((pod.addresses for pod in snapshot.pods if f"{pod.namespace}/{pod.name}" == name), (name,))
