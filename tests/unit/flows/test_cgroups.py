"""From a cgroup's number to what runs in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.flows.cgroups import UNKNOWN, Cgroups, place

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("path", "container", "unit"),
    [
        ("system.slice/nginx.service", "", "nginx.service"),
        ("system.slice/nginx.service/worker", "", "nginx.service"),
        ("user.slice/user-0.slice/session-3.scope", "", "session-3.scope"),
        (f"system.slice/docker-{ID}.scope", ID, "system.slice"),
        (f"docker/{ID}", ID, ""),
        (f"kubepods.slice/kubepods-pod12_3.slice/cri-containerd-{ID}.scope", ID, "kubepods-pod12_3.slice"),
        (f"kubepods/burstable/pod12-3/{ID}", ID, ""),
        (f"machine.slice/libpod-{ID}.scope/container", ID, "machine.slice"),
        ("init.scope", "", "init.scope"),
        (".", "", ""),
    ],
)
def test_a_path_names_container_and_unit(path: str, container: str, unit: str) -> None:
    found = place(path)
    assert (found.container, found.unit) == (container, unit)


def test_numbers_are_inodes_and_stay_known_when_the_cgroup_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "system.slice" / "web.service"
    folder.mkdir(parents=True)
    number = folder.stat().st_ino
    cgroups = Cgroups(tmp_path)
    cgroups.learn([0, number])
    folder.rmdir()
    assert cgroups.place(number).unit == "web.service"
    assert cgroups.place(number).path == "/system.slice/web.service"
    assert cgroups.place(0) == UNKNOWN


def test_the_tree_is_not_walked_for_every_unknown_number(tmp_path: Path) -> None:
    now = [0.0]
    cgroups = Cgroups(tmp_path, now=lambda: now[0])
    cgroups.learn([1])
    folder = tmp_path / "late.service"
    folder.mkdir()
    cgroups.learn([folder.stat().st_ino])
    assert cgroups.place(folder.stat().st_ino) == UNKNOWN
    now[0] = 3.0
    cgroups.learn([folder.stat().st_ino])
    assert cgroups.place(folder.stat().st_ino).unit == "late.service"
