"""Why: the rule, or who isolates and what came nearest."""

from __future__ import annotations

from daemon.policy.explain import Missing, explain
from tests.support.policies import Object, cluster_policy, containers, namespace, pod, policy
from tests.support.policy_reach import Reach

CLUSTER: tuple[Object, ...] = (
    namespace("db"),
    namespace("shop"),
    pod("db/pg", "10.0.0.1", {"app": "pg"}, containers=containers(("pg", "TCP", 5432))),
    pod("shop/api", "10.0.0.2", {"app": "api"}),
    pod("shop/web", "10.0.0.3", {"app": "web"}),
)
FROM_API = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "api"}}}
ALLOW_API = policy(
    "db/allow-api",
    ingress=[{"from": [{"podSelector": {}}]}, {"from": [FROM_API], "ports": [{"port": "pg"}]}],
)


def text(world: Reach, source: str, destination: str, port: str) -> str:
    return explain(world.compiler, world.table, world.packet(source, destination, port)).text


def test_an_allowed_packet_names_the_rule() -> None:
    world = Reach([*CLUSTER, ALLOW_API])
    found = text(world, "shop/api", "db/pg", "5432/TCP").splitlines()
    assert found == [
        "egress: allowed, no policy restricts it",
        "ingress: allowed by ingress rule 2 of db/allow-api (Allow)",
    ]


def test_a_default_deny_names_who_isolates_and_the_port_that_is_missing() -> None:
    world = Reach([*CLUSTER, ALLOW_API, policy("db/deny")])
    assert text(world, "shop/api", "db/pg", "5433/TCP").splitlines()[1] == (
        "ingress: denied, isolated by db/allow-api, db/deny and no rule allows it; "
        "nearest: peer matched, port 5433/TCP not in rule 2 of db/allow-api"
    )


def test_a_rule_with_the_right_port_and_the_wrong_peer_is_the_next_nearest() -> None:
    world = Reach([*CLUSTER, policy("db/p", ingress=[{"from": [FROM_API], "ports": [{"port": "pg"}]}])])
    side = explain(world.compiler, world.table, world.packet("shop/web", "db/pg", "5432/TCP")).sides[1]
    assert [miss.missing for miss in side.misses] == [Missing.PEER]
    assert side.misses[0].text == "port 5432/TCP matched, peer not in rule 1 of db/p"


def test_a_default_deny_without_any_rule_has_no_nearest() -> None:
    world = Reach([*CLUSTER, policy("shop/deny", policyTypes=["Egress"])])
    assert text(world, "shop/web", "192.0.2.1", "80/TCP").splitlines()[0] == (
        "egress: denied, isolated by shop/deny and no rule allows it"
    )


def test_an_explicit_denial_is_told_by_the_rules_name() -> None:
    rule = {"name": "no shop", "action": "Deny", "from": [{"namespaces": {}}]}
    world = Reach([*CLUSTER, cluster_policy("guard", ingress=[rule])])
    assert text(world, "shop/web", "db/pg", "icmp").splitlines()[1] == (
        'ingress: denied by ingress rule 1 "no shop" of cluster policy guard (Deny)'
    )


def test_an_audited_denial_says_that_it_would_be() -> None:
    world = Reach([*CLUSTER, policy("db/p", annotations={"remora.io/mode": "audit"})])
    found = explain(world.compiler, world.table, world.packet("shop/web", "db/pg", "80/TCP"))
    assert found.passes
    assert "would be denied (audit), isolated by db/p" in found.text
