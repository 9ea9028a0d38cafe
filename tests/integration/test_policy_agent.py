"""The agent's own part: guards for pods, sources that are checked, and what holds before the first verdict."""

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

PORT, UDP = 7500, 17
PATIENCE = 0.7  # s


@pytest.fixture(scope="module")
def town(root: None) -> Iterator[TestNode]:
    """Two workloads; only the client is a pod."""
    with node() as made:
        for name in ("client", "server"):
            made.add(name)
        yield made


def start(agent: AgentProcess, *pods: str) -> None:
    """Start with these workloads as pods, and wait until they are guarded."""
    write(agent, *pods)
    agent.start()
    guarded(agent, len(pods))


def write(agent: AgentProcess, *pods: str) -> None:
    found = [manifests.pod(name, [str(one.ip) for one in agent.node.spaces[name].addresses]) for name in pods]
    (agent.manifests / "pods.yaml").write_text(manifests.dump(*found))


def guarded(agent: AgentProcess, count: int) -> None:
    agent.until(lambda: fill(agent, "guards") == count)


def fill(agent: AgentProcess, name: str) -> int:
    return next(int(one.get("entries", 0)) for one in agent.status()["maps"] if one["name"] == name)


def arrives(town: TestNode, source: str) -> bool:
    """Does a datagram that the client sends from an address get to the server?"""
    receiver = town.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM, workload="server")
    sender = town.run(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW, workload="client")
    target = str(town.spaces["server"].addresses[0].ip)
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, UDP, 0) + ends
    with closing(receiver), closing(sender):
        receiver.settimeout(PATIENCE)
        receiver.bind(("", PORT))
        sender.sendto(head + struct.pack("!HHHH", 5555, PORT, 12, 0) + b"data", (target, 0))
        try:
            return receiver.recv(100) == b"data"
        except TimeoutError:
            return False


def test_a_pod_sends_from_its_own_address_only(town: TestNode, tmp_path: Path) -> None:
    own = str(town.spaces["client"].addresses[0].ip)
    with agent_on(town, tmp_path) as agent:
        start(agent, "client")
        assert arrives(town, own)
        assert not arrives(town, "10.244.1.77")
        agent.until(lambda: [flow for flow in agent.flows() if flow.get("drop_reason_desc") == "INVALID_SOURCE_IP"])


def test_a_setting_leaves_sources_unchecked(town: TestNode, tmp_path: Path) -> None:
    with agent_on(town, tmp_path, source_check=False) as agent:
        start(agent, "client")
        assert arrives(town, "10.244.1.77")


def test_where_the_setting_says_so_nothing_passes_before_the_workload_is_known(town: TestNode, tmp_path: Path) -> None:
    own = str(town.spaces["client"].addresses[0].ip)
    with agent_on(town, tmp_path, policy_default="deny") as agent:
        start(agent, "client")
        assert not arrives(town, own), "the server is no pod"
        write(agent, "client", "server")
        guarded(agent, 2)
        assert arrives(town, own)
        agent.kill()
        assert arrives(town, own)
