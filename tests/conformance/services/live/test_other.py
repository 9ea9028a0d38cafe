"""Topology, host ports, rollouts and what else the suites ask of a cluster's traffic."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import pytest

from tests.conformance.services.live.catalogue import case, each
from tests.support.cluster import PORT, Cluster
from tests.support.kube import At, Port, leaving, pod
from tests.support.place import Load, Target, errors

CLIENTS = {"one": ("ann", "one"), "two": ("bea", "two"), "three": ("cleo", "three")}
EAST, WEST = ("east",), ("west",)
# endpoints as (pod, zones, nodes), then who is reached from each node; nodes one and two are in the east
Names = tuple[str, ...]
State = tuple[list[tuple[str, Names, Names]], tuple[str, str, str]]
HINTED: dict[str, list[State]] = {
    "distribution-zone": [
        ([("alice", EAST, ()), ("carol", WEST, ())], ("alice", "alice", "carol")),
    ],
    "distribution-nodes": [
        (
            [("alice", EAST, ()), ("bob", EAST, ()), ("carol", WEST, ())],
            ("alice bob", "alice bob", "carol"),
        ),
    ],
    "distribution-all": [
        ([("alice", EAST, ()), ("carol", (), ())], ("alice carol", "alice carol", "alice carol")),
    ],
    "distribution-node": [
        (
            [("alice", EAST, ("one",)), ("bob", EAST, ("two",)), ("carol", WEST, ("three",))],
            ("alice", "bob", "carol"),
        ),
    ],
    "distribution-node-zone": [
        ([("alice", EAST, ("one",)), ("carol", WEST, ("three",))], ("alice", "alice", "carol")),
    ],
    "distribution-returns": [
        ([("alice", EAST, ("one",)), ("bob", EAST, ("two",))], ("alice", "bob", "alice bob")),
        ([("bob", EAST, ("two",))], ("bob", "bob", "bob")),
        ([("alice", EAST, ("one",)), ("bob", EAST, ("two",))], ("alice", "bob", "alice bob")),
    ],
}


@pytest.mark.parametrize("states", [each(*one) for one in HINTED.items()])
def test_hints_lead_to_the_near_ones(live: Cluster, family: str, states: list[State]) -> None:
    service = live.svc("web")
    for endpoints, reached in states:
        live.apply(
            service.with_endpoints(*(At(live[name], zones=zones, nodes=nodes) for name, zones, nodes in endpoints))
        )
        for (node, clients), expected in zip(CLIENTS.items(), reached, strict=True):
            for client in clients:
                assert live[client].names(service.inside(family)) == set(expected.split()), (node, client)


@case("host-ports")
@pytest.mark.parametrize("client", ["bea", "ann", "one", "customer"])
def test_one_host_port_with_other_protocols_and_addresses(live: Cluster, client: str) -> None:
    node, bridge = live["one"].addresses["IPv4"], str(live.nodes["one"].gateways[0].ip)
    wanted = [("alice", node, "TCP"), ("ann", bridge, "TCP"), ("abe", node, "UDP")]
    pods = []
    for name, address, protocol in wanted:
        port = {"containerPort": PORT, "hostPort": 5300, "hostIP": address, "protocol": protocol}
        pods.append(pod(live[name], containers=[{"name": "main", "ports": [port]}]))
    live.apply(*pods)
    reachable = wanted if live[client].node == "one" else [one for one in wanted if one[1] == node]
    for name, address, protocol in reachable:
        assert live[client].names(Target(address, 5300, protocol), 5) == {name}


@case("pods-untouched")
def test_pods_and_nodes_reach_pods_directly(live: Cluster, family: str) -> None:
    live.apply()
    for client, server in itertools.product(("ann", "cleo", "one", "three"), ("alice", "bob")):
        reply = live[client].ask(Target(live[server].addresses[family], PORT))
        assert reply.name == server
        if client not in live.nodes:
            assert reply.peer == live[client].addresses[family]


STEPS = [
    ([("alice", "ready"), ("bob", "ready")]),
    ([("alice", "ready"), ("bob", "ready"), ("carol", "ready")]),
    ([("alice", "leaving"), ("bob", "ready"), ("carol", "ready")]),
    ([("bob", "ready"), ("carol", "ready")]),
    ([("bob", "leaving"), ("carol", "ready"), ("cleo", "ready")]),
    ([("carol", "ready"), ("cleo", "ready")]),
]


@case("rolling-ready")
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_a_rollout_fails_no_request(live: Cluster, family: str, protocol: str) -> None:
    service = live.svc("web", Port(protocol=protocol))
    loads: list[Load] = []
    for step in STEPS:
        ends = [leaving(live[name]) if state == "leaving" else At(live[name]) for name, state in step]
        live.apply(service.with_endpoints(*ends))
        loads = loads or [live[client].load(service.inside(family)) for client in ("ann", "bea", "one", "three")]
        time.sleep(0.2)
    for load in loads:
        replies = load.stop()
        assert len(replies) > 50
        assert errors(replies) == []
        assert {reply.name for reply in replies[-20:]} == {"carol", "cleo"}


@case("draining")
@pytest.mark.parametrize("client", ["ann", "bea", "one"])
def test_open_connections_outlive_their_endpoint(live: Cluster, family: str, client: str) -> None:
    service = live.svc("web")
    live.apply(service.with_endpoints(live["alice"]))
    held = live[client].dial(service.inside(family))
    assert held.say().name == "alice"
    for ends in ([leaving(live["alice"]), At(live["bob"])], [At(live["bob"])]):
        live.apply(service.with_endpoints(*ends))
        assert held.say().name == "alice"
        assert live[client].names(service.inside(family)) == {"bob"}
    held.hang()


@case("blue-green")
def test_a_switch_of_all_endpoints_fails_no_request(live: Cluster, family: str) -> None:
    service = live.svc("web")
    blue, green = [live["alice"], live["bob"]], [live["ann"], live["cleo"]]
    live.apply(service.with_endpoints(*blue))
    loads = [live[client].load(service.inside(family)) for client in ("abe", "bea", "one", "three")]
    for ends in (green, blue, green):
        live.apply(service.with_endpoints(*ends))
        assert live["carol"].names(service.inside(family)) == {place.name for place in ends}
    for load in loads:
        assert errors(load.stop()) == []


@case("service-cidr")
def test_cluster_ips_of_another_range(live: Cluster) -> None:
    plain = live.svc("web")
    moved = replace(plain, ips={"IPv4": "203.0.113.200", "IPv6": "fd00:cafe::1"})
    for service in (plain, moved):
        live.apply(service.with_endpoints(live["alice"], live["bob"]))
        for client in ("ann", "bea", "one"):
            for family in service.ips:
                assert live[client].names(service.inside(family)) == {"alice", "bob"}


@case("throughput")
def test_streams_through_a_cluster_ip_are_complete(live: Cluster, family: str) -> None:
    service, size = live.svc("web"), 8_000_000
    live.apply(service.with_endpoints(live["alice"]))
    for client in ("ann", "bob", "two"):
        replies = live[client].ask_often(service.inside(family), 4, timeout=20, size=size)
        assert [reply.size for reply in replies] == [size] * 4
