"""`remora connectivity test --kubernetes` with an API server, a kubelet and a real agent: checks, and nothing left."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daemon.connectivity.objects import NAMESPACE, PODS
from tests.support.agent import REMORA, ROOT, AgentProcess, agent_on
from tests.support.apiserver_process import Remote
from tests.support.kubelet import Kubelet, kubelet
from tests.support.netns import TestNode, node

DENY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "nobody", "namespace": NAMESPACE},
    "spec": {"podSelector": {"matchLabels": {"app": "echo"}}, "policyTypes": ["Ingress"]},
}


@dataclass
class Town:
    node: TestNode
    api: Remote
    agent: AgentProcess
    kubelet: Kubelet
    kubeconfig: Path

    def begin(self, *more: str) -> subprocess.Popen[bytes]:
        """The command, as an operator runs it who reaches the API server and the agent."""
        argv = [*REMORA, "connectivity", "test", "--kubernetes", "--kubeconfig", str(self.kubeconfig), *more]
        environment = {"REMORA_SERVER": self.agent.server, "PYTHONPATH": str(ROOT)}
        return self.node.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, environment=environment)

    def checks(self, code: int = 0) -> dict[str, dict[str, Any]]:
        test = self.begin("-o", "json")
        out, complaint = test.communicate(timeout=120)
        assert test.returncode == code, (out, complaint)
        return {one["what"]: one for one in json.loads(out)["checks"]}

    def nothing_is_left(self) -> bool:
        """No pod runs, and the agent knows nothing of the test any more."""
        self.agent.until(lambda: not self.kubelet.pods)
        known = self.agent.json("service", "list").get("services", [])
        return not any(one["namespace"] == NAMESPACE for one in known)


@pytest.fixture(scope="module")
def town(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("cluster")
    with node() as made:
        api = Remote.start(made.popen, folder)
        path = api.kubeconfig(folder)
        api.tell(put=[own_node(made), agents_pod()])
        with agent_on(made, folder, source="kubernetes", kubeconfig=str(path)) as agent, kubelet(made, api) as small:
            agent.start()
            yield Town(made, api, agent, small, path)


def own_node(made: TestNode) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": str(made.gateways[0].ip)}]
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}, "status": {"addresses": addresses}}


def agents_pod() -> dict[str, Any]:
    meta = {"name": "remora-x", "namespace": "kube-system", "labels": {"app.kubernetes.io/name": "remora"}}
    spec = {"nodeName": "node-1", "hostNetwork": True, "containers": [{"name": "agent", "image": "localhost/remora:1"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {"phase": "Running"}}


def test_a_healthy_node_passes_every_check_and_nothing_is_left(town: Town) -> None:
    found = town.checks()
    assert {one["job"] for one in found.values()} == {"agent", "steer", "guard", "watch"}
    assert [(what, one["words"]) for what, one in found.items() if one["outcome"] != "ok"] == []
    assert town.nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_test_removes_its_namespace(town: Town, number: signal.Signals) -> None:
    test = town.begin()
    town.agent.until(lambda: town.kubelet.pods >= {PODS[0]}, 30)
    test.send_signal(number)
    assert test.wait(60) == 128 + number
    assert town.nothing_is_left()


def test_what_does_not_work_fails_with_where_to_look(town: Town) -> None:
    test = town.begin("-o", "json")
    town.agent.until(lambda: town.kubelet.pods, 30)
    town.api.tell(put=[DENY])
    out, _ = test.communicate(timeout=120)
    assert test.returncode == 1
    failed = next(one for one in json.loads(out)["checks"] if one["what"] == "ClusterIP reaches both backends")
    assert (failed["outcome"], "[timeout]" in failed["words"]) == ("failed", True)
    assert "remora verify" in failed["hint"]
    assert town.nothing_is_left()


def test_a_namespace_of_somebody_else_and_a_test_at_work_are_left_alone(town: Town) -> None:
    test = town.begin()
    town.agent.until(lambda: town.kubelet.pods, 30)
    second = town.begin()
    _, complaint = second.communicate(timeout=60)
    assert second.returncode == 1
    assert b"a connectivity test runs in this cluster" in complaint
    assert test.wait(120) == 0
    town.api.tell(put=[{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    third = town.begin()
    _, complaint = third.communicate(timeout=60)
    assert (third.returncode, b"is not one of this test" in complaint) == (1, True)
    town.api.tell(delete=["Namespace", "", NAMESPACE])


def test_a_right_that_is_missing_is_told_and_nothing_is_left(town: Town) -> None:
    town.api.tell(forbid=["NetworkPolicy"])
    test = town.begin()
    _, complaint = test.communicate(timeout=60)
    town.api.tell(forbid=[])
    assert test.returncode == 1
    assert b"docs/operate.md says which rights it needs" in complaint
    assert town.nothing_is_left()
