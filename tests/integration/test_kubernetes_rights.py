"""An agent that may not read policies: it serves, tells what is missing, and leaves in force what it finds in force."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration import shop as manifests
from tests.support.agent import AgentProcess, agent_on
from tests.support.apiserver_process import Remote
from tests.support.netns import TestNode, node
from tests.support.whoami import __file__ as WHOAMI

VIP, PORT = "10.96.0.30", 8080
PATIENCE = 1  # s
KINDS = ["NetworkPolicy", "ClusterNetworkPolicy"]


@dataclass
class Town:
    node: TestNode
    api: Remote
    agent: AgentProcess

    def reaches(self) -> bool:
        """Whether the client gets through to the server, under the Service's address."""
        code = f"import socket; socket.create_connection(({VIP!r}, 80), timeout={PATIENCE})"
        client = self.node.popen([sys.executable, "-c", code], "client", stderr=subprocess.DEVNULL)
        return client.wait(20) == 0

    def restart(self) -> None:
        self.agent.kill()
        self.agent.start()

    def part(self, name: str) -> Any:
        """One of the parts in `remora status`."""
        return next(one for one in self.agent.status()["subsystems"] if one["name"] == name)

    def enforced(self) -> int:
        return int(self.agent.status().get("policies", 0))


@pytest.fixture
def town(root: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Town]:
    """A client and a server behind a Service, and a policy that lets nobody in; `request.param` are settings."""
    with node() as made:
        api = Remote.start(made.popen, tmp_path)
        source = {"source": "kubernetes", "kubeconfig": str(api.kubeconfig(tmp_path))}
        with agent_on(made, tmp_path, **source, **getattr(request, "param", {})) as agent:
            for name in ("client", "server"):
                made.add(name)
            server = made.popen([sys.executable, WHOAMI, "server", str(PORT)], "server", stdout=subprocess.PIPE)
            assert server.stdout
            assert server.stdout.readline()
            api.tell(put=objects(made))
            yield Town(made, api, agent)


def objects(made: TestNode) -> list[dict[str, Any]]:
    addresses = {name: [str(one.ip) for one in made.spaces[name].addresses] for name in ("client", "server")}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "nobody", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]},
    }
    return [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}},
        *(manifests.pod(name, found) for name, found in addresses.items()),
        manifests.service("server", [VIP], 80, PORT),
        manifests.endpoint_slice("server", addresses["server"][:1], PORT),
        policy,
    ]


def test_without_the_right_to_read_policies_services_work_and_the_missing_rule_is_told(town: Town) -> None:
    town.api.tell(forbid=KINDS)
    town.agent.start()
    assert town.reaches()
    assert "degraded" in town.agent.remora("status", ok=(1,))
    (warning,) = town.part("policy")["warnings"]
    assert warning.startswith("networkpolicies, clusternetworkpolicies cannot be read")
    words = "\n".join(town.part("sources")["warnings"])
    for text in (words, town.agent.log):
        assert "resources: [networkpolicies], verbs: [list, watch]" in text
    town.api.tell(forbid=[])
    town.agent.until(lambda: town.enforced() == 1, 30)
    assert not town.reaches()
    town.agent.until(lambda: town.agent.status()["health"] == "HEALTH_OK")


def test_policies_that_were_in_force_stay_so_for_an_agent_that_may_not_read_them(town: Town) -> None:
    town.agent.start()
    town.agent.until(lambda: town.enforced() == 1)
    assert not town.reaches()
    town.api.tell(forbid=KINDS)
    town.restart()
    assert not town.reaches()
    (warning,) = town.part("policy")["warnings"]
    assert "those of the agent before stay in force" in warning
    town.api.tell(delete=["NetworkPolicy", "shop", "nobody"])
    town.api.tell(forbid=[])
    town.agent.until(town.reaches, 30)


@pytest.mark.parametrize("town", [{"policy_default": "deny"}], indirect=True)
def test_where_nothing_may_pass_unjudged_nothing_does_before_policies_can_be_read(town: Town) -> None:
    town.api.tell(forbid=KINDS)
    town.agent.start()
    assert not town.reaches()
    (warning,) = town.part("policy")["warnings"]
    assert "nothing passes (`policy_default`)" in warning
    town.api.tell(delete=["NetworkPolicy", "shop", "nobody"])
    town.api.tell(forbid=[])
    town.agent.until(town.reaches, 30)
