"""The shield of a real agent: who is denied outside gets nothing, and whoever asks is told why."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.integration.city import ASK, STRANGER, serve
from tests.support.agent import AgentProcess, agent_on
from tests.support.netns import TestNode, node
from tests.support.outside import CLIENT, NODE, Outside, attach, jumbo, outside

PORT = 8081
FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
NETWORKS = ("198.18.0.99", "2001:db8:18::98/127")
"""which have the client, and not the stranger"""


@dataclass
class Gate:
    """A node with a server, and a client and a stranger outside."""

    world: Outside
    node: TestNode
    agent: AgentProcess

    @property
    def lists(self) -> Any:
        return self.agent.folder / "shield"

    def gets_in(self, machine: str = "client", family: int = 0) -> bool:
        code = f"import sys\nsys.argv = ['', {NODE[family]!r}, {PORT}, 'TCP', 1, 1]\n{ASK}"
        (answer,) = json.loads(self.world.python(code.replace("settimeout(3)", "settimeout(0.5)"), machine))
        return bool(answer[0] != "error")

    def shield(self, name: str = "edge", **spec: Any) -> None:
        """Write a Shield, in place of the one of that name."""
        head = {"apiVersion": "remora.io/v1alpha1", "kind": "Shield", "metadata": {"name": name}}
        (self.agent.manifests / f"{name}.yaml").write_text(yaml.safe_dump({**head, "spec": spec}))

    def rule(self, name: str) -> dict[str, Any]:
        """A rule as `remora shield list` tells it; empty where there is none."""
        rules: list[dict[str, Any]] = self.agent.json("shield", "list").get("rules", [])
        return next((one for one in rules if one["name"] == name), {})

    def explain(self, address: str) -> Any:
        return self.agent.json("shield", "explain", address)


@pytest.fixture(scope="module")
def built(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("agent")
    settings = {"uplinks": ["upl*"], "xdp": "auto", "shield_lists": str(folder / "shield"), "verify_interval": 0.5}
    with outside() as world, node() as made, agent_on(made, folder, **settings) as agent:
        world.machine("stranger", STRANGER)
        attach(made, world)
        serve(made, "", "host", PORT)
        (folder / "shield").mkdir()
        agent.start()
        yield Gate(world, made, agent)


@pytest.fixture
def gate(built: Gate) -> Iterator[Gate]:
    """Nothing is wanted at the beginning, nor at the end."""
    yield built
    for file in built.agent.manifests.glob("*.yaml"):
        file.unlink()
    built.agent.until(lambda: not built.agent.json("shield", "list").get("bans") and not built.rule("edge/known"))


def deny(gate: Gate, **more: Any) -> None:
    """Deny the client, and wait until the kernel does."""
    gate.shield(deny=[{"name": "known", "cidrs": list(NETWORKS)}], **more)
    gate.agent.until(lambda: gate.rule("edge/known").get("entries") == "2")


@FAMILIES
def test_who_is_denied_gets_nothing_and_others_do(gate: Gate, family: int) -> None:
    assert gate.gets_in("client", family)
    deny(gate)
    assert not gate.gets_in("client", family)
    assert gate.gets_in("stranger", family)


@FAMILIES
def test_a_drop_is_seen_counted_and_explained(gate: Gate, family: int) -> None:
    deny(gate)
    before = int(gate.rule("edge/known").get("packets", 0))
    assert not gate.gets_in("client", family)
    assert int(gate.rule("edge/known")["packets"]) > before
    flow = gate.agent.flows("-t", "drop", "--from-ip", CLIENT[family], "--last", "1")[0]
    assert (flow["verdict"], flow["drop_reason_desc"]) == ("DROPPED", "POLICY_DENY")
    assert flow["Summary"].endswith("; Shield edge/known")
    line = gate.agent.remora("observe", "-t", "drop", "--from-ip", CLIENT[family], "--last", "1")
    assert "Shield edge/known" in line
    told = gate.explain(CLIENT[family])
    assert (told["verdict"], told["listed"][0]["rule"], told["listed"][0]["decides"]) == ("drop", "edge/known", True)
    prefix = ("198.18.0.99/32", "2001:db8:18::98/127")[family]
    assert f"{CLIENT[family]} is dropped: {prefix} of edge/known (Shield edge) denies it" in told["words"]
    assert gate.explain(STRANGER[family])["verdict"] == "pass"


@FAMILIES
def test_frames_of_several_buffers_are_held_against_lists_and_limits(gate: Gate, family: int) -> None:
    code = f"""import socket
s = socket.socket(socket.AF_INET{"6" if family else ""}, socket.SOCK_DGRAM)
s.sendto(bytes(8000), ({NODE[family]!r}, 9))"""
    limit = {"name": "known", "protocol": "UDP", "bytes": {"rate": 1, "burst": 9000}}
    with jumbo(gate.world, gate.node):
        gate.shield(malformed="Drop", limits=[limit])
        gate.agent.until(lambda: gate.rule("edge/known").get("kind") == "limit")
        before = int(gate.rule("edge/known").get("bytes", 0))
        gate.world.python(f"{code}\n{code}")
        dropped = int(gate.rule("edge/known")["bytes"]) - before
        assert dropped == 8028 + 20 * family, "the first had room, and was sound"
        deny(gate)
        gate.world.python(code)
        denied = int(gate.rule("edge/known")["bytes"]) - before - dropped
        assert dropped <= denied < 2 * dropped, "once, and what earlier connections still send"


def test_a_trial_lets_pass_and_tells(gate: Gate) -> None:
    deny(gate, mode="DryRun")
    assert gate.gets_in()
    assert int(gate.rule("edge/known")["would_drop"]) > 0
    (flow,) = gate.agent.flows("--verdict", "AUDIT", "--from-ip", CLIENT[0], "--last", "1")
    assert flow["Summary"].endswith("; Shield edge/known would drop it")
    assert gate.explain(CLIENT[0])["words"].endswith("passes; without the dry run edge/known would drop it")
    assert "dry run" in gate.agent.remora("shield", "list")
    deny(gate)
    gate.agent.until(lambda: not gate.gets_in())


def test_a_list_file_is_read_when_it_changes_and_a_broken_one_keeps_its_last_good_version(gate: Gate) -> None:
    feed = gate.lists / "feed.txt"
    feed.write_text("# nobody yet\n")
    gate.shield(deny=[{"name": "known", "file": "feed.txt"}])
    gate.agent.until(lambda: gate.rule("edge/known"))
    assert gate.gets_in()
    feed.write_text("# the client\n198.18.0.96/28\n")
    gate.agent.until(lambda: not gate.gets_in())
    assert f"{feed}:2" in gate.explain(CLIENT[0])["words"]
    feed.write_text("198.18.0.0/33\n")
    warning = gate.agent.until(lambda: [one for one in gate.agent.status().get("warnings", []) if "feed.txt" in one])
    assert warning[0].startswith(f'{feed}:1: error: "198.18.0.0/33" is no address or network')
    assert not gate.gets_in(), "the last good version stays"
    feed.write_text("203.0.113.0/24\n")
    gate.agent.until(gate.gets_in)
    feed.unlink()


def test_the_node_itself_and_who_is_protected_cannot_be_locked_out(gate: Gate) -> None:
    gate.shield(deny=[{"name": "known", "cidrs": ["0.0.0.0/0"]}], protect=[STRANGER[0]])
    gate.agent.until(lambda: not gate.gets_in())
    assert gate.gets_in("stranger")
    assert gate.explain(NODE[0])["listed"][0]["rule"] == "node"
    told = gate.explain(STRANGER[0])
    assert [one["rule"] for one in told["listed"]] == ["edge/protect", "edge/known"]
    assert "198.18.0.50/32 of edge/protect" in told["words"]


def test_the_shield_stands_while_no_agent_runs_and_the_next_one_goes_on_counting(gate: Gate) -> None:
    deny(gate)
    assert not gate.gets_in()
    before = gate.rule("edge/known")
    gate.agent.kill()
    assert not gate.gets_in()
    gate.agent.start()
    after = gate.agent.until(lambda: gate.rule("edge/known"))
    assert after["number"] == before["number"]
    assert int(after["packets"]) > int(before["packets"])
    assert not gate.gets_in()


def test_a_broken_manifest_at_the_start_leaves_what_an_agent_before_put_in_force(gate: Gate) -> None:
    deny(gate)
    gate.agent.kill()
    (gate.agent.manifests / "edge.yaml").write_text("kind: Shield\n")
    gate.agent.start()
    warning = gate.agent.until(lambda: [one for one in gate.agent.status()["warnings"] if "may hold Shields" in one])
    assert "those of the agent before stay in force" in warning[0]
    assert not gate.gets_in()


@pytest.mark.parametrize("text", ["garbage\n", ""], ids=["garbage", "empty"])
def test_a_file_that_is_broken_at_the_start_leaves_what_the_kernel_holds_of_it(gate: Gate, text: str) -> None:
    feed = gate.lists / "feed.txt"
    feed.write_text("198.18.0.96/28\n")
    gate.shield(deny=[{"name": "known", "file": "feed.txt"}])
    gate.agent.until(lambda: not gate.gets_in())
    gate.agent.kill()
    feed.write_text(text)
    gate.agent.start()
    gate.agent.until(lambda: gate.rule("edge/known"))
    assert not gate.gets_in()
    assert "as read by an agent before" in gate.explain(CLIENT[0])["words"]
    feed.unlink()


def test_status_and_metrics_tell_of_the_shield(gate: Gate) -> None:
    deny(gate)
    assert not gate.gets_in()
    part = next(one for one in gate.agent.status()["subsystems"] if one["name"] == "shield")
    assert re.match(r"1 Shield, \d+ entries; [\d,]+ packets dropped, [\d,]+ audited$", part["words"])
    text = gate.node.run(lambda: urllib.request.urlopen("http://127.0.0.1:9965/metrics", timeout=10).read().decode())
    (count,) = re.findall(r'^remora_shield_packets_total\{rule="edge/known",verdict="dropped"\} ([\d.]+)', text, re.M)
    assert float(count) > 0
    gate.shield(autoBan={"after": 5})
    (note,) = gate.agent.until(lambda: gate.agent.status()["sources"][0].get("notes"))
    assert note["message"] == "autoBan bans whom limits drop, and no Shield has any: add `limits`"


def test_malformed_packets_are_not_looked_at_unless_somebody_wants_it(gate: Gate) -> None:
    deny(gate)
    kinds = {one["kind"] for one in gate.agent.json("shield", "list")["rules"]}
    assert "malformed" not in kinds
    gate.shield(malformed="Drop", deny=[{"name": "known", "cidrs": list(NETWORKS)}])
    gate.agent.until(lambda: gate.rule("malformed/tcp-flags"))
    assert gate.gets_in("stranger"), "sound packets pass"


def flood(gate: Gate) -> None:
    """A hundred datagrams from the client to a port of the node that nobody listens on."""
    code = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    gate.world.python(f"{code}for _ in range(100): s.sendto(b'x', ({NODE[0]!r}, 9))")


def test_who_goes_on_over_a_limit_is_banned_for_a_time_and_can_be_let_in_again(gate: Gate) -> None:
    limit = {"name": "few", "protocol": "UDP", "packets": {"rate": 1, "burst": 5}}
    ban = {"after": 20, "within": "1m", "for": "1h"}
    gate.shield(limits=[limit], autoBan=ban)
    gate.agent.until(lambda: gate.rule("edge/few"))
    assert gate.explain(CLIENT[0])["buckets"][0]["untouched"]
    flood(gate)
    assert int(gate.rule("edge/few")["packets"]) >= 20
    told = gate.explain(CLIENT[0])
    assert (told["verdict"], told["ban"]["rule"]) == ("drop", "edge/few")
    assert 3500e9 < int(told["ban"]["remaining_ns"]) <= 3600e9
    (bucket,) = told["buckets"]
    assert (bucket["packet_burst"], bucket["shared_by"]) == ("5", "198.18.0.99/32")
    assert int(bucket.get("packets_left", 0)) < 5
    assert not gate.gets_in(), "banned for datagrams, and nothing of it comes in"
    assert gate.gets_in("stranger")
    assert "198.18.0.99" in gate.agent.remora("shield", "list")
    assert gate.agent.remora("shield", "unban", CLIENT[0]).startswith("198.18.0.99 is let in again")
    assert gate.gets_in()
    flood(gate)
    assert not gate.gets_in()
    gate.shield(limits=[limit], autoBan=ban, protect=[CLIENT[0]])
    gate.agent.until(gate.gets_in)
    flood(gate)
    assert not gate.agent.json("shield", "list").get("bans"), "who is protected is never banned"
