"""ClusterNetworkPolicy: tiers, priorities, Pass, peers outside the cluster, and what fails closed."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.policy.names import Names
from ebpf.addresses import pack
from tests.support.policies import Object, cluster_policy, containers, namespace, node, pod, policy
from tests.support.policy_reach import Reach

CLUSTER: tuple[Object, ...] = (
    namespace("x", team="a"),
    namespace("y", team="b"),
    pod("x/a", "10.0.0.1", {"app": "a"}, containers=containers(("web", "TCP", 80), ("web", "UDP", 90))),
    pod("y/a", "10.0.1.1", {"app": "a"}, containers=containers(("web", "TCP", 8080))),
    pod("y/host", "172.16.0.1", {"app": "a"}, hostNetwork=True),
    node("n1", "172.16.0.1", "n1.local", zone="z"),
    node("n2", "172.16.0.2"),
)
ALL = {"namespaces": {}}
TEAM_B = {"namespaces": {"matchLabels": {"team": "b"}}}
EVERYWHERE = {"networks": ["0.0.0.0/0", "::/0"]}


def rule(action: str, *peers: dict[str, Any], side: str = "to", **more: Any) -> dict[str, Any]:
    return {"action": action, side: list(peers), **more}


def with_egress(*rules: dict[str, Any], names: Names | None = None, **spec: Any) -> Reach:
    return Reach([*CLUSTER, cluster_policy("c", egress=rules, **spec)], names)


def test_the_first_rule_that_matches_decides() -> None:
    tcp = [{"tcp": {"destinationPort": {"number": 80}}}]
    world = with_egress(rule("Accept", TEAM_B, protocols=tcp), rule("Deny", TEAM_B))
    assert world.passes("x/a", "y/a", "80/TCP")
    assert not world.passes("x/a", "y/a", "81/TCP")
    assert not world.passes("x/a", "y/a", "icmp")
    assert world.passes("y/a", "x/a", "81/TCP"), "no implicit isolation"


def test_the_lower_number_has_precedence() -> None:
    deny = cluster_policy("deny", priority=20, egress=[rule("Deny", ALL)])
    accept = cluster_policy("accept", priority=10, egress=[rule("Accept", TEAM_B)])
    assert Reach([*CLUSTER, deny, accept]).passes("x/a", "y/a")
    accept = cluster_policy("accept", priority=30, egress=[rule("Accept", TEAM_B)])
    assert not Reach([*CLUSTER, deny, accept]).passes("x/a", "y/a")


@pytest.mark.parametrize(
    ("admin", "isolated", "baseline", "expected"),
    [
        ("Accept", True, "Deny", True),
        ("Deny", False, "Accept", False),
        ("Pass", True, "Accept", False),
        ("Pass", False, "Deny", False),
        ("Pass", False, "Pass", True),
        (None, True, "Accept", False),
        (None, False, "Deny", False),
        (None, False, "Accept", True),
    ],
)
def test_tiers_are_asked_in_order(admin: str | None, isolated: bool, baseline: str, expected: bool) -> None:
    objects: list[Object] = [*CLUSTER, cluster_policy("b", tier="Baseline", egress=[rule(baseline, ALL)])]
    if admin:
        objects.append(cluster_policy("a", egress=[rule(admin, ALL), rule("Deny", ALL)]))
    if isolated:
        objects.append(policy("x/p", policyTypes=["Egress"]))
    assert Reach(objects).passes("x/a", "y/a") is expected


def test_an_accept_of_egress_does_not_open_the_other_end() -> None:
    accept = cluster_policy("c", egress=[rule("Accept", ALL)])
    assert not Reach([*CLUSTER, accept, policy("y/p")]).passes("x/a", "y/a")


def test_networks_match_pods_and_icmp_and_a_pass_before_spares_pods() -> None:
    assert not with_egress(rule("Deny", EVERYWHERE)).passes("x/a", "y/a", "icmp")
    world = with_egress(rule("Pass", ALL), rule("Deny", EVERYWHERE))
    assert world.passes("x/a", "y/a")
    assert not world.passes("x/a", "192.0.2.1")


def test_host_network_pods_are_no_pods_but_their_node() -> None:
    assert with_egress(rule("Deny", ALL)).passes("x/a", "172.16.0.1")
    assert not with_egress(rule("Deny", {"nodes": {"matchLabels": {"zone": "z"}}})).passes("x/a", "172.16.0.1")


def test_nodes_are_matched_by_label_and_all_of_them_by_an_empty_selector() -> None:
    one, all_ = ({"nodes": {"matchLabels": {"zone": "z"}}}, {"nodes": {}})
    assert with_egress(rule("Deny", one)).passes("x/a", "172.16.0.2")
    assert not with_egress(rule("Deny", all_)).passes("x/a", "172.16.0.2")
    assert with_egress(rule("Deny", all_)).passes("x/a", "y/a")


def test_an_address_of_two_nodes_is_either_of_them_while_one_replaces_the_other() -> None:
    old, new = node("n1", "172.16.0.9", zone="z"), node("n2", "172.16.0.9")
    deny = cluster_policy("c", egress=[rule("Deny", {"nodes": {"matchLabels": {"zone": "z"}}})])
    world = Reach([*CLUSTER, old, new, deny])
    assert not world.passes("x/a", "172.16.0.9")
    world.become([*CLUSTER, new, deny])
    assert world.passes("x/a", "172.16.0.9")
    all_ = cluster_policy("c", egress=[rule("Deny", {"nodes": {}})])
    world.become([*CLUSTER, old, new, all_])
    world.become([*CLUSTER, new, all_])
    assert not world.passes("x/a", "172.16.0.9")


def test_a_named_port_is_of_any_protocol_and_the_destinations() -> None:
    named = [{"destinationNamedPort": "web"}]
    world = with_egress(rule("Deny", ALL, protocols=named))
    assert not world.passes("y/a", "x/a", "80/TCP")
    assert not world.passes("y/a", "x/a", "90/UDP")
    assert world.passes("y/a", "x/a", "90/TCP")
    assert not world.passes("x/a", "y/a", "8080/TCP")
    ingress = Reach([*CLUSTER, cluster_policy("c", ingress=[rule("Deny", ALL, side="from", protocols=named)])])
    assert not ingress.passes("x/a", "y/a", "8080/TCP")
    assert ingress.passes("x/a", "y/a", "80/TCP")


def test_a_port_range_has_both_its_ends() -> None:
    ports = [{"udp": {"destinationPort": {"range": {"start": 100, "end": 200}}}}]
    world = with_egress(rule("Deny", ALL, protocols=ports))
    passed = [port for port in (99, 100, 200, 201) if world.passes("x/a", "y/a", f"{port}/UDP")]
    assert passed == [99, 201]


@pytest.mark.parametrize(
    "unknown",
    [
        {"to": [{"somethingNewer": {}}]},
        {"to": [TEAM_B, {}]},
        {"to": [TEAM_B], "protocols": [{"quic": {}}]},
        {"to": [TEAM_B], "protocols": [{"tcp": {"sourcePort": 1}}]},
    ],
    ids=["peer", "one peer of two", "protocol", "part of a protocol"],
)
def test_what_is_not_known_fails_closed(unknown: dict[str, Any]) -> None:
    below = rule("Deny", ALL)
    assert not with_egress({"action": "Accept", **unknown}, below).passes("x/a", "y/a"), "Accept matches nothing"
    for action in ("Deny", "Pass"):
        world = with_egress({"action": action, **unknown})
        assert not world.passes("x/a", "192.0.2.1", "icmp"), f"{action} denies everything"


@pytest.mark.parametrize("peer", [EVERYWHERE, {"nodes": {}}, {"domainNames": ["a.example.com"]}])
def test_peers_of_egress_are_not_known_in_ingress(peer: dict[str, Any]) -> None:
    world = Reach([*CLUSTER, cluster_policy("c", ingress=[rule("Pass", peer, side="from")])])
    assert not world.passes("x/a", "y/a")


def test_a_subject_is_chosen_by_namespace_and_pod() -> None:
    subject = {
        "pods": {"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": {"matchLabels": {"app": "a"}}}
    }
    world = with_egress(rule("Deny", EVERYWHERE), subject=subject)
    assert not world.passes("x/a", "y/a")
    assert world.passes("y/a", "x/a")


def test_names_open_what_dns_gave_for_them_until_that_time_is_over() -> None:
    names = Names()
    accept, deny = rule("Accept", {"domainNames": ["*.example.com", "other.org"]}), rule("Deny", EVERYWHERE)
    world = with_egress(accept, deny, names=names)
    assert not world.passes("x/a", "192.0.2.1")
    assert names.learn("Deep.www.example.com.", [pack("192.0.2.1")], 30, now=100) == {pack("192.0.2.1")}
    names.learn("example.com", [pack("192.0.2.2")], 30, now=100)
    names.learn("badexample.com", [pack("192.0.2.3")], 30, now=100)
    world.become(world.objects)
    assert world.passes("x/a", "192.0.2.1")
    assert not world.passes("x/a", "192.0.2.2"), "the apex is not matched"
    assert not world.passes("x/a", "192.0.2.3"), "whole labels only"
    assert names.expire(now=129) == frozenset()
    assert names.expire(now=130) == {pack("192.0.2.1")}
    world.become(world.objects)
    assert not world.passes("x/a", "192.0.2.1")


def test_an_answer_that_came_before_the_policy_counts() -> None:
    names = Names()
    assert names.learn("other.org", [pack("192.0.2.1")], 30, now=0) == frozenset(), "nobody asks for it yet"
    world = with_egress(rule("Accept", {"domainNames": ["other.org"]}), rule("Deny", EVERYWHERE), names=names)
    assert world.passes("x/a", "192.0.2.1")


def test_a_hundred_addresses_of_one_name_are_one_class() -> None:
    names = Names()
    found = [pack(f"192.0.2.{last}") for last in range(1, 121)]
    names.learn("other.org", found, 30, now=0)
    world = with_egress(rule("Accept", {"domainNames": ["other.org"]}), rule("Deny", EVERYWHERE), names=names)
    assert len({world.table.classes[address] for address in found}) == 1
