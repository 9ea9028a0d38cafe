"""The upstream cases and those of ClusterNetworkPolicy with a real agent and real sockets.

Every question is put in each family that both ends have. Who is no pod, a node and hosts outside, is there too, so that
silence is a policy's and not that of an address that nobody has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from daemon.model.objects import Pod
from tests.conformance.policy import cluster_cases, network_cases
from tests.support.policy_cases import Case, Step
from tests.support.policy_live import Arena, Cell, arena

PROTOCOLS = ("TCP", "UDP", "SCTP")
OUTSIDE = [("10.98.0.1",), ("fd98::1",), (cluster_cases.NODE,)]
NETWORK_NETS = ("192.168.0.0/16",)
CLUSTER_NETS = ("10.0.0.0/8", "fc00::/7")


@pytest.fixture(scope="module")
def nine(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    homes = [(address,) for address in network_cases.ADDRESSES.values()]
    with arena(tmp_path_factory.mktemp("nine"), homes, NETWORK_NETS, ports(network_cases.CASES)) as made:
        yield made


@pytest.fixture(scope="module")
def houses(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    pods = [one for one in cluster_cases.CLUSTER if isinstance(one, Pod) and not one.spec.host_network]
    homes = [*(one.addresses for one in pods), *OUTSIDE]
    with arena(tmp_path_factory.mktemp("houses"), homes, CLUSTER_NETS, ports(cluster_cases.CASES)) as made:
        yield made


@pytest.mark.parametrize("case", network_cases.CASES, ids=lambda case: case.name)
def test_network_policies_hold_between_sockets(nine: Arena, case: Case) -> None:
    for step in case.steps:
        nine.become(step.objects)
        assert nine.wrong(cells(step)) == []


@pytest.mark.parametrize("case", cluster_cases.CASES, ids=lambda case: case.name)
def test_cluster_policies_hold_between_sockets(houses: Arena, case: Case) -> None:
    for step in case.steps:
        houses.become(step.objects)
        assert houses.wrong(cells(step)) == []


def ports(cases: Iterable[Case]) -> list[tuple[str, int]]:
    """Every port that some case asks for, over every protocol."""
    numbers = {int(one.port.partition("/")[0]) for case in cases for step in case.steps for one in step.expected}
    return [(protocol, number) for protocol in PROTOCOLS for number in sorted(numbers)]


def cells(step: Step) -> list[Cell]:
    """Each expectation in each family that both ends have."""
    pods = {f"{one.namespace}/{one.metadata.name}": one for one in step.objects if isinstance(one, Pod)}
    found = []
    for one in step.expected:
        number, _, protocol = one.port.partition("/")
        for source in addresses(pods, one.source):
            for target in addresses(pods, one.destination):
                if (":" in source) == (":" in target):
                    found.append(Cell(source, target, protocol, int(number), one.passes))
    return found


def addresses(pods: dict[str, Pod], name: str) -> tuple[str, ...]:
    return pods[name].addresses if name in pods else (name,)
