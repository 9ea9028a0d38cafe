"""The upstream cases of NetworkPolicy and the conformance tests of ClusterNetworkPolicy, through the compiler."""

from __future__ import annotations

import pytest

from tests.conformance.policy import cluster_cases, network_cases
from tests.support.policy_cases import Case
from tests.support.policy_reach import Reach


def test_all_cases_are_here() -> None:
    assert len(network_cases.CASES) == 48
    assert len(cluster_cases.CASES) == 24


@pytest.mark.parametrize("case", [*network_cases.CASES, *cluster_cases.CASES], ids=lambda case: case.name)
def test_reachability_is_as_the_suite_says(case: Case) -> None:
    world = Reach(case.steps[0].objects)
    for step in case.steps:
        world.become(step.objects)
        wrong = [one for one in step.expected if world.passes(one.source, one.destination, one.port) != one.passes]
        assert wrong == []
        anew = Reach(step.objects)
        assert all(anew.passes(one.source, one.destination, one.port) == one.passes for one in step.expected)
