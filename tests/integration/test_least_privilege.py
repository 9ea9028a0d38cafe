"""The agent gives up what it does not need of root's powers, and works without it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpf.capabilities import AGENT, COMPILER, held
from tests.integration import shop as manifests
from tests.support.agent import ROOT, AgentProcess, agent_on
from tests.support.netns import TestNode, node
from tests.support.whoami import __file__ as WHOAMI

VIP, PORT = "10.96.0.20", 8080


@pytest.fixture
def town(root: None, tmp_path: Path) -> Iterator[tuple[TestNode, AgentProcess]]:
    with node() as made, agent_on(made, tmp_path) as agent:
        for workload in ("client", "backend"):
            made.add(workload)
        server = made.popen([sys.executable, WHOAMI, "backend", str(PORT)], "backend", stdout=subprocess.PIPE)
        assert server.stdout
        assert server.stdout.readline()
        backend = str(made.spaces["backend"].addresses[0].ip)
        objects = [manifests.service("backend", [VIP], 80, PORT), manifests.endpoint_slice("backend", [backend], PORT)]
        (agent.manifests / "shop.yaml").write_text(manifests.dump(*objects))
        agent.start()
        yield made, agent


def test_the_agent_keeps_seven_capabilities_in_every_thread_and_cannot_gain_more(
    town: tuple[TestNode, AgentProcess],
) -> None:
    made, agent = town
    assert agent.process
    allowed = sum(1 << one for one in AGENT)
    for thread in Path(f"/proc/{agent.process.pid}/task").iterdir():
        told = dict(line.split(":\t", 1) for line in (thread / "status").read_text().splitlines() if ":\t" in line)
        for name in ("CapPrm", "CapEff", "CapBnd"):
            assert int(told[name], 16) & ~allowed == 0, (thread.name, name)
        assert told["NoNewPrivs"] == "1"
    code = f"import socket; print(socket.create_connection(({VIP!r}, 80), timeout=5).recv(99).decode().split()[0])"
    assert made.output([sys.executable, "-c", code], "client").strip() == "backend"
    assert agent.until(lambda: agent.flows("--port", "8080"))
    assert "failed" not in agent.log


def test_what_the_agent_writes_is_nobody_elses_while_the_folder_lets_the_group_of_the_socket_in(
    town: tuple[TestNode, AgentProcess],
) -> None:
    _, agent = town
    files = {path.name: path.stat().st_mode & 0o777 for path in agent.state.iterdir()}
    assert files.keys() >= {"lock", "build.json"}
    assert not [name for name, mode in files.items() if mode & 0o077], files
    assert agent.state.stat().st_mode & 0o055 == 0o055


def test_the_compiler_has_a_set_of_its_own() -> None:
    code = (
        "from ebpf.capabilities import COMPILER, held, keep_only; keep_only(COMPILER); print(held());"
        "import os; os.setuid(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) == sum(1 << one for one in COMPILER) & held()


def test_the_log_is_json_where_nobody_sits_before_it(town: tuple[TestNode, AgentProcess]) -> None:
    _, agent = town
    told = [json.loads(line) for line in agent.log.splitlines()]
    assert {"time", "level", "logger", "message"} <= told[0].keys()
    assert any(one["message"].startswith("ready: API on") for one in told)


def test_sighup_takes_new_settings_over_and_an_error_in_them_changes_nothing(
    town: tuple[TestNode, AgentProcess],
) -> None:
    _, agent = town
    assert agent.process
    agent.configure(zone="b", services=2048)
    os.kill(agent.process.pid, signal.SIGHUP)
    agent.until(lambda: "setting zone is now b" in agent.log and "setting services changed" in agent.log)
    (agent.folder / "config.yaml").write_text("zone: [\n")
    os.kill(agent.process.pid, signal.SIGHUP)
    agent.until(lambda: "the settings stay as they are" in agent.log)
    assert agent.alive
    assert agent.status()["node"] == "node-1"
