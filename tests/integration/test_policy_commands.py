"""`remora policy` asked of a live agent: what is in force, why, and what a change would do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import shop as manifests
from tests.integration.test_policy_files import OPEN, SHUT, passing, policy, start
from tests.support.agent import AgentProcess, agent_on
from tests.support.netns import node

RULE = "ingress rule 1 of shop/server"
WIDTH = 100


@pytest.fixture(scope="module")
def agent(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """Two pods, of which the server lets one port in; both ports were tried."""
    with node() as made, agent_on(made, tmp_path_factory.mktemp("policy")) as running:
        for name in ("client", "server"):
            made.add(name)
        start(running)
        yield running


def test_the_list_names_policies_with_their_hits(agent: AgentProcess) -> None:
    (found,) = agent.json("policy", "list")["policies"]
    assert (found["namespace"], found["name"], found["isolates"]) == ("shop", "server", ["ingress"])
    assert found["workloads"] == ["shop/server"]
    assert int(found["rules"][0]["hits"]) > 0
    assert int(found["default_denials"]) > 0
    assert "shop/server" in agent.remora("policy", "list")
    assert agent.status()["policies"] == 1
    assert agent.status()["restricted"] == 1


def test_one_policy_is_told_with_its_rules(agent: AgentProcess) -> None:
    text = agent.remora("policy", "get", "shop/server")
    assert f"{OPEN}/UDP" in text
    assert "pods app=client in shop" in text
    assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.parametrize(("port", "passes"), [(OPEN, True), (SHUT, False)])
def test_an_explanation_names_the_rule_and_the_kernel_agrees(agent: AgentProcess, port: int, passes: bool) -> None:
    asked = ("policy", "explain", "--from", "client", "--to", "shop/server", "--port", f"{port}/UDP", "--live")
    found = agent.json(*asked)
    assert bool(found.get("passes")) is passes
    assert not found.get("differs")
    ingress = next(side for side in found["sides"] if side["direction"] == "ingress")
    assert ingress["live"].startswith("allowed" if passes else "denied")
    if not passes:
        assert f"peer matched, port {SHUT}/UDP not in rule 1 of shop/server" in ingress["misses"]
    assert max(map(len, agent.remora(*asked).splitlines())) <= WIDTH


def test_the_world_is_denied_by_isolation(agent: AgentProcess) -> None:
    text = agent.remora("policy", "explain", "--from", "world", "--to", "server", "--port", f"{OPEN}/UDP")
    assert "isolated by shop/server" in text
    assert "world was asked with" in text


def test_who_is_not_known_is_said(agent: AgentProcess) -> None:
    agent.remora("policy", "explain", "--from", "nobody", "--to", "server", "--port", "1/TCP", ok=(1,))
    agent.remora("policy", "explain", "--from", "client", "--to", "server", "--port", "http", ok=(2,))
    agent.remora("policy", "get", "absent", ok=(1,))


def test_coverage_tells_what_is_open(agent: AgentProcess) -> None:
    text = agent.remora("policy", "coverage")
    assert "0 of 2 workloads here are isolated both ways" in text
    assert "shop/client" in text


def test_a_dropped_flow_carries_policy_and_rule(agent: AgentProcess) -> None:
    assert passing(agent.node) == {OPEN}
    dropped = agent.until(lambda: agent.flows("--verdict", "DROPPED"))
    assert dropped[-1]["ingress_denied_by"] == [{"name": "server", "namespace": "shop", "kind": "NetworkPolicy"}]
    assert "ingress isolation by shop/server" in agent.remora("observe", "--verdict", "DROPPED", "--last", "1")
    passed = [flow for flow in agent.flows("--to-port", str(OPEN)) if flow.get("ingress_allowed_by")]
    assert passed
    assert passed[-1]["policy_match_type"] == 2


def test_what_is_suggested_denies_nothing_that_was_seen(agent: AgentProcess, tmp_path: Path) -> None:
    suggested = tmp_path / "suggested.yaml"
    suggested.write_text(agent.remora("policy", "suggest", "-n", "shop"))
    found = agent.json("policy", "test", "-f", str(suggested), "--alone")
    assert found["asked"]
    assert not found["denied"]
    recorded = tmp_path / "flows.json"
    recorded.write_text(agent.remora("observe", "--all", "-o", "jsonpb"))
    agent.remora("policy", "test", "-f", str(suggested), "--input", str(recorded))


def test_a_candidate_that_denies_what_was_seen_fails(agent: AgentProcess, tmp_path: Path) -> None:
    candidate = tmp_path / "candidate.yaml"
    candidate.write_text(manifests.dump(policy(SHUT)))
    text = agent.remora("policy", "test", "-f", str(candidate), ok=(1,))
    assert "would be DENIED, and passed" in text
    assert f"{OPEN}/UDP" in text
    assert max(map(len, text.splitlines())) <= WIDTH
    candidate.write_text("kind: NetworkPolicy\n")
    agent.remora("policy", "test", "-f", str(candidate), ok=(1,))
