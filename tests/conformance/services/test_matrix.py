"""From where to where: every kind of client, address and traffic policy, in all four ways to run kube-proxy.

A cell says which endpoints kube-proxy leads to, and whether it hides the client behind the node's address ("masq").
What a socket decides is the endpoints; it never masquerades, because it connects by the client's own address. What
comes from outside the cluster is decided per packet, by the same entries: endpoints and masquerading are both asserted.

One departure, marked "local>all": without a detector of local traffic kube-proxy takes a pod for a stranger. A socket
is always known to be on this node, so the short circuit to all endpoints works for it in every configuration. And
what comes in by an uplink is always known to be no workload of this node: where kube-proxy without a detector leaves
a client's address ("asis>masq"), it is hidden, so that answers of other nodes' backends find their way.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.conformance.services.host import DROPPED, REFUSED, Host
from tests.unit.services.build import Object, service, slice_

POLICIES = {
    "both Cluster": {},
    "external Local": {"externalTrafficPolicy": "Local"},
    "internal Local": {"internalTrafficPolicy": "Local"},
}
HERE, THERE = "10.0.0.1:8080", "10.0.0.2:8080"
ENDPOINTS = {"all": f"{HERE} {THERE}", "local": HERE}

# from, to: a cell for each of POLICIES
WITH_DETECTOR = """
pod      ClusterIP  | all       | all       | local
pod      NodePort   | all masq  | all       | all masq
pod      balancer   | all masq  | all       | all masq
node     ClusterIP  | all masq  | all masq  | local masq
node     NodePort   | all masq  | all masq  | all masq
node     balancer   | all masq  | all masq  | all masq
external ClusterIP  | all masq  | all masq  | local masq
external NodePort   | all masq  | local     | all masq
external balancer   | all masq  | local     | all masq
"""
WITHOUT_DETECTOR = """
pod      ClusterIP  | all       | all       | local
pod      NodePort   | all masq  | local>all | all masq
pod      balancer   | all masq  | local>all | all masq
node     ClusterIP  | all       | all       | local
node     NodePort   | all masq  | all masq  | all masq
node     balancer   | all masq  | all masq  | all masq
external ClusterIP  | all asis>masq | all asis>masq | local asis>masq
external NodePort   | all masq  | local     | all masq
external balancer   | all masq  | local     | all masq
"""
MASQUERADE_ALL = """
pod      ClusterIP  | all masq  | all masq  | local masq
pod      NodePort   | all masq  | all       | all masq
pod      balancer   | all masq  | all       | all masq
node     ClusterIP  | all masq  | all masq  | local masq
node     NodePort   | all masq  | all masq  | all masq
node     balancer   | all masq  | all masq  | all masq
external ClusterIP  | all masq  | all masq  | local masq
external NodePort   | all masq  | local     | all masq
external balancer   | all masq  | local     | all masq
"""
MASQUERADE_ALL_WITHOUT_DETECTOR = """
pod      ClusterIP  | all masq  | all masq  | local masq
pod      NodePort   | all masq  | local>all | all masq
pod      balancer   | all masq  | local>all | all masq
node     ClusterIP  | all masq  | all masq  | local masq
node     NodePort   | all masq  | all masq  | all masq
node     balancer   | all masq  | all masq  | all masq
external ClusterIP  | all masq  | all masq  | local masq
external NodePort   | all masq  | local     | all masq
external balancer   | all masq  | local     | all masq
"""
CONFIGURATIONS = {
    "detector": WITH_DETECTOR,
    "no detector": WITHOUT_DETECTOR,
    "masquerade all": MASQUERADE_ALL,
    "masquerade all, no detector": MASQUERADE_ALL_WITHOUT_DETECTOR,
}
TARGETS = {
    "ClusterIP": [("10.96.0.1", 80)],
    "NodePort": [("192.0.2.10", 30080)],
    "balancer": [("198.51.100.1", 80), ("203.0.113.9", 80)],  # and an external IP: both are treated alike
}


@dataclass(frozen=True)
class Cell:
    """One flow: where it may lead, and what becomes of the client's address: "masq" or nothing."""

    configuration: str
    source: str
    target: str
    policy: str
    endpoints: str
    address: str

    def __str__(self) -> str:
        return f"{self.source} to {self.target}, {self.policy}, {self.configuration}"


def cells() -> list[Cell]:
    found = []
    for configuration, text in CONFIGURATIONS.items():
        for line in text.strip().splitlines():
            flow, *columns = line.split("|")
            source, target = flow.split()
            for policy, column in zip(POLICIES, columns, strict=True):
                endpoints, _, masquerade = column.strip().partition(" ")
                chosen = endpoints.rpartition(">")[2]
                found.append(Cell(configuration, source, target, policy, chosen, masquerade.rpartition(">")[2]))
    return found


CELLS = cells()
AT_THE_SOCKET = [cell for cell in CELLS if cell.source != "external"]
FROM_OUTSIDE = [cell for cell in CELLS if cell.source == "external"]


def objects(policy: str, nodes: str = "here there") -> list[Object]:
    """A Service that is reached in every way, with an endpoint on each of the nodes."""
    made = service(
        "api",
        "10.96.0.1",
        {"port": 80, "nodePort": 30080},
        type="LoadBalancer",
        externalIPs=["203.0.113.9"],
        ingress=[{"ip": "198.51.100.1"}],
        **POLICIES[policy],
    )
    endpoints = [{"addresses": [f"10.0.0.{1 if node == 'here' else 2}"], "nodeName": node} for node in nodes.split()]
    return [made, slice_("api", "", addressType="IPv4", endpoints=endpoints)]


def test_the_table_is_whole() -> None:
    assert len(CELLS) == 27 * 4
    assert len(set(map(str, CELLS))) == len(CELLS)
    assert len(AT_THE_SOCKET) == 18 * 4


@pytest.mark.parametrize("cell", AT_THE_SOCKET, ids=str)
def test_a_socket_is_led_to_the_endpoints_of_its_cell(cell: Cell) -> None:
    host = Host()
    host.apply(*objects(cell.policy))
    answers = {host.ask(*target, client=cell.source) for target in TARGETS[cell.target]}
    assert answers == {ENDPOINTS[cell.endpoints]}


@pytest.mark.parametrize("cell", FROM_OUTSIDE, ids=str)
def test_a_client_outside_is_led_to_the_endpoints_of_its_cell_and_hidden_where_it_says_so(cell: Cell) -> None:
    host = Host()
    host.apply(*objects(cell.policy))
    answers = {(host.ask(*target, client="external"), host.hides(*target)) for target in TARGETS[cell.target]}
    assert answers == {(ENDPOINTS[cell.endpoints], cell.address == "masq")}


# target: a cell for each of POLICIES
ONLY_THERE = """
ClusterIP  | there   | there   | dropped
NodePort   | there   | there   | there
balancer   | there   | there   | there
"""
NOWHERE = """
ClusterIP  | refused | refused | refused
NodePort   | refused | refused | refused
balancer   | refused | refused | refused
"""
SHORT = {"there": THERE, "refused": REFUSED, "dropped": DROPPED}


@pytest.mark.parametrize("client", ["pod", "node"])
@pytest.mark.parametrize(("nodes", "text"), [("there", ONLY_THERE), ("", NOWHERE)], ids=["only there", "nowhere"])
def test_where_no_endpoint_is_here_the_policy_drops_and_where_none_is_anywhere_all_is_refused(
    nodes: str, text: str, client: str
) -> None:
    for line in text.strip().splitlines():
        target, *columns = (column.strip() for column in line.split("|"))
        for policy, expected in zip(POLICIES, columns, strict=True):
            host = Host()
            host.apply(*objects(policy, nodes))
            answers = {host.ask(*place, client=client) for place in TARGETS[target]}
            assert answers == {SHORT[expected]}, f"{target}, {policy}"
