"""`remora connectivity test` against a real agent: what it says, and that it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.connectivity.objects import FILE, NAMESPACE
from daemon.connectivity.site import DEVICES
from tests.support.agent import REMORA, ROOT, AgentProcess, agent_on
from tests.support.netns import node

MINE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: mine}\n"

DENY = f"""apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: nobody, namespace: {NAMESPACE}}}
spec:
  podSelector: {{matchLabels: {{app: echo}}}}
  policyTypes: [Ingress]
"""


@pytest.fixture(scope="module")
def agent(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent on a node without workloads, with a manifest of the user's own."""
    with node() as made, agent_on(made, tmp_path_factory.mktemp("agent")) as started:
        (started.manifests / "mine.yaml").write_text(MINE)
        started.start()
        yield started


def nothing_is_left(agent: AgentProcess) -> bool:
    """No namespace, device, process, cgroup or file of the test; the user's own file is as it was."""
    spaces = [path.name for path in Path("/run/netns").iterdir() if path.name.startswith(NAMESPACE)]
    devices = [line for line in agent.node.output(["ip", "-br", "link"]).splitlines() if line.startswith(DEVICES)]
    files = sorted(path.name for path in agent.manifests.iterdir())
    same = files == ["mine.yaml"] and (agent.manifests / "mine.yaml").read_text() == MINE
    return same and not spaces and not devices and not (agent.node.cgroup / NAMESPACE).exists()


def begin(agent: AgentProcess) -> subprocess.Popen[bytes]:
    """Start the test in the background, and wait until it has handed over its objects."""
    environment = os.environ | {"REMORA_SERVER": agent.server, "PYTHONPATH": str(ROOT)}
    test = subprocess.Popen([*REMORA, "connectivity", "test"], env=environment, stdout=subprocess.DEVNULL)
    agent.until((agent.manifests / FILE).exists, 30)
    return test


def checks(agent: AgentProcess, **how: Any) -> dict[str, dict[str, Any]]:
    return {one["what"]: one for one in agent.json("connectivity", "test", **how)["checks"]}


def test_a_healthy_agent_passes_every_check_and_nothing_is_left(agent: AgentProcess) -> None:
    found = checks(agent)
    assert {one["job"] for one in found.values()} == {"agent", "steer", "guard", "watch"}
    assert [what for what, one in found.items() if one["outcome"] != "ok"] == []
    assert nothing_is_left(agent)


def test_what_does_not_work_fails_with_where_to_look(agent: AgentProcess) -> None:
    """A policy of the user's own keeps the test's client from everybody."""
    (agent.manifests / "deny.yaml").write_text(DENY)
    try:
        found = checks(agent, ok=(1,))
    finally:
        (agent.manifests / "deny.yaml").unlink()
    failed = found["ClusterIP reaches both backends"]
    assert (failed["outcome"], "[timeout]" in failed["words"]) == ("failed", True)
    assert "remora verify" in failed["hint"]
    assert found["an empty Service is refused at once"]["outcome"] == "ok"
    assert nothing_is_left(agent)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_test_cleans_up(agent: AgentProcess, number: signal.Signals) -> None:
    test = begin(agent)
    time.sleep(0.5)
    test.send_signal(number)
    assert test.wait(30) == 128 + number
    assert nothing_is_left(agent)


def test_what_a_killed_test_left_is_removed_by_the_next_one(agent: AgentProcess) -> None:
    test = begin(agent)
    test.kill()
    test.wait()
    assert not nothing_is_left(agent)
    assert checks(agent)["ClusterIP reaches both backends"]["outcome"] == "ok"
    assert nothing_is_left(agent)


def test_two_tests_at_once_are_refused(agent: AgentProcess) -> None:
    test = begin(agent)
    agent.remora("connectivity", "test", ok=(1,))
    assert (agent.manifests / FILE).exists(), "the first one goes on"
    assert test.wait(60) == 0


def test_the_death_of_the_agent_keeps_nothing_from_being_removed(agent: AgentProcess) -> None:
    test = begin(agent)
    agent.kill()
    try:
        assert test.wait(60) in (1, 3)
        assert nothing_is_left(agent)
    finally:
        agent.start()
