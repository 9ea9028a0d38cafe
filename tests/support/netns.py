"""Nodes and workloads for tests that need a real kernel: fixtures over what the demo is made of.

Every node has names of its own, so tests can run beside each other and beside an agent, and every fixture cleans up
when the test fails.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from daemon.demo.cgroups import Cgroup
from daemon.demo.processes import spawn, stop
from daemon.demo.topology import SUBNETS, Node, Space, in_namespace

BPFFS = Path("/sys/fs/bpf")
_numbers = itertools.count(1)


class TestNode(Node):
    """A node with a cgroup for its workloads' processes; those still running at the end are stopped."""

    __test__ = False  # no test class

    def __init__(self, name: str, subnets: Sequence[IPv4Network | IPv6Network] = SUBNETS) -> None:
        super().__init__(name, subnets)
        self._cgroup = Cgroup(name, "workloads")
        self._stack = ExitStack()

    @property
    def cgroup(self) -> Path:
        """The cgroup for the workloads' processes, as an agent's setting `cgroup` names it."""
        return self._cgroup.path / "workloads"

    def __enter__(self) -> TestNode:
        with ExitStack() as stack:
            stack.enter_context(self._cgroup)
            super().__enter__()
            stack.push(super().__exit__)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def popen(
        self, argv: Sequence[str], workload: str = "", *, cgroup: Path | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a program in the node or a workload; a workload's is put into the cgroup. Stopped with the node."""
        namespace = self.spaces[workload].path if workload else self.path
        process = spawn(argv, namespace, cgroup or (self.cgroup if workload else None), **options)
        self._stack.callback(stop, process)
        return process

    def output(self, argv: Sequence[str], workload: str = "", timeout: float = 30.0) -> str:
        """What a program prints; raises CalledProcessError with its error output."""
        process = self.popen(argv, workload, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=timeout)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, list(argv), out, err)
        return out.decode()


def unique(prefix: str = "rt") -> str:
    """A name that no other node of this or another test run has."""
    return f"{prefix}{os.getpid()}x{next(_numbers)}"


@contextmanager
def node(subnets: Sequence[IPv4Network | IPv6Network] = SUBNETS) -> Iterator[TestNode]:
    """A fresh node; several may live at once, with the same addresses if they like."""
    with TestNode(unique(), subnets) as made:
        yield made


def ensure_bpffs() -> Path:
    """/sys/fs/bpf, mounted if it was not."""
    if not os.path.ismount(BPFFS):
        subprocess.run(["mount", "-t", "bpf", "bpf", str(BPFFS)], check=True)
    return BPFFS


@pytest.fixture(name="node")
def node_fixture() -> Iterator[TestNode]:
    """A fresh node without workloads."""
    with node() as made:
        yield made


@pytest.fixture
def pin_root() -> Iterator[Path]:
    """A bpffs folder of the test's own; what is pinned in it is unpinned at the end."""
    root = ensure_bpffs() / unique()
    yield root
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            Path(folder, name).unlink()
        Path(folder).rmdir()


__all__ = [
    "Space",
    "TestNode",
    "ensure_bpffs",
    "in_namespace",
    "node",
    "node_fixture",
    "pin_root",
    "unique",
]
