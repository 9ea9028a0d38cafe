"""Who answers, and whom the endpoint sees: the table of clients, addresses and traffic policies, on a real network.

"kept": the endpoint sees the client's own address; "node": that of a node. kube-proxy hides pods behind the node where
it translates packets; a socket is translated before there is a packet, so for pods the address is kept everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.conformance.services.live.catalogue import case
from tests.support.cluster import Cluster
from tests.support.kube import Port, Svc
from tests.support.place import Place, Target

POLICIES: dict[str, dict[str, str]] = {
    "both-Cluster": {},
    "external-Local": {"externalTrafficPolicy": "Local"},
    "internal-Local": {"internalTrafficPolicy": "Local"},
}
CLIENTS = {"pod": "ann", "node": "one", "external": "customer"}
ANSWERING = {"all": {"alice", "bob"}, "local": {"alice"}}
TABLE = """
pod      ClusterIP | all kept | all kept   | local kept
pod      NodePort  | all kept | all kept   | all kept
pod      balancer  | all kept | all kept   | all kept
node     ClusterIP | all node | all node   | local node
node     NodePort  | all node | all node   | all node
node     balancer  | all node | all node   | all node
external ClusterIP | all node | all node   | local node
external NodePort  | all node | local kept | all node
external balancer  | all node | local kept | all node
"""


def cells() -> Iterator[object]:
    for line in TABLE.strip().splitlines():
        flow, *columns = line.split("|")
        source, target = flow.split()
        for policy, column in zip(POLICIES, columns, strict=True):
            yield pytest.param(source, target, policy, *column.split(), id=f"{source}-{target}-{policy}")


@pytest.fixture
def routed(live: Cluster) -> Iterator[Svc]:
    """A Service that is reached in every way, all of them by the first node."""
    outer = live.outer()
    made = live.svc("web", Port(node_port=-1), type="LoadBalancer")
    addresses = [*outer.values(), *made.ips.values()]
    live.route(addresses, "one")
    yield replace(made, ingress=tuple({"ip": ip} for ip in outer.values()))
    live.route(addresses)


@case("table")
@pytest.mark.parametrize(("source", "target", "policy", "answering", "seen"), list(cells()))
def test_a_flow(
    live: Cluster, family: str, routed: Svc, source: str, target: str, policy: str, answering: str, seen: str
) -> None:
    service = replace(routed, spec=routed.spec | POLICIES[policy])
    live.apply(service.with_endpoints(live["alice"], live["bob"]))
    balancer = next(each["ip"] for each in service.ingress if (":" in each["ip"]) is (family == "IPv6"))
    places = {
        "ClusterIP": service.inside(family),
        "NodePort": service.on(live["one"], family),
        "balancer": Target(balancer, 80),
    }
    check(live, live[CLIENTS[source]], places[target], family, answering, seen)
    if source == "pod":
        check(live, live["vic"], places[target], family, answering, seen)


def check(live: Cluster, client: Place, target: Target, family: str, answering: str, seen: str) -> None:
    """One client and one address."""
    replies = client.ask_often(target, 24)
    assert {reply.name or reply.error for reply in replies} == ANSWERING[answering]
    node = live.nodes["one"]
    own = (
        {client.addresses[family]}
        if seen == "kept"
        else {str(each.ip) for each in node.gateways} | {*node.uplink.values()}
    )
    assert {reply.peer for reply in replies} <= own
