"""What an operator has at night: a state for each part, an archive to hand on, a clear word at a second start."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import shop as manifests
from tests.support.agent import REMORA, ROOT, AgentProcess, agent_on
from tests.support.netns import node

SECRET = "s3cr3tS3CR3Ts3cr3t"


@pytest.fixture(scope="module")
def agent(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent with a pod, a Service, and secrets wherever a user may have put them."""
    folder = tmp_path_factory.mktemp("agent")
    (folder / "kubeconfig").write_text(f"users: [{{user: {{token: {SECRET}}}}}]\n")
    with node() as made:
        made.add("backend-0")
        settings = {"kubeconfig": str(folder / "kubeconfig"), "api_server": f"https://admin:{SECRET}@10.0.0.1:6443"}
        with agent_on(made, folder, **settings) as started:
            write(started)
            started.start()
            yield started


def write(agent: AgentProcess) -> None:
    addresses = [str(one.ip) for one in agent.node.spaces["backend-0"].addresses]
    pod = manifests.pod("backend-0", addresses)
    pod["metadata"]["annotations"] = {"example.com/token": SECRET}
    pod["spec"]["containers"] = [{"name": "one", "env": [{"name": "PASSWORD", "value": SECRET}]}]
    service = manifests.service("backend", [manifests.VIP], 80, manifests.PORT)
    slices = manifests.endpoint_slice("backend", addresses[:1], manifests.PORT)
    (agent.manifests / "shop.yaml").write_text(manifests.dump(pod, service, slices))


def parts(agent: AgentProcess) -> dict[str, dict[str, str]]:
    return {one["name"]: one for one in agent.status()["subsystems"]}


def test_each_part_says_how_it_is(agent: AgentProcess) -> None:
    agent.remora("status", "--wait", "10s")
    found = agent.until(lambda: "1 workload device," in (seen := parts(agent))["datapath"]["words"] and seen)
    assert {one["health"] for one in found.values()} == {"HEALTH_OK"}
    assert f"cgroup {agent.node.cgroup}" in found["datapath"]["words"]
    assert found["services"]["words"].startswith("1 frontend of 1 Service;")
    assert "1 of them on this node" in found["endpoints"]["words"]
    assert str(agent.manifests) in found["sources"]["words"]
    assert found["flows"]["words"] == "nothing lost"


def test_a_broken_manifest_degrades_the_sources_and_nothing_else(agent: AgentProcess) -> None:
    broken = agent.manifests / "broken.yaml"
    broken.write_text("kind: Service\nspec: [\n")
    try:
        agent.until(lambda: parts(agent)["sources"]["health"] == "HEALTH_DEGRADED")
        degraded = [name for name, one in parts(agent).items() if one["health"] != "HEALTH_OK"]
        assert degraded == ["sources"]
        text = agent.remora("status", "--brief", ok=(1,))
        assert "broken.yaml:" in text
    finally:
        broken.unlink()
    agent.remora("status", "--wait", "10s")


def test_fill_is_told_of_tries_and_of_maps_whose_oldest_give_way(agent: AgentProcess) -> None:
    tries = {one["name"]: one for one in agent.status()["maps"] if one["type"] == "lpm_trie"}
    assert tries.keys() >= {"networks", "policies", "source_ranges"}
    assert not [name for name, one in tries.items() if one.get("uncounted")]
    agent.until(lambda: [one for one in agent.status()["maps"] if counted_by_turns(one)], 15)


def counted_by_turns(one: dict[str, object]) -> bool:
    return one["type"] == "lru_hash" and one["name"] != "connections" and not one.get("uncounted")


def test_programs_name_their_places(agent: AgentProcess) -> None:
    places = {one["hook"]: one["attached"] for one in agent.status()["programs"]}
    assert places["tc ingress"] == places["tc egress"] == ["veth-backend-0"]
    assert places["cgroup"] == [str(agent.node.cgroup)]
    assert places["raw tracepoint"] == ["kfree_skb"]


def test_the_archive_of_a_real_agent_has_its_state_and_no_secret(agent: AgentProcess, tmp_path: Path) -> None:
    agent.remora("bugtool", "-O", str(tmp_path / "bug.tar.gz"), "--config", str(agent.folder / "config.yaml"))
    with tarfile.open(tmp_path / "bug.tar.gz") as archive:
        opened = {one.name.partition("/")[2]: archive.extractfile(one) for one in archive.getmembers()}
        files = {name: file.read().decode() for name, file in opened.items() if file}
    assert not [name for name, text in files.items() if SECRET in text]
    assert str(agent.folder / "kubeconfig") in files["agent/settings.yaml"]
    assert '"ready: API on' in files["agent/log.jsonl"]
    assert "remora_map_entries" in files["agent/metrics.txt"]
    assert "veth-backend-0" in files["host/links.txt"], "the agent's own network namespace is looked at"
    head, *entries = map(json.loads, files["agent/maps/services.jsonl"].splitlines())
    assert head["entries_told"] == head["entries_held"] == len(entries)
    assert 1 in [entry["value"]["backends"] for entry in entries]
    assert str(agent.pins) in files["host/pins.txt"]


def test_a_second_agent_is_refused_with_the_reason_and_harms_nothing(agent: AgentProcess) -> None:
    assert agent.process
    command = [*REMORA, "agent", "--config", str(agent.folder / "config.yaml")]
    second = agent.node.popen(command, stderr=subprocess.PIPE, environment={"PYTHONPATH": str(ROOT)})
    _, error = second.communicate(timeout=30)
    assert second.returncode == 1
    assert f"another agent holds {agent.state} (pid {agent.process.pid}, version" in error.decode()
    assert "restart its service, which touches no traffic" in error.decode()
    agent.remora("status", "--wait", "5s")
