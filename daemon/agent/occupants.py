"""What runs in the network namespaces of workloads: the way from a pod to its processes, containers and cgroups.

A pod is known by its addresses, its devices lead to a namespace; who looks into a fault goes on from there. All
processes of the host are looked through for it, so that is done only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from daemon.endpoints import Devices
from daemon.flows.cgroups import place
from daemon.proto import remora_pb2 as pb

PROC = Path("/proc")


def inside(devices: Devices) -> dict[int, pb.Inside]:
    """What is behind each device, by its number."""
    found = occupants({one.netns_inode for one in devices.devices if one.netns_inode})
    return {
        one.ifindex: pb.Inside(
            netns=one.netns_name or f"net:[{one.netns_inode}]", occupants=found.get(one.netns_inode, ())
        )
        for one in devices.devices
        if one.netns_inode
    }


def occupants(inodes: Collection[int], proc: Path = PROC) -> dict[int, list[pb.Occupant]]:
    """By namespace: of each cgroup the process with the lowest number. What ends meanwhile is left out."""
    found: dict[int, dict[str, pb.Occupant]] = {}
    for pid in sorted(int(one.name) for one in proc.iterdir() if one.name.isdigit()):
        folder = proc / str(pid)
        with suppress(OSError):
            inode = (folder / "ns" / "net").stat().st_ino
            if inode in inodes:
                cgroup = _cgroup((folder / "cgroup").read_text())
                comm = (folder / "comm").read_text().rstrip("\n")
                where = place(cgroup.lstrip("/") or ".")
                told = pb.Occupant(pid=pid, comm=comm, cgroup=cgroup, container=where.container, unit=where.unit)
                found.setdefault(inode, {}).setdefault(cgroup, told)
    return {inode: list(one.values()) for inode, one in found.items()}


def _cgroup(text: str) -> str:
    """The process's cgroup: that of version 2, but on a host with both the one that names a container."""
    paths = {line.split(":", 2)[0]: line.split(":", 2)[2] for line in text.splitlines() if line.count(":") > 1}
    own = paths.get("0", "")
    if place(own).container:
        return own
    return next((path for path in paths.values() if place(path).container), own)
