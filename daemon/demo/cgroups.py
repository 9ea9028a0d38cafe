"""A child cgroup of one's own for the processes of a demo or test.

The agent's socket programs are attached to it, never to the root, so they see these processes and no others. It is
also the one sure list of the processes to end, whoever started them and whatever became of their parents.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ebpf.errors import KernelError, UnsupportedError
from ebpf.features import cgroup2_mount

_PATIENCE = 5.0  # s until killed processes must have left


def mount_point() -> Path:
    """Where cgroup v2 is mounted; raises UnsupportedError when it is not."""
    found = cgroup2_mount()
    if found is None:
        raise UnsupportedError("no cgroup v2 is mounted", "mount it: mount -t cgroup2 none /sys/fs/cgroup/unified")
    return found


class Cgroup:
    """A context manager: entering makes the group with its subgroups, leaving kills what is in it and removes it."""

    def __init__(self, name: str, *children: str) -> None:
        self.path = mount_point() / name
        self._children = children

    def __enter__(self) -> Cgroup:
        self.path.mkdir(exist_ok=True)
        for child in self._children:
            (self.path / child).mkdir(exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        remove(self.path)


def pids(path: Path) -> list[int]:
    """Processes in a group and below it, apart from those that are just ending: the kernel lists them as 0."""
    found: list[int] = []
    for folder, _, _ in os.walk(path):
        with suppress(OSError):
            found += map(int, Path(folder, "cgroup.procs").read_text().split())
    return [pid for pid in found if pid > 0]  # to kill 0 would be to kill our own process group


def remove(path: Path) -> None:
    """Kill what runs in a group and remove it; does nothing where there is none. Raises KernelError for one that stays.

    A group is busy until the last of its processes has ended in full, a while after it has left the list.
    """
    deadline = time.monotonic() + _PATIENCE
    while path.exists():
        for pid in pids(path):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            for folder, _, _ in os.walk(path, topdown=False):
                Path(folder).rmdir()
        except OSError as error:
            if time.monotonic() > deadline:
                hint = f"look at its processes: cat {path}/cgroup.procs {path}/*/cgroup.procs"
                raise KernelError(f"cannot remove the cgroup {path}", error.errno or 0, hint) from error
            time.sleep(0.02)
