"""What happened while no agent ran is made good when one starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration import shop as manifests
from tests.support.agent import AgentProcess, agent_on
from tests.support.netns import TestNode, node

WHOAMI = Path(__file__).parents[1] / "support" / "whoami.py"
VIP, PORT, TARGET = "10.96.0.53", 53, 8080
CLIENT = """
import socket
through, direct = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
through.connect(({vip!r}, {port}))
direct.connect(({backend!r}, {target}))
for one in (through, direct):
    one.settimeout(20)
    one.send(b"?")
    print(one.recv(99).decode().split()[0], flush=True)
try:
    through.recv(99)
except OSError as error:
    print(type(error).__name__, flush=True)
direct.send(b"?")
print(direct.recv(99).decode().split()[0], flush=True)
through = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
through.connect(({vip!r}, {port}))
through.send(b"?")
print(through.recv(99).decode().split()[0], flush=True)
"""


@dataclass
class Town:
    node: TestNode
    agent: AgentProcess

    def address(self, workload: str) -> str:
        return str(self.node.spaces[workload].addresses[0].ip)

    def announce(self, workload: str) -> None:
        """Make it the only backend of the Service."""
        documents = (
            manifests.service("dns", [VIP], PORT, TARGET, protocol="UDP"),
            manifests.endpoint_slice("dns", [self.address(workload)], TARGET, protocol="UDP"),
        )
        (self.agent.manifests / "dns.yaml").write_text(manifests.dump(*documents))


@pytest.fixture
def town(root: None, tmp_path: Path) -> Iterator[Town]:
    with node() as made, agent_on(made, tmp_path) as agent:
        made.add("client")
        for workload in ("old", "new"):
            made.add(workload)
            server = made.popen([sys.executable, str(WHOAMI), workload, str(TARGET)], workload, stdout=subprocess.PIPE)
            assert server.stdout
            assert server.stdout.readline() == b"ready\n"
        yield Town(made, agent)


def test_a_connected_udp_socket_leaves_a_backend_that_went_while_no_agent_ran(town: Town) -> None:
    town.announce("old")
    town.agent.start()
    code = CLIENT.format(vip=VIP, port=PORT, backend=town.address("old"), target=TARGET)
    client = town.node.popen([sys.executable, "-c", code], "client", stdout=subprocess.PIPE)
    assert client.stdout
    assert [client.stdout.readline() for _ in range(2)] == [b"old\n", b"old\n"]
    town.agent.kill()
    town.announce("new")
    town.agent.start()
    out, _ = client.communicate(timeout=25)
    assert out.decode().split() == ["ConnectionAbortedError", "old", "new"]
