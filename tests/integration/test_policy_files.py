"""Policies from files to verdicts, and what happens to those in force when a file cannot be read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration import shop as manifests
from tests.support.agent import AgentProcess, agent_on
from tests.support.netns import TestNode, node

OPEN, SHUT = 7600, 7601
PATIENCE = 0.7  # s


@pytest.fixture(scope="module")
def town(root: None) -> Iterator[TestNode]:
    """Two pods that may talk to each other."""
    with node() as made:
        for name in ("client", "server"):
            made.add(name)
        yield made


def policy(*ports: int) -> dict[str, Any]:
    """Lets the client in to the server's ports."""
    allowed = [{"protocol": "UDP", "port": port} for port in ports]
    rule = {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": allowed}
    spec = {"podSelector": {"matchLabels": {"app": "server"}}, "ingress": [rule]}
    metadata = {"name": "server", "namespace": "shop"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def start(agent: AgentProcess) -> None:
    pods = [manifests.pod(name, [str(one.ip) for one in space.addresses]) for name, space in agent.node.spaces.items()]
    (agent.manifests / "pods.yaml").write_text(manifests.dump(*pods))
    (agent.manifests / "policy.yaml").write_text(manifests.dump(policy(OPEN)))
    agent.start()
    agent.until(lambda: passing(agent.node) == {OPEN})


def passing(town: TestNode) -> set[int]:
    """The ports on which a datagram of the client arrives."""
    return {port for port in (OPEN, SHUT) if arrives(town, port)}


def arrives(town: TestNode, port: int) -> bool:
    receiver = town.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM, workload="server")
    sender = town.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM, workload="client")
    with closing(receiver), closing(sender):
        receiver.settimeout(PATIENCE)
        receiver.bind(("", port))
        sender.sendto(b"data", (str(town.spaces["server"].addresses[0].ip), port))
        try:
            return receiver.recv(100) == b"data"
        except TimeoutError:
            return False


def warnings(agent: AgentProcess) -> str:
    return " ".join(agent.status().get("warnings", []))


def test_a_policy_comes_and_goes_with_its_file(town: TestNode, tmp_path: Path) -> None:
    with agent_on(town, tmp_path) as agent:
        start(agent)
        (agent.manifests / "policy.yaml").write_text(manifests.dump(policy(SHUT)))
        agent.until(lambda: passing(town) == {SHUT})
        (agent.manifests / "policy.yaml").unlink()
        agent.until(lambda: passing(town) == {OPEN, SHUT})


def test_an_agent_that_starts_on_a_broken_file_keeps_what_is_in_force_and_says_so(
    town: TestNode, tmp_path: Path
) -> None:
    with agent_on(town, tmp_path) as agent:
        start(agent)
        agent.kill()
        (agent.manifests / "policy.yaml").write_text("spec: [")
        agent.start()
        assert passing(town) == {OPEN}
        assert "policy.yaml cannot be read and may hold policies" in warnings(agent)
        (agent.manifests / "policy.yaml").write_text(manifests.dump(policy(SHUT)))
        agent.until(lambda: passing(town) == {SHUT})
        assert not warnings(agent)
