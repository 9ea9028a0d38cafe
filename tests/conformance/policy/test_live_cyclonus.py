"""Every step of cyclonus with a real agent and real sockets: 81 pairs of pods, three protocols, two ports.

A pod's packets to itself never leave it, so those cells pass whatever the table says. Some steps are asked through
ClusterIPs too, where the policy has to see the backend, and some in IPv6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from tests.conformance.policy.cyclonus import CELLS, PORTS, PROTOCOLS, Step, cases, mapped
from tests.support.kube import Manifest
from tests.support.policies import Object
from tests.support.policy_live import Arena, Cell, arena, service

SUBNETS = ("192.168.0.0/16", "fd00::/64")
SERVED = [(protocol, port) for protocol in PROTOCOLS for port in PORTS]
BALANCED = [one for one in SERVED if one[0] != "SCTP"]
NUMBERS = {number: word for word, number in PROTOCOLS.items()}
EVERY = 8  # one step of so many is asked in IPv6 and through ClusterIPs, too


@pytest.fixture(scope="module")
def live(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    found = sorted({entry["ip"] for steps in cases() for step in steps for entry in step.world["pods"]})
    homes = [(ip, mapped(ip)) for ip in found]
    with arena(tmp_path_factory.mktemp("cyclonus"), homes, SUBNETS, SERVED) as made:
        yield made


def steps() -> list[Step]:
    return [step for steps in cases() for step in steps]


def test_every_cell_of_every_step_is_as_cyclonus_says(live: Arena) -> None:
    total, wrong = 0, []
    for step in steps():
        live.become(objects(step, v6=False))
        asked = cells(step, v6=False)
        total += len(asked)
        wrong += [f"{step.name}: {one}" for one in live.wrong(asked)]
    assert wrong == []
    assert total == CELLS


def test_so_it_is_in_the_other_family(live: Arena) -> None:
    wrong = []
    for step in steps()[::EVERY]:
        live.become(objects(step, v6=True))
        wrong += [f"{step.name}: {one}" for one in live.wrong(cells(step, v6=True))]
    assert wrong == []


@pytest.mark.parametrize("v6", [False, True], ids=["IPv4", "IPv6"])
def test_so_it_is_through_services(live: Arena, v6: bool) -> None:
    """TCP and UDP; a pod reaches itself through its Service, too."""
    wrong = []
    for step in steps()[EVERY // 2 :: 2 * EVERY]:
        live.become(objects(step, v6), *services(live, v6))
        asked = [one._replace(target=frontend(one.target)) for one in cells(step, v6) if one.protocol != "SCTP"]
        wrong += [f"{step.name}: {one}" for one in live.wrong(asked)]
    assert wrong == []


def objects(step: Step, v6: bool) -> Iterable[Object]:
    snapshot = step.snapshot(v6)
    return [*snapshot.namespaces, *snapshot.pods, *snapshot.policies]


def cells(step: Step, v6: bool) -> list[Cell]:
    ips = {f"{pod['ns']}/{pod['name']}": mapped(pod["ip"]) if v6 else pod["ip"] for pod in step.world["pods"]}
    return [
        Cell(ips[source], ips[target], NUMBERS[protocol], port, source == target or all(sides.values()))
        for source, target, protocol, port, sides in step.cells()
    ]


def services(live: Arena, v6: bool) -> list[Manifest]:
    """One for each pod."""
    ips = [address for address in live.names if (":" in address) == v6]
    return [one for ip in ips for one in service(f"s-{live.names[ip]}", frontend(ip), BALANCED, ip)]


def frontend(address: str) -> str:
    """The ClusterIP of the Service of a pod."""
    return address.replace("fd00::c0a8:", "fd00:96::") if ":" in address else address.replace("192.168.", "10.96.")
