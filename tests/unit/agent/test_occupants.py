"""What runs in a namespace is told by process, cgroup and container, whoever drives the cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.agent.occupants import occupants

ID, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
POD = "kubelet-kubepods-burstable-pod1_2.slice"


class Processes:
    """A folder like /proc, and files that stand for network namespaces."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def space(self, name: str) -> int:
        file = self.folder / f"space-{name}"
        file.touch()
        return file.stat().st_ino

    def add(self, pid: int, space: str, *cgroups: str, comm: str = "server") -> None:
        self.space(space)
        own = self.folder / str(pid)
        (own / "ns").mkdir(parents=True)
        (own / "ns" / "net").symlink_to(self.folder / f"space-{space}")
        (own / "cgroup").write_text("".join(f"{line}\n" for line in cgroups))
        (own / "comm").write_text(f"{comm}\n")


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path)


@pytest.mark.parametrize(
    ("cgroups", "path"),
    [
        ([f"0::/kubepods.slice/{POD}/cri-containerd-{ID}.scope"], f"/kubepods.slice/{POD}/cri-containerd-{ID}.scope"),
        ([f"0::/kubelet.slice/{POD}/crio-{ID}.scope/container"], f"/kubelet.slice/{POD}/crio-{ID}.scope/container"),
        ([f"0::/kubepods/burstable/pod12-3/{ID}"], f"/kubepods/burstable/pod12-3/{ID}"),
        ([f"0::/../../kubepods/burstable/pod12-3/{ID}"], f"/../../kubepods/burstable/pod12-3/{ID}"),
        ([f"0::/docker/{OTHER}/kubelet/kubepods/pod1/{ID}"], f"/docker/{OTHER}/kubelet/kubepods/pod1/{ID}"),
        (["12:pids:/x", f"3:cpu,cpuacct:/kubepods/pod1/{ID}", "0::/"], f"/kubepods/pod1/{ID}"),
    ],
    ids=["containerd by systemd", "cri-o by systemd", "cgroupfs", "seen from a container", "kind", "hybrid"],
)
def test_the_container_is_found_below_any_driver(processes: Processes, cgroups: list[str], path: str) -> None:
    processes.add(7, "pod", *cgroups)
    space = processes.space("pod")
    (found,) = occupants({space}, processes.folder)[space]
    assert (found.pid, found.comm, found.cgroup, found.container) == (7, "server", path, ID)


def test_each_cgroup_of_a_namespace_is_told_once_by_its_first_process(processes: Processes) -> None:
    processes.add(30, "pod", f"0::/kubepods/pod1/{OTHER}", comm="pause")
    processes.add(7, "pod", f"0::/kubepods/pod1/{ID}")
    processes.add(100, "pod", f"0::/kubepods/pod1/{ID}", comm="worker")
    processes.add(8, "elsewhere", "0::/system.slice/ssh.service")
    space = processes.space("pod")
    found = occupants({space}, processes.folder)
    assert [(one.pid, one.comm) for one in found[space]] == [(7, "server"), (30, "pause")]
    assert found.keys() == {space}


def test_what_ends_meanwhile_is_left_out(processes: Processes) -> None:
    processes.add(7, "pod", "0::/x")
    (processes.folder / "7" / "comm").unlink()
    assert occupants({processes.space("pod")}, processes.folder) == {}
