"""NetworkPolicy where it is easy to get wrong: empty against missing, and against or, holes, names, other protocols."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.policies import Object, containers, namespace, pod, policy
from tests.support.policy_reach import Reach

CLUSTER: tuple[Object, ...] = (
    namespace("x", team="a"),
    namespace("y", team="b"),
    pod("x/a", "10.0.0.1", {"app": "a"}, containers=containers(("web", "TCP", 80))),
    pod("x/b", "10.0.0.2", {"app": "b"}, containers=containers(("web", "TCP", 8080), ("web", "UDP", 53))),
    pod("y/a", "10.0.1.1", {"app": "a"}),
    pod("y/b", "10.0.1.2", {"app": "b"}),
)
OUTSIDE = "192.0.2.1"


def ingress_of_a(*peers: dict[str, Any], **spec: Any) -> Reach:
    """The cluster with one policy that selects x/a and has one ingress rule for these peers."""
    return Reach(
        [*CLUSTER, policy("x/p", podSelector={"matchLabels": {"app": "a"}}, ingress=[{"from": peers}], **spec)]
    )


def reaching(world: Reach, destination: str = "x/a", port: str = "80/TCP") -> set[str]:
    everybody = {"x/a", "x/b", "y/a", "y/b", OUTSIDE} - {destination}
    return {source for source in everybody if world.passes(source, destination, port)}


def test_without_policies_nothing_is_restricted_and_no_address_has_a_class() -> None:
    world = Reach(CLUSTER)
    assert world.table.classes == {}
    assert set(world.table.workloads.values()) == {(0, 0)}


@pytest.mark.parametrize("rules", [{}, {"ingress": []}], ids=["absent", "empty list"])
def test_a_policy_without_rules_isolates_for_ingress_alone(rules: dict[str, Any]) -> None:
    world = Reach([*CLUSTER, policy("x/p", **rules)])
    assert reaching(world) == set()
    assert world.passes("x/a", "y/a")


def test_egress_rules_without_policy_types_isolate_both_ways() -> None:
    world = Reach([*CLUSTER, policy("x/p", egress=[{}])])
    assert reaching(world) == set()
    assert world.passes("x/a", OUTSIDE)


def test_rules_of_a_direction_that_is_not_listed_have_no_effect() -> None:
    world = Reach([*CLUSTER, policy("x/p", policyTypes=["Egress"], ingress=[{}])])
    assert reaching(world) == {"y/a", "y/b", OUTSIDE}, "x/b may not send, and nobody is kept from sending to x/a"
    assert not world.passes("x/a", "y/a")


@pytest.mark.parametrize("rule", [{}, {"from": []}, {"ports": []}], ids=["{}", "from: []", "ports: []"])
def test_an_empty_rule_allows_everything(rule: dict[str, Any]) -> None:
    world = Reach([*CLUSTER, policy("x/p", ingress=[rule])])
    assert reaching(world) == {"x/b", "y/a", "y/b", OUTSIDE}
    assert world.passes(OUTSIDE, "x/a", "icmp")


@pytest.mark.parametrize(
    ("peers", "expected"),
    [
        ([{"podSelector": {}}], {"x/b"}),
        ([{"namespaceSelector": {}}], {"x/b", "y/a", "y/b"}),
        ([{"podSelector": {"matchLabels": {"app": "b"}}}], {"x/b"}),
        (
            [{"podSelector": {"matchLabels": {"app": "b"}}, "namespaceSelector": {"matchLabels": {"team": "b"}}}],
            {"y/b"},
        ),
        (
            [{"podSelector": {"matchLabels": {"app": "b"}}}, {"namespaceSelector": {"matchLabels": {"team": "b"}}}],
            {"x/b", "y/a", "y/b"},
        ),
        ([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "y"}}}], {"y/a", "y/b"}),
        ([{"podSelector": {"matchExpressions": [{"key": "no", "operator": "DoesNotExist"}]}}], {"x/b"}),
        ([{"podSelector": {"matchExpressions": [{"key": "no", "operator": "NotIn", "values": ["x"]}]}}], {"x/b"}),
        ([{"podSelector": {"matchExpressions": [{"key": "no", "operator": "Exists"}]}}], set()),
    ],
)
def test_peers_are_anded_within_an_element_and_ored_between(peers: list[dict[str, Any]], expected: set[str]) -> None:
    assert reaching(ingress_of_a(*peers)) == expected


def test_a_block_matches_pods_too_and_its_hole_is_no_denial() -> None:
    block = {"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.1.0/31"]}}
    assert reaching(ingress_of_a(block)) == {"x/b", "y/b"}
    assert reaching(ingress_of_a(block, {"ipBlock": {"cidr": "10.0.1.1/32"}})) == {"x/b", "y/a", "y/b"}


def test_a_block_with_host_bits_is_the_network_around_it() -> None:
    assert reaching(ingress_of_a({"ipBlock": {"cidr": "10.0.1.77/24"}})) == {"y/a", "y/b"}


def test_families_are_apart_even_at_prefix_length_zero() -> None:
    everything_v4, everything_v6 = (
        ingress_of_a({"ipBlock": {"cidr": "0.0.0.0/0"}}),
        ingress_of_a({"ipBlock": {"cidr": "::/0"}}),
    )
    assert reaching(everything_v4) == {"x/b", "y/a", "y/b", OUTSIDE}
    assert not everything_v4.passes("2001:db8::1", "x/a")
    assert reaching(everything_v6) == set()
    assert everything_v6.passes("2001:db8::1", "x/a")


def test_the_ports_of_a_containing_network_hold_inside_a_smaller_one() -> None:
    rules = [
        {"from": [{"ipBlock": {"cidr": "192.0.0.0/8"}}], "ports": [{"port": 80}]},
        {"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]},
    ]
    world = Reach([*CLUSTER, policy("x/p", ingress=rules)])
    assert world.passes(OUTSIDE, "x/a", "80/TCP")
    assert world.passes(OUTSIDE, "x/a", "443/TCP")
    assert not world.passes("192.0.3.1", "x/a", "443/TCP")


@pytest.mark.parametrize(("low", "high"), [(1, 65_535), (80, 81), (81, 82), (1023, 1025), (32_768, 65_535), (7, 7)])
def test_a_port_range_begins_and_ends_where_it_says(low: int, high: int) -> None:
    world = Reach([*CLUSTER, policy("x/p", ingress=[{"ports": [{"port": low, "endPort": high}]}])])
    for port in {low, high, (low + high) // 2}:
        assert world.passes(OUTSIDE, "x/a", f"{port}/TCP")
    for port in (low - 1, high + 1):
        assert port > 65_535 or not world.passes(OUTSIDE, "x/a", f"{port}/TCP")


def test_a_port_without_a_number_is_every_port_of_its_protocol_and_no_other_protocol() -> None:
    world = Reach([*CLUSTER, policy("x/p", ingress=[{"ports": [{"protocol": "SCTP"}]}])])
    assert world.passes(OUTSIDE, "x/a", "0/SCTP")
    assert world.passes(OUTSIDE, "x/a", "65535/SCTP")
    for other in ("80/TCP", "80/UDP", "icmp"):
        assert not world.passes(OUTSIDE, "x/a", other)


def test_a_port_without_a_protocol_is_tcp() -> None:
    world = Reach([*CLUSTER, policy("x/p", ingress=[{"ports": [{"port": 53}]}])])
    assert world.passes(OUTSIDE, "x/a", "53/TCP")
    assert not world.passes(OUTSIDE, "x/a", "53/UDP")


def test_one_named_port_of_ingress_means_other_numbers_on_other_pods() -> None:
    world = Reach([*CLUSTER, policy("x/p", ingress=[{"ports": [{"port": "web"}]}])])
    assert world.passes(OUTSIDE, "x/a", "80/TCP")
    assert world.passes(OUTSIDE, "x/b", "8080/TCP")
    assert not world.passes(OUTSIDE, "x/b", "80/TCP")
    assert not world.passes(OUTSIDE, "x/b", "53/UDP"), "the protocol has to match as well as the name"


def test_a_named_port_of_egress_is_the_destinations() -> None:
    world = Reach([*CLUSTER, policy("y/p", policyTypes=["Egress"], egress=[{"ports": [{"port": "web"}]}])])
    assert world.passes("y/a", "x/b", "8080/TCP")
    assert not world.passes("y/a", "x/b", "80/TCP")
    assert not world.passes("y/a", "y/b", "80/TCP"), "a pod without that name"
    assert not world.passes("y/a", OUTSIDE, "80/TCP"), "names are not known outside"


def test_a_named_port_of_a_container_beside_the_others_counts() -> None:
    beside = [{"restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 15_000}]}]
    extra = pod("x/c", "10.0.0.3", containers=[{}], initContainers=beside)
    world = Reach([*CLUSTER, extra, policy("x/p", ingress=[{"ports": [{"port": "side"}]}])])
    assert world.passes(OUTSIDE, "x/c", "15000/TCP")


def test_policies_add_up_whatever_their_order() -> None:
    allow = policy("x/z", podSelector={"matchLabels": {"app": "a"}}, ingress=[{"ports": [{"port": 80}]}])
    world = Reach([*CLUSTER, policy("x/deny"), allow])
    assert world.passes(OUTSIDE, "x/a", "80/TCP")
    assert not world.passes(OUTSIDE, "x/b", "80/TCP")


def test_both_ends_have_to_allow() -> None:
    receive = policy("y/p", ingress=[{}])
    assert not Reach([*CLUSTER, receive, policy("x/p", policyTypes=["Egress"])]).passes("x/a", "y/a")


@pytest.mark.parametrize("gone", [{"phase": "Succeeded"}, {"phase": "Failed"}, {"hostNetwork": True}])
def test_finished_and_host_network_pods_are_nobodys_peer(gone: dict[str, Any]) -> None:
    other = pod("x/c", "10.0.0.3", {"app": "b"}, **gone)
    objects = [*CLUSTER, other, policy("x/p", ingress=[{"from": [{"podSelector": {}}]}])]
    assert not Reach(objects).passes("10.0.0.3", "x/a")


def test_an_address_of_a_finished_pod_belongs_to_its_next_holder() -> None:
    old = pod("x/c", "10.0.0.3", {"app": "b"}, phase="Succeeded")
    young = pod("y/c", "10.0.0.3", {"app": "c"})
    peers = [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]
    assert Reach([*CLUSTER, old, young, policy("x/p", ingress=[{"from": peers}])]).passes("y/c", "x/a")


def test_the_own_node_and_oneself_are_never_kept_out() -> None:
    world = Reach([*CLUSTER, policy("x/p", policyTypes=["Ingress", "Egress"])], node=["10.0.0.254"])
    assert world.passes("10.0.0.254", "x/a")
    assert world.passes("x/a", "10.0.0.254")
    assert world.passes("x/a", "x/a")


def test_both_addresses_of_a_pod_carry_the_same_rulesets() -> None:
    both = pod("x/c", "10.0.0.3 fd00::3", {"app": "c"})
    world = Reach([*CLUSTER, both, policy("x/p", ingress=[{"from": [{"podSelector": {}}]}])])
    assert world.table.workloads[world.address("10.0.0.3")] == world.table.workloads[world.address("fd00::3")]


def test_replicas_share_rulesets_and_a_class_whatever_else_their_labels_say() -> None:
    replicas = [pod(f"x/r{number}", f"10.0.2.{number}", {"app": "r", "hash": str(number)}) for number in range(1, 9)]
    world = Reach(
        [*CLUSTER, *replicas, policy("x/p", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "r"}}}]}])]
    )
    assert len({world.table.classes[world.address(f"10.0.2.{number}")] for number in range(1, 9)}) == 1
    assert len({world.table.workloads[world.address(f"10.0.2.{number}")] for number in range(1, 9)}) == 1
