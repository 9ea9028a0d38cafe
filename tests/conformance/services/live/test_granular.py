"""From everywhere to everywhere: each kind of client sees every endpoint under every kind of address."""

from __future__ import annotations

import json

import pytest
from pyroute2 import IPRoute

from tests.conformance.services.live.asking import answered, get, health
from tests.conformance.services.live.catalogue import case
from tests.support.cluster import Cluster
from tests.support.kube import Port, Svc
from tests.support.place import Target, until

ENDPOINTS = ("alice", "abe", "bob", "ben", "carol")
CLIENTS = ("ann", "bea", "cleo", "one", "two")
PROTOCOLS = {"http": "TCP", "udp": "UDP"}
REPAIRED_WITHIN = 5.0  # s; the agents of these nodes look every second

FROM = {
    "machine": ("vic", "val"),
    "pod": ("ann", "bea", "cleo"),
    "node": ("one", "two", "three"),
    "endpoint": ("alice", "bob", "carol"),
}
WHERE = ("ClusterIP", "own node port", "other node port")
WAYS = [
    pytest.param(
        who,
        word,
        where,
        marks=case(f"{who}-{word}".replace("machine", "pod")),
        id=f"{who}-{word}-{where.replace(' ', '-')}",
    )
    for who in FROM
    for word in PROTOCOLS
    for where in WHERE
]


def place(live: Cluster, service: Svc, client: str, where: str, family: str) -> Target:
    if where == "ClusterIP":
        return service.inside(family)
    nodes = list(live.nodes)
    own = nodes.index(live[client].node)
    return service.on(live[nodes[own if where == "own node port" else (own + 1) % len(nodes)]], family)


@pytest.mark.parametrize(("who", "word", "where"), WAYS)
def test_every_endpoint_is_seen(live: Cluster, family: str, who: str, word: str, where: str) -> None:
    service = live.svc("web", Port(protocol=PROTOCOLS[word], node_port=-1), type="NodePort")
    live.apply(service.with_endpoints(*(live[name] for name in ENDPOINTS)))
    for client in FROM[who]:
        assert live[client].names(place(live, service, client, where, family), 100) == set(ENDPOINTS), client


@pytest.mark.parametrize(("loopback", "kind"), [("127.0.0.1", "IPv4"), ("::1", "IPv6")], ids=["IPv4", "IPv6"])
@case("node-http")
def test_a_node_port_answers_on_loopback(live: Cluster, loopback: str, kind: str) -> None:
    service = live.svc("web", Port(node_port=-1), type="NodePort")
    live.apply(service.with_endpoints(*(live[name] for name in ENDPOINTS)))
    assert live["one"].names(Target(loopback, service.ports[0].node_port), 100) == set(ENDPOINTS), kind
    assert live["ann"].error(Target(loopback, service.ports[0].node_port)) == "ECONNREFUSED"


INIT = "138813880000000000000000010000140000000100010000000a000a00000001"  # 5000 to 5000, an INIT chunk


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(name, marks=case(f"{who}-sctp"), id=f"{who}-sctp")
        for who, name in (("pod", "ann"), ("node", "two"), ("endpoint", "alice"))
    ],
)
def test_sctp_is_led_to_an_endpoint(live: Cluster, client: str) -> None:
    """The kernel has no SCTP to ask with, so the first packet of an association is sent by hand."""
    service = live.svc("sip", Port(5000, 5000, protocol="SCTP"))
    live.apply(service.with_endpoints(live["bob"]))
    live["bob"].order("catch", key="sctp", number=132)
    try:
        live[client].order("throw", number=132, address=service.ips["IPv4"], payload=INIT)
    finally:
        caught = live["bob"].order("caught", key="sctp", timeout=1.0)
    assert caught == [live[client].addresses["IPv4"]]


@case("proxy-urls")
def test_what_kube_proxy_is_asked_for(live: Cluster) -> None:
    for node in live.nodes:
        for path in ("/healthz", "/livez"):
            status, body = health(live, node, 10_256, path=path)
            assert status == 200
            assert json.loads(body)["lastUpdated"]
        assert get(live, node, "127.0.0.1", 10_249, "/proxyMode") == (200, "ebpf")


@case("shared-selector")
def test_services_share_their_endpoints(live: Cluster, family: str) -> None:
    services = [live.svc("one"), live.svc("two")]
    both = [live["alice"], live["bob"]]
    live.apply(*(service.with_endpoints(*both) for service in services))
    for service in services:
        assert answered(live, service.inside(family), CLIENTS) == {name: {"alice", "bob"} for name in CLIENTS}
    live.apply(services[1].with_endpoints(*both))
    assert answered(live, services[1].inside(family), CLIENTS) == {name: {"alice", "bob"} for name in CLIENTS}


@case("update-endpoints")
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_an_endpoint_that_goes_is_not_seen_again(live: Cluster, family: str, protocol: str) -> None:
    service = live.svc("web", Port(protocol=protocol, node_port=-1), type="NodePort")
    for names in ({"alice", "bob", "carol"}, {"alice", "carol"}):
        live.apply(service.with_endpoints(*(live[name] for name in sorted(names))))
        assert answered(live, service.inside(family), CLIENTS) == dict.fromkeys(CLIENTS, names)
        assert live["ann"].names(service.on(live["one"], family)) == names


@case("update-node-port")
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("client", ["ann", "one", "customer"])
def test_a_node_port_that_goes_answers_no_more(live: Cluster, family: str, protocol: str, client: str) -> None:
    service = live.svc("web", Port(protocol=protocol, node_port=-1), type="NodePort")
    target = service.on(live["one"], family)
    live.apply(service.with_endpoints(live["alice"], live["bob"]))
    assert live[client].names(target) == {"alice", "bob"}
    live.apply(Svc("web", service.ips, (Port(protocol=protocol),)).with_endpoints(live["alice"], live["bob"]))
    assert live[client].error(target) == "ECONNREFUSED"


@case("node-port-udp")
@pytest.mark.parametrize("client", ["ann", "one", "customer"])
def test_udp_through_a_node_port(live: Cluster, family: str, client: str) -> None:
    service = live.svc("dns", Port(53, protocol="UDP", node_port=-1), type="NodePort")
    live.apply(service.with_endpoints(live["alice"], live["bob"]))
    for node in ("one", "two") if client == "customer" else ("one",):
        assert live[client].names(service.on(live[node], family)) == {"alice", "bob"}


@case("large")
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("client", ["ann", "bea", "vic", "val", "one", "customer"])
def test_large_requests_arrive_whole(live: Cluster, family: str, protocol: str, client: str) -> None:
    """A datagram of 2,000 bytes is two fragments."""
    service = live.svc("web", Port(protocol=protocol, node_port=-1), type="NodePort")
    live.apply(service.with_endpoints(live["alice"], live["bob"]))
    target = service.on(live["one"], family) if client == "customer" else service.inside(family)
    replies = live[client].ask_often(target, 20, size=2_000)
    assert {(reply.name, reply.size) for reply in replies} == {("alice", 2_000), ("bob", 2_000)}


@case("host-endpoints")
@pytest.mark.parametrize("client", ["ann", "cleo", "one", "two", "three", "customer"])
def test_endpoints_in_the_nodes_network(live: Cluster, family: str, client: str) -> None:
    service = live.svc("web", Port(80, 8600, node_port=-1), type="NodePort")
    for name in ("one", "two"):
        live[name].listen(8600)
    try:
        live.apply(service.with_endpoints(live["one"], live["two"]))
        target = service.on(live["one"], family) if client == "customer" else service.inside(family)
        assert live[client].names(target) == {"one", "two"}
    finally:
        for name in ("one", "two"):
            live[name].release(8600)


@case("repair")
def test_programs_that_are_taken_off_are_put_back(live: Cluster) -> None:
    node = live.nodes["one"]
    device = node.spaces["abe"].device

    def filters(remove: bool = False) -> int:
        with IPRoute() as ipr:
            index = ipr.link_lookup(ifname=device)[0]
            if remove:
                ipr.tc("del", "clsact", index)
            return len(ipr.get_qdiscs(index=index))

    before = node.run(filters)
    node.run(filters, True)
    assert node.run(filters) == before - 1
    until(lambda: node.run(filters) == before, REPAIRED_WITHIN, 0.1)
