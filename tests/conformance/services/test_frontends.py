"""Every address under which a socket reaches a Service or a host port, and every one under which it must not."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from daemon.services.force import every_port
from tests.conformance.services.host import DROPPED, REFUSED, UNTOUCHED, Host
from tests.unit.services.build import Object, pod, service, slice_

ENDPOINT = "10.0.0.1:8080"
API_SLICE = slice_("api", "10.0.0.1")
CLUSTER_IP, NODE_PORT = ("10.96.0.1", 80), ("192.0.2.10", 30080)


@pytest.fixture
def host() -> Host:
    return Host()


def test_a_node_port_is_served_on_the_nodes_own_addresses_and_on_nobody_elses(host: Host) -> None:
    host.apply(service("api", "10.96.0.1", {"port": 80, "nodePort": 30080}, type="NodePort"), API_SLICE)
    assert host.ask("192.0.2.10", 30080) == ENDPOINT
    assert host.ask("192.0.2.99", 30080) == UNTOUCHED
    assert host.ask("192.0.2.10", 30081) == UNTOUCHED
    assert host.ask("192.0.2.10", 30080, "UDP") == UNTOUCHED


def test_a_node_port_on_loopback_is_served_to_the_node_and_not_to_pods(host: Host) -> None:
    ports = {"port": 80, "nodePort": 30080}
    host.apply(
        service("api", "10.96.0.1 fd00:96::1", ports, type="NodePort"), API_SLICE, slice_("api", "fd00::1", "api-six")
    )
    assert host.ask("127.0.0.1", 30080, client="node") == ENDPOINT
    assert host.ask("::1", 30080, client="node") == "fd00::1:8080"
    assert host.ask("127.0.0.1", 30080, client="pod") == UNTOUCHED


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"ip": "198.51.100.1"}, ENDPOINT),
        ({"ip": "198.51.100.1", "ipMode": "VIP"}, ENDPOINT),
        ({"ip": "198.51.100.1", "ipMode": "Proxy"}, UNTOUCHED),
        ({"hostname": "lb.example"}, UNTOUCHED),
    ],
    ids=["mode not said", "VIP", "Proxy", "only a name"],
)
def test_a_balancers_address_is_served_unless_it_is_left_to_the_balancer(
    host: Host, entry: dict[str, object], expected: str
) -> None:
    host.apply(service("api", "10.96.0.1", type="LoadBalancer", ingress=[entry]), API_SLICE)
    assert host.ask("198.51.100.1", 80) == expected
    assert host.ask(*CLUSTER_IP) == ENDPOINT


def test_a_balancer_without_node_ports_has_none(host: Host) -> None:
    made = service(
        "api", "10.96.0.1", {"port": 80, "nodePort": 0}, type="LoadBalancer", ingress=[{"ip": "198.51.100.1"}]
    )
    host.apply(made, API_SLICE)
    assert host.ask("198.51.100.1", 80) == ENDPOINT
    assert len(host.table.frontends) == 2


def test_an_external_ip_is_served_although_no_node_has_it(host: Host) -> None:
    host.apply(service("api", "10.96.0.1", externalIPs=["203.0.113.250"]), API_SLICE)
    assert host.ask("203.0.113.250", 80) == ENDPOINT


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "127.0.0.1", "::1", "224.0.0.1", "::ffff:127.0.0.1", "x"])
def test_an_address_that_means_something_else_is_no_frontend(host: Host, address: str) -> None:
    made = service("api", "10.96.0.1 fd00:96::1", externalIPs=[address])
    host.apply(made, API_SLICE)
    assert len(host.table.frontends) == 2


def test_other_ports_are_refused_under_a_cluster_ip_alone(host: Host) -> None:
    made = service(
        "api",
        "10.96.0.1 fd00:96::1",
        {"port": 80, "nodePort": 30080},
        type="LoadBalancer",
        externalIPs=["203.0.113.9"],
        ingress=[{"ip": "198.51.100.1"}],
    )
    host.apply(made, API_SLICE)
    for address in ("10.96.0.1", "fd00:96::1"):
        assert [host.ask(address, 81), host.ask(address, 80, "UDP")] == [REFUSED, REFUSED]
    for address in ("203.0.113.9", "198.51.100.1", "192.0.2.10"):
        assert host.ask(address, 81) == UNTOUCHED


def test_two_services_under_one_cluster_ip_keep_its_other_ports_refused_until_both_are_gone(host: Host) -> None:
    first, second = service("api", "10.96.0.1"), service("web", "10.96.0.1", {"port": 81})
    host.apply(first, second)
    host.apply(second)
    assert [host.ask("10.96.0.1", port) for port in (80, 81)] == [REFUSED, REFUSED]
    host.apply()
    assert host.ask("10.96.0.1", 80) == UNTOUCHED
    assert host.services.rows == {}


def test_each_family_has_its_own_frontends_of_every_kind(host: Host) -> None:
    made = service(
        "api",
        "fd00:96::1 10.96.0.1",
        {"port": 80, "nodePort": 30080},
        type="LoadBalancer",
        externalIPs=["203.0.113.9", "2001:db8:1::9"],
        ingress=[{"ip": "198.51.100.1"}, {"ip": "2001:db8:2::1"}],
    )
    host.apply(made, API_SLICE, slice_("api", "fd00::1", "api-six"))
    four = [("10.96.0.1", 80), ("203.0.113.9", 80), ("198.51.100.1", 80), ("192.0.2.10", 30080)]
    six = [("fd00:96::1", 80), ("2001:db8:1::9", 80), ("2001:db8:2::1", 80), ("2001:db8::10", 30080)]
    assert {host.ask(*place) for place in four} == {ENDPOINT}
    assert {host.ask(*place) for place in six} == {"fd00::1:8080"}


def test_a_family_without_a_cluster_ip_has_no_outside_either(host: Host) -> None:
    made = service("api", "10.96.0.1", {"port": 80, "nodePort": 30080}, type="NodePort", externalIPs=["2001:db8:1::9"])
    host.apply(made, API_SLICE, slice_("api", "fd00::1", "api-six"))
    assert host.ask("2001:db8:1::9", 80) == UNTOUCHED
    assert host.ask("2001:db8::10", 30080) == UNTOUCHED


def test_tcp_and_udp_on_one_port_are_two_and_may_be_swapped_live(host: Host) -> None:
    tcp = {"name": "a", "port": 80, "nodePort": 30080}
    udp = {"name": "b", "port": 80, "nodePort": 30080, "protocol": "UDP"}
    listed = [{"name": "a", "port": 8080}, {"name": "b", "port": 5353, "protocol": "UDP"}]
    endpoints = slice_("api", "10.0.0.1", ports=listed)
    host.apply(service("api", "10.96.0.1", tcp, udp, type="NodePort"), endpoints)
    assert (host.ask(*NODE_PORT), host.ask(*NODE_PORT, "UDP")) == (ENDPOINT, "10.0.0.1:5353")
    host.apply(service("api", "10.96.0.1", udp, type="NodePort"), endpoints)
    assert (host.ask(*CLUSTER_IP), host.ask(*CLUSTER_IP, "UDP")) == (REFUSED, "10.0.0.1:5353")
    assert host.ask(*NODE_PORT) == UNTOUCHED


def test_of_two_ports_with_one_number_the_first_is_served(host: Host) -> None:
    listed = [{"name": "a", "port": 8080}, {"name": "b", "port": 9090}]
    twice = service("api", "10.96.0.1", {"name": "a", "port": 80}, {"name": "b", "port": 80})
    host.apply(twice, slice_("api", "10.0.0.1", ports=listed))
    assert host.ask(*CLUSTER_IP) == ENDPOINT
    assert [port.entry.key.name.port_name for port in every_port(host.reconciler.in_force)] == ["a"]


def test_frontends_of_one_port_share_a_number_unless_their_policies_differ(host: Host) -> None:
    fields = {"type": "NodePort", "externalIPs": ["203.0.113.9"]}
    port = {"port": 80, "nodePort": 30080}
    host.apply(service("api", "10.96.0.1", port, **fields), API_SLICE)
    numbers = [host.entry(*place)[0] for place in (CLUSTER_IP, ("203.0.113.9", 80), ("0.0.0.0", 30080))]
    assert len(set(numbers)) == 1
    host.apply(service("api", "10.96.0.1", port, internalTrafficPolicy="Local", **fields), API_SLICE)
    inner, *outer = (host.entry(*place)[0] for place in (CLUSTER_IP, ("203.0.113.9", 80), ("0.0.0.0", 30080)))
    assert set(outer) == {numbers[0]}
    assert inner not in outer
    assert host.ask(*CLUSTER_IP) == DROPPED


def test_every_frontend_says_what_it_is(host: Host) -> None:
    made = service(
        "api",
        "10.96.0.1",
        {"port": 80, "nodePort": 30080},
        type="LoadBalancer",
        externalIPs=["203.0.113.9", "198.51.100.1"],
        ingress=[{"ip": "198.51.100.1"}],
    )
    host.apply(made, pod("dns", "10.0.0.53", {"containerPort": 53, "hostPort": 53}))
    places = [CLUSTER_IP, ("203.0.113.9", 80), ("198.51.100.1", 80), ("0.0.0.0", 30080), ("0.0.0.0", 53)]
    assert [host.entry(*place)[2] for place in places] == [1, 2, 2 | 4, 8, 16]


def test_affinity_is_the_same_on_all_frontends_and_switched_live(host: Host) -> None:
    port = {"port": 80, "nodePort": 30080}

    def seconds(**fields: object) -> set[int]:
        host.apply(service("api", "10.96.0.1", port, type="NodePort", **fields), API_SLICE)
        return {host.entry(*place)[3] for place in (CLUSTER_IP, ("0.0.0.0", 30080))}

    assert seconds() == {0}
    assert seconds(sessionAffinity="ClientIP") == {10_800}
    limit = {"clientIP": {"timeoutSeconds": 60}}
    assert seconds(sessionAffinity="ClientIP", sessionAffinityConfig=limit) == {60}
    assert seconds(sessionAffinity="None", sessionAffinityConfig=limit) == {0}


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "LoadBalancer"])
def test_a_type_changes_live_and_what_the_old_one_had_goes(host: Host, kind: str) -> None:
    def made(type_: str) -> Object:
        port = {"port": 80, "nodePort": 30080}
        return service("api", "10.96.0.1", port, type=type_, ingress=[{"ip": "198.51.100.1"}])

    def answers() -> list[str]:
        return [host.ask(*place) for place in (CLUSTER_IP, NODE_PORT, ("198.51.100.1", 80))]

    reached = {"ClusterIP": 1, "NodePort": 2, "LoadBalancer": 3}[kind]
    for before in ("ExternalName", "LoadBalancer", "NodePort", "ClusterIP"):
        host.apply(made(before), API_SLICE)
        host.apply(made(kind), API_SLICE)
        assert answers() == [ENDPOINT] * reached + [UNTOUCHED] * (3 - reached)
    host.apply(made("ExternalName"), API_SLICE)
    assert answers() == [UNTOUCHED] * 3


@pytest.mark.parametrize("label", ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"])
def test_a_label_takes_a_service_or_a_slice_away_and_gives_it_back(host: Host, label: str) -> None:
    objects: list[Object] = [service("api"), API_SLICE]
    index, gone = (0, UNTOUCHED) if "proxy" in label else (1, REFUSED)
    labelled = list(objects)
    meta = objects[index].metadata
    labelled[index] = replace(objects[index], metadata=replace(meta, labels={**meta.labels, label: ""}))
    answers = []
    for state in (objects, labelled, objects):
        host.apply(*state)
        answers.append(host.ask(*CLUSTER_IP))
    assert answers == [ENDPOINT, gone, ENDPOINT]


def test_a_service_that_comes_back_under_another_address_is_served_there_alone(host: Host) -> None:
    host.apply(service("api"), API_SLICE)
    host.apply(service("api", "10.96.0.7"), API_SLICE)
    assert [host.ask("10.96.0.1", 80), host.ask("10.96.0.7", 80)] == [UNTOUCHED, ENDPOINT]


def test_the_second_of_two_services_gets_the_node_port_when_the_first_goes(host: Host) -> None:
    port = {"port": 80, "nodePort": 30080}
    first, second = (
        service("api", "10.96.0.1", port, type="NodePort"),
        service("web", "10.96.0.2", port, type="NodePort"),
    )
    others = [API_SLICE, slice_("web", "10.0.0.2")]
    host.apply(first, second, *others)
    assert host.ask(*NODE_PORT) == ENDPOINT
    host.apply(second, *others)
    assert host.ask(*NODE_PORT) == "10.0.0.2:8080"
    host.apply(first, second, *others)
    assert host.ask(*NODE_PORT) == ENDPOINT


WEB = {"containerPort": 8000, "hostPort": 8080}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (pod("web", "10.0.0.7 fd00::7", WEB), ["10.0.0.7:8000", "fd00::7:8000", UNTOUCHED]),
        (pod("web", "10.0.0.7", WEB), ["10.0.0.7:8000", UNTOUCHED, UNTOUCHED]),
        (pod("web", "10.0.0.7 fd00::7", WEB | {"hostIP": "0.0.0.0"}), ["10.0.0.7:8000", UNTOUCHED, UNTOUCHED]),
        (pod("web", "10.0.0.7 fd00::7", WEB | {"hostIP": "::"}), [UNTOUCHED, "fd00::7:8000", UNTOUCHED]),
        (pod("web", "10.0.0.7 fd00::7", WEB | {"hostIP": "192.0.2.11"}), [UNTOUCHED, UNTOUCHED, "10.0.0.7:8000"]),
        (pod("web", "10.0.0.7", WEB | {"protocol": "UDP"}), [UNTOUCHED] * 3),
        (pod("web", "10.0.0.7", WEB | {"hostIP": "127.0.0.1"}), [UNTOUCHED] * 3),
        (pod("web", "10.0.0.7", WEB | {"hostIP": "x"}), [UNTOUCHED] * 3),
        (pod("web", "10.0.0.7", {"containerPort": 8080}), [UNTOUCHED] * 3),
        (pod("web", "10.0.0.7", WEB, node="there"), [UNTOUCHED] * 3),
        (pod("web", "10.0.0.7", WEB, status={"phase": "Succeeded", "podIP": "10.0.0.7"}), [UNTOUCHED] * 3),
        (pod("web", "", WEB, status={"phase": "Running"}), [UNTOUCHED] * 3),
        (
            pod("web", "192.0.2.10", spec={"nodeName": "here", "hostNetwork": True, "containers": [{"ports": [WEB]}]}),
            [UNTOUCHED] * 3,
        ),
    ],
    ids=[
        "both families", "one family", "any of IPv4", "any of IPv6", "one address", "UDP", "loopback", "no address",
        "without host port", "of another node", "finished", "without address", "in the node's network",
    ],
)  # fmt: skip
def test_a_host_port(host: Host, made: Object, expected: list[str]) -> None:
    host.apply(made)
    assert [host.ask(address, 8080) for address in ("192.0.2.10", "2001:db8::10", "192.0.2.11")] == expected
    assert host.ask("127.0.0.1", 8080, client="pod") == UNTOUCHED


def test_one_host_port_with_another_address_or_protocol_is_no_conflict(host: Host) -> None:
    host.apply(
        pod("a", "10.0.0.1", WEB),
        pod("b", "10.0.0.2", WEB | {"hostIP": "192.0.2.10"}),
        pod("c", "10.0.0.3", WEB | {"protocol": "UDP"}),
    )
    assert host.ask("127.0.0.1", 8080, client="node") == "10.0.0.1:8000"
    assert host.ask("192.0.2.10", 8080) == "10.0.0.2:8000"
    assert host.ask("192.0.2.10", 8080, "UDP") == "10.0.0.3:8000"


def test_a_node_port_comes_before_a_host_port_and_gives_it_back(host: Host) -> None:
    made = service("web", "10.96.0.1", {"port": 80, "nodePort": 8080}, type="NodePort")
    api = pod("api", "10.0.0.7", WEB)
    host.apply(made, slice_("web", "10.0.0.1"), api)
    assert host.ask("192.0.2.10", 8080) == ENDPOINT
    host.apply(api)
    assert host.ask("192.0.2.10", 8080) == "10.0.0.7:8000"
    host.apply()
    host.collect()
    assert host.services.rows == host.backends.rows == {}
