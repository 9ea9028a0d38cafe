"""domainNames of ClusterNetworkPolicies: DNS answers of workloads open the way, and nobody is cut when they end."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration import shop as manifests
from tests.support.agent import AgentProcess, agent_on
from tests.support.netns import TestNode, node

NAME, PORT, DNS = "api.example.org", 7700, 53
PATIENCE = 0.5  # s
TTL = 2  # s


@pytest.fixture(scope="module")
def town(root: None) -> Iterator[TestNode]:
    """A pod, a name server, and a server that is nobody's pod."""
    with node() as made:
        for name in ("client", "names", "outside"):
            made.add(name)
        yield made


def rules() -> str:
    """The client reaches the name server and what the name stands for."""
    to_names = {"action": "Accept", "to": [{"pods": {"podSelector": {"matchLabels": {"app": "names"}}}}]}
    by_name = {"action": "Accept", "to": [{"domainNames": [NAME]}]}
    nobody_else = {"action": "Deny", "to": [{"networks": ["0.0.0.0/0", "::/0"]}]}
    subject = {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "client"}}}}
    spec = {"tier": "Admin", "priority": 1, "subject": subject, "egress": [to_names, by_name, nobody_else]}
    version = "policy.networking.k8s.io/v1alpha2"
    return manifests.dump(
        {"apiVersion": version, "kind": "ClusterNetworkPolicy", "metadata": {"name": "names"}, "spec": spec}
    )


def start(agent: AgentProcess) -> None:
    pods = [
        manifests.pod(name, [str(one.ip) for one in agent.node.spaces[name].addresses]) for name in ("client", "names")
    ]
    (agent.manifests / "pods.yaml").write_text(manifests.dump(*pods))
    (agent.manifests / "policy.yaml").write_text(rules())
    agent.start()


def address(town: TestNode, name: str) -> str:
    return str(town.spaces[name].addresses[0].ip)


def ask(town: TestNode) -> None:
    """The client asks for the name and is told the server's address."""
    question = (
        b"".join(bytes([len(word)]) + word.encode() for word in NAME.split(".")) + b"\0" + struct.pack("!HH", 1, 1)
    )
    answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, TTL, 4) + socket.inet_aton(address(town, "outside"))
    server = town.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM, workload="names")
    client = town.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM, workload="client")
    with closing(server), closing(client):
        server.settimeout(PATIENCE)
        server.bind(("", DNS))
        client.sendto(struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + question, (address(town, "names"), DNS))
        _, sender = server.recvfrom(512)
        server.sendto(struct.pack("!HHHHHH", 7, 0x8180, 1, 1, 0, 0) + question + answer, sender)


def listener(town: TestNode) -> socket.socket:
    made = town.run(socket.socket, socket.AF_INET, socket.SOCK_STREAM, workload="outside")
    made.bind(("", PORT))
    made.listen()
    return made


def connected(town: TestNode) -> socket.socket | None:
    """The client's connection; None where its SYN is dropped."""
    made = town.run(socket.socket, socket.AF_INET, socket.SOCK_STREAM, workload="client")
    made.settimeout(PATIENCE)
    try:
        made.connect((address(town, "outside"), PORT))
    except TimeoutError:
        made.close()
        return None
    return made


def reaches(town: TestNode) -> bool:
    made = connected(town)
    if made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        made.close()
    return made is not None


def test_a_name_opens_the_way_until_its_time_is_over_and_cuts_nobody(town: TestNode, tmp_path: Path) -> None:
    with agent_on(town, tmp_path) as agent, closing(listener(town)) as server:
        start(agent)
        agent.until(lambda: not reaches(town))
        ask(town)
        stays = agent.until(lambda: connected(town))
        served, _ = server.accept()
        with closing(stays), closing(served):
            agent.kill()
            agent.start()
            (agent.manifests / "more.yaml").write_text(manifests.dump(manifests.pod("late", ["10.244.9.9"])))
            agent.until(lambda: len(agent.json("endpoint", "list").get("endpoints", [])) >= 4)
            stays.sendall(b"still here")
            served.settimeout(5)
            assert served.recv(100) == b"still here"
            stays.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        agent.until(lambda: not reaches(town), 60)
