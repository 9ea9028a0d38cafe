"""A real agent, reached over TCP with TLS, and what it says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.agent import ROOT, AgentProcess, agent_on
from tests.support.certificates import Authority, Pair
from tests.support.netns import node

NAME = "node-1.default.hubble-grpc.cilium.io"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def agent(root: None, tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[AgentProcess]:
    """An agent on a node with one workload, on TCP with client certificates."""
    shown, folder = authority.issue("node", NAME), tmp_path_factory.mktemp("reached")
    settings = {
        "listen_address": "127.0.0.1:4244",
        "tls_cert_file": str(shown.certificate),
        "tls_key_file": str(shown.key),
        "tls_client_ca_files": [str(authority.certificate)],
    }
    with node() as made, agent_on(made, folder, **settings) as started:
        made.add("client")
        started.start()
        yield started


def over_tcp(agent: AgentProcess, authority: Authority, own: Pair | None, *arguments: str) -> tuple[int, str]:
    """A command from within the node: its exit code and what it prints."""
    flags = [
        "--server=tls://127.0.0.1:4244",
        f"--tls-ca-cert-files={authority.certificate}",
        f"--tls-server-name={NAME}",
    ]
    if own is not None:
        flags += [f"--tls-client-cert-file={own.certificate}", f"--tls-client-key-file={own.key}"]
    command = [sys.executable, "-m", "daemon.cli.main", *arguments, *flags]
    process = agent.node.popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, environment={"PYTHONPATH": str(ROOT)}
    )
    out, _ = process.communicate(timeout=60)
    return process.returncode, out.decode()


def test_the_agent_tells_what_it_did_since_its_start(agent: AgentProcess) -> None:
    lines = agent.remora("observe", "agent-events", "--all", "-o", "json").splitlines()
    events = [json.loads(line)["agent_event"] for line in lines]
    kinds = [one["type"] for one in events]
    assert {"AGENT_STARTED", "ENDPOINT_CREATED", "ENDPOINT_REGENERATE_SUCCESS", "IPCACHE_UPSERTED"} <= set(kinds)


def test_clients_with_a_certificate_are_served_over_tcp_and_others_are_not(
    agent: AgentProcess, authority: Authority
) -> None:
    own = authority.issue("relay")
    code, out = over_tcp(agent, authority, own, "status", "-o", "compact")
    assert (code, out.splitlines()[0]) == (0, "Healthcheck (via tls://127.0.0.1:4244): Ok")
    assert over_tcp(agent, authority, None, "status", "-o", "compact")[0] == 3


def test_aggregators_are_told_where_the_node_is(agent: AgentProcess) -> None:
    command = [sys.executable, "-m", "daemon.cli.main", "watch", "peers", "--server", agent.server]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        line = watching.stdout.readline()
        watching.terminate()
    assert line == f"PEER_ADDED   127.0.0.1:4244 node-1 (TLS.ServerName: {NAME})\n"
