"""Services behind a load balancer: a router that leads the balancer's address to nodes, whichever passed its check."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.conformance.services.live.asking import health, silent
from tests.conformance.services.live.catalogue import case, each
from tests.support.cluster import PORT, Cluster
from tests.support.kube import At, Port, Svc, leaving
from tests.support.place import Target, errors, until

LOCAL = {"externalTrafficPolicy": "Local"}
CHECK = 31_900
EVERYWHERE = ("customer", "ann", "bea", "one", "two")
_ports = itertools.count(23_000)


@pytest.fixture
def vip(live: Cluster) -> Iterator[dict[str, str]]:
    """A balancer's address of each family, which the router leads to all nodes."""
    addresses = live.outer()
    live.route(addresses.values(), *live.nodes)
    yield addresses
    live.route(addresses.values())


def balanced(live: Cluster, vip: dict[str, str], *ports: Port, **spec: Any) -> Svc:
    """A Service of type LoadBalancer under the address."""
    made = live.svc("web", *(ports or (Port(node_port=-1),)), type="LoadBalancer", **spec)
    return replace(made, ingress=tuple({"ip": ip} for ip in vip.values()))


@pytest.mark.parametrize("protocol", [each("lb-tcp", "TCP"), each("lb-udp", "UDP")])
@pytest.mark.parametrize("client", EVERYWHERE)
def test_a_service_becomes_a_balancer_and_back(
    live: Cluster, family: str, protocol: str, client: str, vip: dict[str, str]
) -> None:
    made = balanced(live, vip, Port(protocol=protocol, node_port=-1))
    ends = [live["alice"], live["bob"]]
    plain = replace(made, ingress=(), spec={"type": "ClusterIP"})
    live.apply(plain.with_endpoints(*ends))
    assert live[client].error(made.at(vip[family]))
    live.apply(made.with_endpoints(*ends))
    assert live[client].names(made.at(vip[family])) == {"alice", "bob"}
    other = replace(made, ports=(replace(made.ports[0], port=81),))
    live.apply(other.with_endpoints(*ends))
    assert live[client].names(other.at(vip[family])) == {"alice", "bob"}
    assert live[client].error(made.at(vip[family]))
    live.apply(plain.with_endpoints(*ends))
    assert live[client].error(made.at(vip[family]))
    if live[client].node:
        assert live[client].names(plain.inside(family)) == {"alice", "bob"}


@case("lb-source-ranges")
@pytest.mark.parametrize("client", ["customer", "ann", "bea"])
def test_source_ranges_admit_some(live: Cluster, family: str, client: str, vip: dict[str, str]) -> None:
    mine = [f"{ip}/{128 if ':' in ip else 32}" for ip in live[client].addresses.values()]
    theirs = [f"{ip}/{128 if ':' in ip else 32}" for ip in live["stranger"].addresses.values()]
    outside = balanced(live, vip)
    for ranges, admitted in ((theirs, False), (mine, True), ([*theirs, *mine], True), (theirs, False), ([], True)):
        made = replace(outside, spec=outside.spec | {"loadBalancerSourceRanges": ranges})
        live.apply(made.with_endpoints(live["alice"], live["bob"]))
        if admitted:
            assert live[client].names(made.at(vip[family])) == {"alice", "bob"}
        else:
            assert silent(live[client], made.at(vip[family]))
        if live[client].node:
            assert live[client].names(made.inside(family)) == {"alice", "bob"}


@pytest.mark.parametrize("spec", [each("lb-affinity-cluster", {}), each("lb-affinity-local", LOCAL)])
@pytest.mark.parametrize("client", EVERYWHERE)
def test_affinity_under_a_balancers_address(
    live: Cluster, family: str, spec: dict[str, Any], client: str, vip: dict[str, str]
) -> None:
    live.route(vip.values(), "one")
    made = balanced(live, vip, **spec)
    sticky = replace(made, spec=made.spec | {"sessionAffinity": "ClientIP"})
    ends = [live[name] for name in ("alice", "ann", "abe", "bob", "ben", "carol")]
    for service, stays in ((made, False), (sticky, True), (made, False), (sticky, True)):
        live.apply(service.with_endpoints(*ends))
        replies = live[client].ask_often(service.at(vip[family]), 15 if stays else 40)
        assert errors(replies) == []
        assert (len({reply.name for reply in replies}) == 1) is stays
        if client == "customer":
            kept = {reply.peer == live[client].addresses[family] for reply in replies}
            assert kept == {spec == LOCAL}


@case("lb-no-node-port")
@pytest.mark.parametrize("client", EVERYWHERE)
def test_a_balancer_without_node_ports(live: Cluster, family: str, client: str, vip: dict[str, str]) -> None:
    node_port = live.svc("other", Port(node_port=-1)).ports[0].node_port
    bare = balanced(live, vip, Port(), allocateLoadBalancerNodePorts=False)
    dressed = replace(bare, ports=(Port(node_port=node_port),))
    node = live[live[client].node or "one"]
    for service, there in ((bare, False), (dressed, True)):
        live.apply(service.with_endpoints(live["alice"], live["bob"]))
        assert live[client].names(service.at(vip[family])) == {"alice", "bob"}
        assert (live[client].error(dressed.on(node, family)) == "") is there


@pytest.mark.parametrize("after", [each("lb-udp-other-node", "bob"), each("lb-udp-same-node", "abe")])
@pytest.mark.parametrize("client", EVERYWHERE)
def test_a_udp_flow_moves(live: Cluster, family: str, after: str, client: str, vip: dict[str, str]) -> None:
    live.route(vip.values(), "one")
    service, source = balanced(live, vip, Port(protocol="UDP", node_port=-1)), next(_ports)
    target = service.at(vip[family])

    def asked() -> str:
        return live[client].ask(target, 0.3, source=source).name

    live.apply(service.with_endpoints(live["alice"]))
    until(lambda: asked() == "alice", 2.0)
    live.apply(service.with_endpoints(live[after]))
    until(lambda: asked() == after, 2.0)
    assert {asked() for _ in range(5)} == {after}


@pytest.mark.parametrize("spec", [each("lb-rolling-cluster", {}), each("lb-rolling-local", LOCAL)])
@pytest.mark.parametrize("client", EVERYWHERE)
def test_a_rolling_update_fails_no_request(
    live: Cluster, family: str, spec: dict[str, Any], client: str, vip: dict[str, str]
) -> None:
    live.route(vip.values(), "one", "two")
    service = balanced(live, vip, **spec)
    steps = [
        ("alice bob", ""),
        ("alice ann bob bea", ""),
        ("ann bob bea", "alice"),
        ("ann bea", "bob"),
        ("ann bea", ""),
    ]
    load = None
    for ready, going in steps:
        listed = [*(At(live[name]) for name in ready.split()), *(leaving(live[name]) for name in going.split())]
        live.apply(service.with_endpoints(*listed))
        load = load or live[client].load(service.at(vip[family]), 0.01)
        time.sleep(0.15)
    assert load
    replies = load.stop()
    assert len(replies) > 30
    assert errors(replies) == []


@case("lb-local")
def test_the_clients_address_is_kept(live: Cluster, family: str, vip: dict[str, str]) -> None:
    live.route(vip.values(), "one")
    service = balanced(live, vip, **LOCAL)
    live.apply(service.with_endpoints(live["alice"], live["bob"]))
    replies = live["customer"].ask_often(service.at(vip[family]), 10)
    assert {(reply.name, reply.peer) for reply in replies} == {("alice", live["customer"].addresses[family])}


@case("lb-local-nodes")
@pytest.mark.parametrize("where", ["alice", "bob", "carol"])
def test_only_nodes_with_endpoints_pass_the_check(live: Cluster, family: str, where: str, vip: dict[str, str]) -> None:
    service = balanced(live, vip, healthCheckNodePort=CHECK, **LOCAL)
    live.apply(service.with_endpoints(live[where]))
    expected = {node: 200 if node == live[where].node else 503 for node in live.nodes}
    until(lambda: {node: health(live, node, CHECK, family)[0] for node in live.nodes} == expected)
    live.route(vip.values(), live[where].node)
    replies = live["customer"].ask_often(service.at(vip[family]), 5)
    assert {(reply.name, reply.peer) for reply in replies} == {(where, live["customer"].addresses[family])}


@case("lb-local-all-nodes")
def test_all_nodes_with_endpoints_answer(live: Cluster, family: str, vip: dict[str, str]) -> None:
    service = balanced(live, vip, healthCheckNodePort=CHECK, **LOCAL)
    live.apply(service.with_endpoints(live["alice"], live["bob"], live["carol"]))
    until(lambda: {health(live, node, CHECK, family)[0] for node in live.nodes} == {200})
    for node, name in (("one", "alice"), ("two", "bob"), ("three", "carol")):
        live.route(vip.values(), node)
        assert live["customer"].names(service.at(vip[family]), 5) == {name}


@case("lb-local-pods")
@pytest.mark.parametrize("client", ["ann", "bea", "cleo"])
def test_pods_reach_the_balancers_address(live: Cluster, family: str, client: str, vip: dict[str, str]) -> None:
    service = balanced(live, vip, **LOCAL)
    live.apply(service.with_endpoints(live["alice"]))
    reply = live[client].ask(service.at(vip[family]))
    assert (reply.name, reply.peer) == ("alice", live[client].addresses[family])


@case("lb-proxy-mode")
@pytest.mark.parametrize("client", ["ann", "two"])
def test_traffic_leaves_for_a_balancer_in_mode_proxy(live: Cluster, client: str) -> None:
    """The balancer is the stranger outside, who answers by that name under an address of its own."""
    made = balanced(live, {}, Port(PORT))
    address = live["stranger"].addresses["IPv4"]
    for mode, expected in (("VIP", "alice"), ("Proxy", "stranger"), ("VIP", "alice")):
        service = replace(made, ingress=({"ip": address, "ipMode": mode},))
        live.apply(service.with_endpoints(live["alice"]))
        assert live[client].names(Target(address, PORT), 5) == {expected}
