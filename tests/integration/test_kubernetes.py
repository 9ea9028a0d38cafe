"""The agent with an API server as its source: what it programs, and that nothing but a full answer changes it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration import shop as manifests
from tests.support.agent import AgentProcess, agent_on
from tests.support.apiserver_process import Remote
from tests.support.netns import TestNode, node
from tests.support.whoami import __file__ as WHOAMI

VIP, OTHER_VIP, PORT = "10.96.0.20", "10.96.0.21", 8080


@dataclass
class Town:
    node: TestNode
    api: Remote
    agent: AgentProcess

    def address(self, workload: str) -> str:
        return str(self.node.spaces[workload].addresses[0].ip)

    def asked(self, vip: str) -> str:
        """Who answers a connection to a Service."""
        code = f"import socket; print(socket.create_connection(({vip!r}, 80), timeout=5).recv(99).decode().split()[0])"
        return self.node.output([sys.executable, "-c", code], "client").strip()

    def vips(self) -> set[str]:
        return {one["address"] for one in self.agent.json("service", "list").get("services", [])}


@pytest.fixture
def town(root: None, tmp_path: Path) -> Iterator[Town]:
    with node() as made:
        api = Remote.start(made.popen, tmp_path)
        path = api.kubeconfig(tmp_path)
        with agent_on(made, tmp_path, source="kubernetes", kubeconfig=str(path)) as agent:
            for workload in ("client", "backend"):
                made.add(workload)
            server = made.popen([sys.executable, WHOAMI, "backend", str(PORT)], "backend", stdout=subprocess.PIPE)
            assert server.stdout
            assert server.stdout.readline()
            built = Town(made, api, agent)
            api.tell(put=objects(built))
            yield built


def objects(town: Town, vip: str = VIP) -> list[dict[str, object]]:
    return [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}},
        manifests.pod("client", [town.address("client")]),
        manifests.pod("backend", [town.address("backend")]),
        manifests.service("backend", [vip], 80, PORT),
        manifests.endpoint_slice("backend", [town.address("backend")], PORT),
    ]


def test_a_service_of_the_api_server_is_served(town: Town) -> None:
    town.agent.start()
    assert town.vips() == {VIP}
    assert town.asked(VIP) == "backend"
    (source,) = town.agent.status()["sources"]
    assert (source["kind"], source["path"]) == ("kubernetes", town.api.url)
    assert "not-a-real-one" not in town.agent.log


def test_changes_reach_the_kernel_in_milliseconds(town: Town) -> None:
    town.agent.start()
    town.api.tell(put=[manifests.service("backend", [OTHER_VIP], 80, PORT)])
    town.agent.until(lambda: town.vips() == {OTHER_VIP}, 3)
    assert town.asked(OTHER_VIP) == "backend"
    town.api.tell(delete=["Service", "shop", "backend"])
    town.agent.until(lambda: town.vips() == set(), 3)


def test_a_server_that_is_gone_changes_nothing_and_is_told_with_its_age(town: Town) -> None:
    town.agent.start()
    town.api.tell(down=True)

    def told() -> str:
        return "\n".join(town.agent.status().get("warnings", []))

    town.agent.until(lambda: "what is known stays in force" in told())
    assert town.asked(VIP) == "backend"
    time.sleep(1.5)
    (source,) = town.agent.status()["sources"]
    assert int(source["age_ns"]) > 1e9
    assert town.agent.remora("status", ok=(1,))
    town.api.tell(clear=True)
    town.api.tell(put=objects(town, OTHER_VIP))
    town.api.tell(down=False)
    came_back = time.monotonic()
    town.agent.until(lambda: town.vips() == {OTHER_VIP}, 5)
    assert time.monotonic() - came_back < 5
    town.agent.until(lambda: town.agent.status()["health"] == "HEALTH_OK")


def test_an_agent_that_finds_no_server_leaves_what_its_predecessor_programmed(town: Town) -> None:
    town.agent.start()
    assert town.asked(VIP) == "backend"
    town.api.tell(down=True)
    town.agent.kill()
    assert town.asked(VIP) == "backend"
    town.agent.start()
    assert town.asked(VIP) == "backend"
    warnings = town.agent.status()["warnings"]
    assert any("nothing is in force yet" in one or "not heard" in one for one in warnings), warnings
    town.api.tell(down=False)
    town.agent.until(lambda: town.vips() == {VIP})
    assert town.asked(VIP) == "backend"
