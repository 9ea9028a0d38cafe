"""Nodes made of namespaces: connected, in their cgroup, and gone afterwards even when something fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from daemon.demo.processes import stop
from daemon.demo.topology import Node, leftovers
from tests.support.netns import TestNode, node_fixture, unique  # noqa: F401

SERVER = "import socket as s; l=s.create_server(('::',7000),family=s.AF_INET6,dualstack_ipv6=True); print(flush=True)\n"
SERVER += "while True:\n c,a=l.accept(); c.send(a[0].encode()); c.close()"
CLIENT = "import socket as s, sys; print(s.create_connection((sys.argv[1],7000),timeout=3).recv(99).decode())"


class Failed(Exception):
    """Something goes wrong in a test."""


@pytest.mark.parametrize("version", [4, 6])
def test_workloads_reach_each_other_over_both_families(node: TestNode, version: int) -> None:
    web, client = node.add("web"), node.add("client")
    server = node.popen([sys.executable, "-c", SERVER], "web", stdout=subprocess.PIPE)
    assert server.stdout
    server.stdout.readline()
    address, own = (
        next(str(found.ip) for found in space.addresses if found.version == version) for space in (web, client)
    )
    assert node.output([sys.executable, "-c", CLIENT, address], "client").strip().removeprefix("::ffff:") == own


def test_a_workloads_process_is_in_the_nodes_cgroup_from_its_first_moment(node: TestNode) -> None:
    node.add("web")
    assert f"/{node.name}/workloads" in node.output(["cat", "/proc/self/cgroup"], "web")


def test_pins_and_cgroups_are_visible_inside_a_namespace(node: TestNode) -> None:
    assert node.output(["stat", "-f", "-c", "%T", "/sys/fs/bpf"]).strip() == "bpf_fs"
    assert node.output(["cat", f"{node.cgroup}/cgroup.procs"]) == ""


def test_a_dropped_workload_takes_its_device_with_it_at_once(node: TestNode) -> None:
    space = node.add("web")
    node.drop("web")
    assert not space.path.exists()
    assert space.device not in node.output(["cat", "/proc/net/dev"])


def test_long_workload_names_get_devices_that_fit(node: TestNode) -> None:
    spaces = [node.add(f"a-workload-with-a-long-name-{number}") for number in range(3)]
    assert len({space.device for space in spaces}) == 3
    assert all(len(space.device) <= 15 for space in spaces)


def test_a_node_is_gone_after_a_failure_with_its_processes_and_cgroup() -> None:
    made = TestNode(unique())

    def body() -> None:
        with made:
            made.add("web")
            processes.append(made.popen(["sleep", "60"], "web"))
            raise Failed

    processes: list[subprocess.Popen[bytes]] = []
    with pytest.raises(Failed):
        body()
    assert leftovers(made.name) == []
    assert not made.cgroup.parent.exists()
    assert processes[0].poll() is not None


def test_processes_that_nobody_stopped_are_killed_with_the_cgroup() -> None:
    with TestNode(unique()) as made:
        made.add("web")
        made.output(["sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & echo $!"], "web")
        [pid] = Path(made.cgroup, "cgroup.procs").read_text().split()
    assert not Path("/proc", pid).exists() or "Z" in Path("/proc", pid, "stat").read_text()


def test_a_name_that_is_taken_is_refused_and_the_taken_one_stays() -> None:
    with Node(unique()) as first:
        first.add("web")
        with pytest.raises(FileExistsError):
            Node(first.name).__enter__()
        assert leftovers(first.name)


def test_a_process_that_ignores_sigterm_is_killed(node: TestNode) -> None:
    process = node.popen(["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.05; done"], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    assert stop(process, patience=0.2) == -9
