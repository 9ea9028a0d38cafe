"""Traffic policies, and what serves when no endpoint is ready: from inside and from outside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conformance.services.live.asking import health, silent
from tests.conformance.services.live.catalogue import case, each
from tests.support.cluster import Cluster
from tests.support.kube import Port, Svc, leaving
from tests.support.place import until

LOCAL, CLUSTER = {"externalTrafficPolicy": "Local"}, {"externalTrafficPolicy": "Cluster"}
ROUNDS = 5


@pytest.mark.parametrize(
    "clients",
    [each("internal-local", ("ann", "bea", "carol", "val")), each("internal-local-host", ("one", "two", "three"))],
)
def test_internal_policy_local_stays_on_the_node(live: Cluster, family: str, clients: tuple[str, ...]) -> None:
    service = live.svc("web", internalTrafficPolicy="Local")
    live.apply(service.with_endpoints(live["alice"]))
    here, *others = clients
    assert live[here].names(service.inside(family), ROUNDS) == {"alice"}
    for client in others:
        assert silent(live[client], service.inside(family))
    live.apply(service.with_endpoints(live["alice"], live["bob"]))
    assert live[here].names(service.inside(family)) == {"alice"}
    assert live[others[0]].names(service.inside(family)) == {"bob"}


@case("internal-local-to-host")
def test_internal_policy_local_to_a_pod_in_the_nodes_network(live: Cluster, family: str) -> None:
    service = live.svc("web", Port(80, 8500), internalTrafficPolicy="Local")
    live["one"].listen(8500)
    try:
        live.apply(service.with_endpoints(live["one"]))
        for client in ("ann", "one"):
            assert live[client].names(service.inside(family), ROUNDS) == {"one"}
        for client in ("bea", "two"):
            assert silent(live[client], service.inside(family))
    finally:
        live["one"].release(8500)


@case("external-local")
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_external_policy_local_keeps_the_clients_address(live: Cluster, family: str, protocol: str) -> None:
    service = live.svc("web", Port(protocol=protocol, node_port=-1), type="NodePort", **LOCAL)
    live.apply(service.with_endpoints(live["alice"]))
    reply = live["customer"].ask(service.on(live["one"], family))
    assert (reply.name, reply.peer) == ("alice", live["customer"].addresses[family])
    assert silent(live["customer"], service.on(live["two"], family))


@case("external-local")
@pytest.mark.parametrize("client", ["ann", "one", "bea", "two", "vic", "val"], ids="from {}".format)
def test_external_policy_local_is_no_matter_on_the_own_node(live: Cluster, family: str, client: str) -> None:
    service = live.svc("web", Port(node_port=-1), type="NodePort", **LOCAL)
    live.apply(service.with_endpoints(live["alice"]))
    assert live[client].names(service.on(live[live[client].node], family), ROUNDS) == {"alice"}


@case("health-terminating")
@pytest.mark.parametrize("client", ["customer", "ann"], ids="from {}".format)
def test_the_health_check_fails_while_terminating_endpoints_serve(live: Cluster, client: str) -> None:
    service = live.svc("web", Port(node_port=-1), type="LoadBalancer", healthCheckNodePort=31_800, **LOCAL)
    live.apply(service.with_endpoints(live["alice"]))
    until(lambda: health(live, "one", 31_800)[0] == 200)
    live.apply(service.with_endpoints(leaving(live["alice"])))
    until(lambda: health(live, "one", 31_800)[0] == 503)
    assert live[client].names(service.on(live["one"]), ROUNDS) == {"alice"}


@case("fallback-internal-cluster")
def test_terminating_endpoints_serve_when_none_is_ready(live: Cluster, family: str) -> None:
    service = live.svc("web")
    live.apply(service.with_endpoints(leaving(live["alice"]), leaving(live["bob"], serving=False)))
    for client in ("ann", "bea", "carol", "one", "two"):
        assert live[client].names(service.inside(family), ROUNDS) == {"alice"}
    live.apply(service.with_endpoints(leaving(live["alice"]), live["bob"]))
    for client in ("ann", "bea", "carol", "one", "two"):
        assert live[client].names(service.inside(family), ROUNDS) == {"bob"}


@case("fallback-internal-local")
def test_the_nodes_own_terminating_endpoints_serve(live: Cluster, family: str) -> None:
    service = live.svc("web", internalTrafficPolicy="Local")
    live.apply(service.with_endpoints(leaving(live["alice"]), live["carol"]))
    for client in ("ann", "one"):
        assert live[client].names(service.inside(family), ROUNDS) == {"alice"}
    assert live["cleo"].names(service.inside(family), ROUNDS) == {"carol"}
    for client in ("bea", "two"):
        assert silent(live[client], service.inside(family))


@case("fallback-external-cluster")
@pytest.mark.parametrize(
    ("client", "node"),
    [("ann", "one"), ("bea", "two"), ("two", "two"), ("customer", "one"), ("customer", "two")],
    ids="{}".format,
)
def test_terminating_endpoints_serve_a_node_port(live: Cluster, family: str, client: str, node: str) -> None:
    service = live.svc("web", Port(node_port=-1), type="NodePort", **CLUSTER)
    live.apply(service.with_endpoints(leaving(live["alice"])))
    assert live[client].names(service.on(live[node], family), ROUNDS) == {"alice"}


@case("fallback-external-local")
@pytest.mark.parametrize("client", ["ann", "customer"], ids="from {}".format)
def test_the_nodes_own_terminating_endpoints_serve_a_node_port(live: Cluster, family: str, client: str) -> None:
    service = live.svc("web", Port(node_port=-1), type="NodePort", **LOCAL)
    live.apply(service.with_endpoints(leaving(live["alice"])))
    replies = live[client].ask_often(service.on(live["one"], family), ROUNDS)
    assert {(reply.name, reply.peer) for reply in replies} == {("alice", live[client].addresses[family])}
    if client == "customer":
        assert silent(live[client], service.on(live["two"], family))


@case("policy-changes")
@pytest.mark.parametrize("seen", ["outside", "inside", "neighbour", "health"])
def test_node_ports_follow_the_external_policy(live: Cluster, family: str, seen: str) -> None:
    """The endpoint is on the first node, and nothing but a pod of its own is on the second."""
    made = live.svc("web", Port(node_port=-1), type="LoadBalancer", **CLUSTER)
    local = replace(made, spec=made.spec | LOCAL | {"healthCheckNodePort": 31_801})
    for service in (local, made, local):
        live.apply(service.with_endpoints(live["alice"]))
        CHECKS[seen](live, service, family)


def _outside(live: Cluster, service: Svc, family: str) -> None:
    client, local = live["customer"], "healthCheckNodePort" in service.spec
    for node in ("one", "two", "three"):
        target = service.on(live[node], family)
        if local and node != "one":
            assert silent(client, target)
            continue
        reply = client.ask(target)
        assert reply.name == "alice"
        assert (reply.peer == client.addresses[family]) is local


def _inside(live: Cluster, service: Svc, family: str) -> None:
    for client in ("ann", "bea", "carol", "one", "two", "three"):
        target = service.on(live[live[client].node], family)
        assert live[client].names(target, ROUNDS) == {"alice"}, (client, service.spec)


def _neighbour(live: Cluster, service: Svc, family: str) -> None:
    """The second node and a pod of it: their own node answers always, the first keeps them, the third is silent."""
    local = "healthCheckNodePort" in service.spec
    for name in ("two", "bea"):
        client = live[name]
        first, own = (client.ask(service.on(live[node], family)) for node in ("one", "two"))
        assert (first.name, own.name) == ("alice", "alice"), name
        assert (first.peer == client.addresses[family]) is local
        third = service.on(live["three"], family)
        assert silent(client, third) if local else client.ask(third).name == "alice"


def _health(live: Cluster, service: Svc, family: str) -> None:
    local = "healthCheckNodePort" in service.spec
    expected = {"one": 200, "two": 503, "three": 503} if local else dict.fromkeys(live.nodes, 0)
    until(lambda: {node: health(live, node, 31_801, family)[0] for node in live.nodes} == expected)


CHECKS = {"outside": _outside, "inside": _inside, "neighbour": _neighbour, "health": _health}
