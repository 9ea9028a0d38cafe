"""Services and their endpoints come, change and go: what clients in pods, on nodes and outside get."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.services.live.asking import answered
from tests.conformance.services.live.catalogue import case, each
from tests.support.cluster import PORT, Cluster
from tests.support.kube import At, Port, Svc, leaving, pod
from tests.support.place import Target, until

INSIDE = ("ann", "bea", "carol", "one", "two", "vic", "val")  # pods, nodes, and pods that no socket program sees


def reached(live: Cluster, target: Target, clients: tuple[str, ...] = INSIDE) -> dict[str, set[str]]:
    """Who answers each of the clients."""
    return answered(live, target, clients)


def alike(names: set[str], clients: tuple[str, ...] = INSIDE) -> dict[str, set[str]]:
    return dict.fromkeys(clients, names)


@case("basic")
def test_endpoints_come_and_go(live: Cluster, family: str) -> None:
    service = live.svc("web")
    for endpoints in (["alice"], ["alice", "bob"], ["bob"], ["bob", "cleo"]):
        live.apply(service.with_endpoints(*(live[name] for name in endpoints)))
        assert reached(live, service.inside(family)) == alike(set(endpoints))
    live.apply(service.manifest())
    assert reached(live, service.inside(family)) == alike({"ECONNREFUSED"})


@case("multiport")
def test_each_port_has_its_own_endpoints(live: Cluster, family: str) -> None:
    first, second = Port(80, PORT, "first"), Port(81, PORT, "second")
    service = live.svc("web", first, second)
    live.apply(service.manifest(), service.slices([live["alice"]], [first]))
    assert reached(live, service.inside(family, 0)) == alike({"alice"})
    assert reached(live, service.inside(family, 1)) == alike({"ECONNREFUSED"})
    both = [service.slices([live["alice"]], [first]), service.slices([live["bob"]], [second], "-b")]
    live.apply(service.manifest(), *both)
    assert reached(live, service.inside(family, 0)) == alike({"alice"})
    assert reached(live, service.inside(family, 1)) == alike({"bob"})
    live.apply(service.manifest(), both[1])
    assert reached(live, service.inside(family, 0)) == alike({"ECONNREFUSED"})
    assert reached(live, service.inside(family, 1)) == alike({"bob"})


@case("ports-change")
def test_ports_come_and_go(live: Cluster, family: str) -> None:
    ports = [Port(80, PORT, "a"), Port(81, PORT, "b"), Port(82, PORT, "c")]
    made = live.svc("web", *ports)
    for present in ("a", "ab", "bc", "abc", "c"):
        service = replace(made, ports=tuple(port for port in ports if port.name in present))
        live.apply(service.with_endpoints(live["alice"]))
        for port in ports:
            expected = {"alice"} if port.name in present else {"ECONNREFUSED"}
            assert reached(live, Target(made.ips[family], port.port)) == alike(expected), (present, port.name)


@case("source-kept")
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_a_pod_is_seen_under_its_own_address(live: Cluster, family: str, protocol: str) -> None:
    service = live.svc("web", Port(protocol=protocol))
    live.apply(service.with_endpoints(live["alice"]))
    for client in ("ann", "bob", "carol", "vic", "val"):
        reply = live[client].ask(service.inside(family))
        assert (reply.name, reply.peer) == ("alice", live[client].addresses[family])


@case("hairpin")
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("name", ["alice", "vic"])
def test_a_pod_reaches_itself(live: Cluster, family: str, protocol: str, name: str) -> None:
    service = live.svc("web", Port(protocol=protocol, node_port=-1), type="NodePort")
    live.apply(service.with_endpoints(live[name]))
    assert live[name].names(service.inside(family)) == {name}
    assert live[name].names(service.on(live["one"], family)) == {name}


@case("up-and-down")
def test_services_come_and_go_beside_each_other(live: Cluster, family: str) -> None:
    groups = (("alice", "bob", "cleo"), ("ann", "ben", "carol"), ("abe", "bea", "cleo"))
    services = [live.svc(f"web-{index}") for index in range(3)]

    def objects(*indices: int) -> list[list[dict[str, object]]]:
        return [services[index].with_endpoints(*(live[name] for name in groups[index])) for index in indices]

    def expected(index: int, up: tuple[int, ...]) -> None:
        found = reached(live, services[index].inside(family), ("bob", "two"))
        assert found == alike(set(groups[index]), ("bob", "two")), (index, up)

    for up in ((0, 1), (1,), (1, 2)):
        live.apply(*objects(*up))
        for index in up:
            expected(index, up)
        for index in {0, 1, 2} - set(up):
            assert live["bob"].error(services[index].inside(family))
            assert live["two"].error(services[index].inside(family))


@case("recreated")
def test_a_service_comes_back_under_another_address(live: Cluster, family: str) -> None:
    before, after = live.svc("web"), live.svc("web")
    live.apply(before.with_endpoints(live["alice"], live["bob"]))
    assert reached(live, before.inside(family)) == alike({"alice", "bob"})
    live.apply()
    live.apply(after.with_endpoints(live["alice"], live["bob"]))
    assert reached(live, after.inside(family)) == alike({"alice", "bob"})
    assert live["ann"].error(before.inside(family))


@case("node-port")
@pytest.mark.parametrize("node", ["one", "two", "three"])
@pytest.mark.parametrize("client", ["ann", "vic", "one", "customer"])
def test_a_node_port_at_every_node(live: Cluster, family: str, client: str, node: str) -> None:
    """The endpoints are on two of the three nodes."""
    service = live.svc("web", Port(node_port=-1), type="NodePort")
    live.apply(service.with_endpoints(live["alice"], live["bob"]))
    assert live[client].names(service.on(live[node], family)) == {"alice", "bob"}


@case("external-ip")
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_an_external_ip_that_no_node_has(live: Cluster, family: str, protocol: str) -> None:
    outer = live.outer()
    service = live.svc("web", Port(protocol=protocol), externalIPs=list(outer.values()))
    live.apply(service.with_endpoints(live["alice"], live["bob"]))
    assert reached(live, service.at(outer[family])) == alike({"alice", "bob"})


@case("two-protocols")
def test_a_cluster_ip_becomes_two_node_ports(live: Cluster, family: str) -> None:
    tcp, udp = Port(80, PORT, "tcp", node_port=-1), Port(80, PORT, "udp", "UDP", -1)
    service = live.svc("web", tcp, udp, type="NodePort")
    plain = replace(service, ports=(replace(service.ports[0], node_port=0),), spec={})
    live.apply(plain.with_endpoints(live["alice"]))
    assert live["ann"].names(plain.inside(family)) == {"alice"}
    assert live["ann"].error(service.on(live["one"], family)) == "ECONNREFUSED"
    live.apply(service.with_endpoints(live["alice"]))
    for index in (0, 1):
        for client in ("ann", "one"):
            assert live[client].names(service.on(live["one"], family, index)) == {"alice"}


CHANGES = {
    "external-to-ip": ("ExternalName", "ClusterIP"),
    "external-to-port": ("ExternalName", "NodePort"),
    "ip-to-external": ("ClusterIP", "ExternalName"),
    "port-to-external": ("NodePort", "ExternalName"),
}


@pytest.mark.parametrize("types", [each(*one) for one in CHANGES.items()])
def test_the_type_changes(live: Cluster, family: str, types: tuple[str, str]) -> None:
    service = live.svc("web", Port(node_port=-1))
    node_port = service.on(live["one"], family)
    for kind in types:
        spec = {"type": kind, **({"externalName": "example.com"} if kind == "ExternalName" else {})}
        live.apply(replace(service, spec=spec).with_endpoints(live["alice"]))
        inside, outside = live["ann"].ask(service.inside(family), 0.6), live["ann"].ask(node_port, 0.6)
        assert bool(inside.error) is (kind == "ExternalName"), (kind, inside)
        assert (outside.name or outside.error) == ("alice" if kind == "NodePort" else "ECONNREFUSED"), kind


@case("unready-published")
def test_endpoints_that_are_published_although_not_ready(live: Cluster, family: str) -> None:
    """The controller says ready for them, whatever their state is, and so they are used, also at their end."""
    service = live.svc("web")
    for at in (At(live["alice"]), At(live["alice"], ready=True, terminating=True)):
        live.apply(service.with_endpoints(at))
        assert reached(live, service.inside(family)) == alike({"alice"})
    live.apply(service.manifest())
    assert reached(live, service.inside(family)) == alike({"ECONNREFUSED"})


@case("terminating-published")
def test_published_endpoints_are_reached_while_they_terminate(live: Cluster, family: str) -> None:
    service = live.svc("web", Port(node_port=-1), type="NodePort")
    published = [At(live["alice"], terminating=True), At(live["bob"])]
    live.apply(service.with_endpoints(*published))
    clients = ("ann", "bea", "one", "two")
    assert reached(live, service.inside(family), clients) == alike({"alice", "bob"}, clients)
    for node, pod_there in (("one", "ann"), ("two", "bea")):
        assert live[pod_there].names(service.on(live[node], family)) == {"alice", "bob"}
        assert live[node].names(service.on(live[node], family)) == {"alice", "bob"}


@case("terminating-unpublished")
def test_unready_and_terminating_endpoints_are_not_reached(live: Cluster, family: str) -> None:
    service = live.svc("web", Port(node_port=-1), type="NodePort")
    hidden = [leaving(live["alice"], serving=False), At(live["bob"], ready=False, serving=False)]
    live.apply(service.with_endpoints(*hidden))
    for client in ("ann", "bea", "one", "two"):
        assert live[client].error(service.inside(family)) == "ECONNREFUSED"
    for node, pod_there in (("one", "ann"), ("two", "bea")):
        assert live[pod_there].error(service.on(live[node], family)) == "ECONNREFUSED"
        assert live[node].error(service.on(live[node], family)) == "ECONNREFUSED"


@case("proxy-name")
def test_a_service_of_another_proxy_is_left_alone(live: Cluster, family: str) -> None:
    service = live.svc("web")
    others = replace(service, labels={"service.kubernetes.io/service-proxy-name": "another"})
    for made, ours in ((service, True), (others, False), (service, True)):
        live.apply(made.with_endpoints(live["alice"]))
        assert (live["ann"].error(service.inside(family)) == "") is ours


@case("headless")
def test_a_headless_slice_has_no_part(live: Cluster, family: str) -> None:
    service = live.svc("web")
    for labels, expected in (({}, "alice"), ({"service.kubernetes.io/headless": ""}, "ECONNREFUSED"), ({}, "alice")):
        live.apply(service.manifest(), service.slices([live["alice"]], labels=labels))
        assert live["ann"].names(service.inside(family)) == {expected}


@case("rejected")
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("client", ["ann", "bea", "one", "vic", "customer"])
def test_a_service_without_endpoints_refuses(live: Cluster, family: str, protocol: str, client: str) -> None:
    service = live.svc("web", Port(protocol=protocol, node_port=-1), type="NodePort")
    live.apply(service.with_endpoints())
    if client != "customer":
        assert live[client].error(service.inside(family)) == "ECONNREFUSED"
    assert live[client].error(service.on(live[live[client].node or "one"], family)) == "ECONNREFUSED"


@case("rejected-evicted")
def test_a_service_whose_pods_have_failed_refuses(live: Cluster, family: str) -> None:
    service = live.svc("web")
    failed = pod(live["alice"]) | {"status": {"phase": "Failed", "podIP": live["alice"].addresses["IPv4"]}}
    failed["metadata"] = {"name": "evicted", "namespace": "live"}
    live.apply(service.manifest(), failed)
    for client in ("ann", "bea", "one"):
        assert live[client].error(service.inside(family)) == "ECONNREFUSED"


def _both(service: Svc, live: Cluster, family: str, client: str) -> tuple[set[str], set[str]]:
    return live[client].names(service.inside(family, 0)), live[client].names(service.inside(family, 1))


@pytest.mark.parametrize(
    "spec",
    [
        each("same-port", {}),
        each("same-port-balancer", {"type": "LoadBalancer"}),
    ],
)
def test_tcp_and_udp_on_one_port(live: Cluster, family: str, spec: dict[str, str]) -> None:
    tcp, udp = Port(80, PORT, "tcp"), Port(80, PORT, "udp", "UDP")
    service = live.svc("web", tcp, udp, **spec)
    live.apply(service.manifest(), service.slices([live["alice"]], [tcp]), service.slices([live["bob"]], [udp], "-b"))
    for client in ("ann", "bea", "one", "vic"):
        assert _both(service, live, family, client) == ({"alice"}, {"bob"})
    only = replace(service, ports=(udp,))
    live.apply(only.with_endpoints(live["alice"]))
    for client in ("ann", "bea", "one"):
        assert _both(service, live, family, client) == ({"ECONNREFUSED"}, {"alice"})


@case("sctp-objects")
def test_an_sctp_service_loads_nothing(live: Cluster) -> None:
    service, beside = live.svc("sctp", Port(5060, 5060, protocol="SCTP")), live.svc("web")
    live.apply(service.with_endpoints(live["alice"]), beside.with_endpoints(live["alice"]))
    listed = live.agents["one"].json("service", "list")["services"]
    (ours, *_) = [one for one in listed if one["name"] == "sctp"]
    assert (ours["protocol"], len(ours["backends"])) == ("SCTP", 1)
    assert live["ann"].names(beside.inside()) == {"alice"}
    assert "SCTP" not in Path("/proc/net/protocols").read_text()


@pytest.mark.parametrize("name", [each("sidecar-port", ""), each("sidecar-named-port", "metrics")])
def test_a_port_of_a_restartable_init_container(live: Cluster, name: str) -> None:
    """The controller resolves it; the pod's manifest has a port that nothing listens at, and must not matter."""
    port = Port(80, 9300, name)
    service = live.svc("web", port)
    container = {"name": "sidecar", "restartPolicy": "Always", "ports": [{"name": "metrics", "containerPort": 9300}]}
    spec = {"initContainers": [container], "containers": [{"name": "main", "ports": [{"containerPort": 9301}]}]}
    own = pod(live["alice"], **spec)
    live["alice"].listen(9300, "TCP")
    try:
        live.apply(service.with_endpoints(live["alice"]), own)
        reply = until(lambda: live["bea"].ask(service.inside()))
        assert (reply.name, reply.port) == ("alice", 9300)
    finally:
        live["alice"].release(9300, "TCP")


@case("named-targets")
def test_a_named_target_port_differs_from_endpoint_to_endpoint(live: Cluster, family: str) -> None:
    service = live.svc("web", Port(80, PORT, "http"))
    live["bob"].listen(9400, "TCP")
    try:
        there = service.slices([live["bob"]], [Port(80, 9400, "http")], "-b")
        live.apply(service.manifest(), service.slices([live["alice"]]), there)
        for client in ("ann", "bea", "one"):
            replies = live[client].ask_often(service.inside(family), 24)
            assert {(reply.name, reply.port) for reply in replies} == {("alice", PORT), ("bob", 9400)}
    finally:
        live["bob"].release(9400, "TCP")
