"""The image runs with capabilities instead of privileges, steers a connection and tells of it."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration import shop as manifests
from tests.support.agent import ROOT, AgentProcess, agent_on
from tests.support.container import Bind, Container
from tests.support.netns import TestNode, node
from tests.support.whoami import __file__ as WHOAMI

pytestmark = pytest.mark.deploy

VIP, PORT = "10.96.0.20", 8080
SIZE = 500e6  # bytes, unpacked


def run(*argv: str | Path, timeout: float = 60) -> str:
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, timeout=timeout).stdout.strip()


@pytest.fixture(scope="module")
def image(root: None) -> str:
    """Built here, from nothing but packages; $REMORA_TEST_IMAGE names one that is there already."""
    if there := os.environ.get("REMORA_TEST_IMAGE"):
        return there
    run(ROOT / "deploy/container/build", timeout=900)
    told = run("buildah", "images", "--format", "{{.Name}}:{{.Tag}}")
    return next(one for one in told.split() if one.startswith("localhost/remora:"))


@pytest.fixture(scope="module")
def file_system(image: str) -> Iterator[Path]:
    working = run("buildah", "from", "--pull-never", image)
    yield Path(run("buildah", "mount", working))
    run("buildah", "rm", working)


@dataclass
class Town:
    node: TestNode
    agent: AgentProcess
    container: Container


@pytest.fixture
def town(file_system: Path, tmp_path: Path) -> Iterator[Town]:
    with node() as made, agent_on(made, tmp_path, cgroup="/sys/fs/cgroup/workloads", node_name="other") as agent:
        for workload in ("client", "backend"):
            made.add(workload)
        server = made.popen([sys.executable, WHOAMI, "backend", str(PORT)], "backend", stdout=subprocess.PIPE)
        assert server.stdout
        assert server.stdout.readline()
        address = {name: str(space.addresses[0].ip) for name, space in made.spaces.items()}
        objects = [
            *(manifests.pod(name, [found]) for name, found in address.items()),
            manifests.service("backend", [VIP], 80, PORT),
            manifests.endpoint_slice("backend", [address["backend"]], PORT),
        ]
        (agent.manifests / "shop.yaml").write_text(manifests.dump(*objects))
        container = Container(made.name, tmp_path, file_system, made.path)
        binds = [
            Bind(made.cgroup.parent, "/sys/fs/cgroup", ("ro",)),
            Bind(Path("/sys/fs/bpf"), "/sys/fs/bpf"),
            Bind(Path("/run/netns"), "/run/netns", ("ro", "rslave")),
            Bind(tmp_path, str(tmp_path)),
        ]
        environment = {"REMORA_NODE_NAME": "node-7", "REMORA_SERVER": agent.server}
        try:
            container.start(["agent", "--config", f"{tmp_path}/config.yaml"], environment, binds)
            agent.until(lambda: container.remora("status"), 30)
            yield Town(made, agent, container)
        finally:
            container.remove()


def test_the_image_steers_and_sees_a_flow(town: Town) -> None:
    code = f"import socket; print(socket.create_connection(({VIP!r}, 80), timeout=5).recv(99).decode().split()[0])"
    assert town.node.output([sys.executable, "-c", code], "client").strip() == "backend"
    flows = town.agent.until(lambda: town.container.remora("observe", "--port", str(PORT), "--node-name", "node-7"))
    assert "shop/client" in flows, flows
    assert "shop/backend" in flows, flows
    told = town.node.run(lambda: urllib.request.urlopen("http://127.0.0.1:9965/metrics").read().decode())
    assert "hubble_flows_processed_total{" in told
    assert "failed" not in town.container.log


def test_the_image_knows_the_way_to_an_api_server(town: Town) -> None:
    code = "import lightkube.config.client_adapter, daemon.sources.kubernetes.config, lightkube.config.kubeconfig"
    argv = ["runc", "exec", "--env", "PYTHONPATH=/opt/remora/lib", town.container.name, "/usr/bin/python3", "-c", code]
    assert subprocess.run(argv, check=False).returncode == 0


def test_the_image_is_small(image: str) -> None:
    assert int(run("buildah", "inspect", "--type", "image", "--format", "{{len .OCIv1.RootFS.DiffIDs}}", image)) == 1
    (size,) = (
        line.split()[1:]
        for line in run("buildah", "images", "--format", "{{.Name}}:{{.Tag}} {{.Size}}").splitlines()
        if line.startswith(image)
    )
    assert float(size[0]) * {"MB": 1e6, "GB": 1e9}[size[1]] < SIZE
