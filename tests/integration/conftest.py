"""Workloads behind a Service, on a node of the test's own, with the socket programs on the test's own cgroup."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ebpf import addresses, features
from ebpf.constants import FrontendFlag
from ebpf.datapath import Datapath, cleanup
from ebpf.source import Options
from tests.support.host import Host
from tests.support.netns import TestNode, node, unique

WHOAMI = Path(__file__).parents[1] / "support" / "whoami.py"
PORT = 8080
VIPS = ("10.96.0.20", "fd00:10:96::20")
SERVICE, EMPTY = 41, 42
PROTOCOLS = (6, 17)


@dataclass
class Shop:
    """One client, three backends, a Service for them and one without backends."""

    node: TestNode
    datapath: Datapath
    backends: tuple[str, ...]

    def client(self, code: str, *, cgroup: Path | None = None, timeout: float = 60) -> str:
        """Run Python in the client's namespace and cgroup; what it prints."""
        process = self.node.popen(
            [sys.executable, "-c", code], "client", cgroup=cgroup, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, error = process.communicate(timeout=timeout)
        assert process.returncode == 0, error.decode()
        return out.decode().strip()


@dataclass(frozen=True)
class Entry:
    """How a Service is programmed; backends are given per family."""

    service: int
    vips: tuple[str, ...]
    backends: tuple[tuple[str, ...], ...] = ()
    port: int = 80
    flags: FrontendFlag = FrontendFlag.CLUSTER_IP
    affinity: int = 0
    protocols: tuple[int, ...] = PROTOCOLS


def network(port: int) -> int:
    """A port in network order, as the host reads it."""
    return int.from_bytes(port.to_bytes(2, "big"), sys.byteorder)


def program(datapath: Datapath, entry: Entry) -> None:
    """Write a Service into the maps by hand."""
    slots, services = datapath.maps["backends"], datapath.maps["services"]
    for family, vip in enumerate(entry.vips):
        number = entry.service * 10 + family if entry.service else 0
        keys = np.zeros(len(entry.backends), slots.key_dtype)
        values = np.zeros(len(entry.backends), slots.value_dtype)
        for index, both in enumerate(entry.backends):
            keys[index] = (number, index)
            values["addr"][index] = np.frombuffer(addresses.pack(both[family]), np.uint32)
        values["port"] = network(PORT)
        slots.update(keys, values)
        for proto in entry.protocols:
            key, value = np.zeros(1, services.key_dtype), np.zeros(1, services.value_dtype)
            key["addr"] = np.frombuffer(addresses.pack(vip), np.uint32)
            key["port"], key["proto"] = network(entry.port), proto
            value["service"], value["backends"] = number, len(entry.backends)
            value["flags"], value["affinity"] = entry.flags, entry.affinity
            services.update(key, value)


@pytest.fixture(scope="module")
def shop(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    pins, state = Path("/sys/fs/bpf") / unique("shop"), tmp_path_factory.mktemp("state")
    with node() as made:
        made.add("client")
        spaces = [made.add(f"b{index}") for index in range(3)]
        datapath = made.run(Datapath, pins, state, Options(connections_max=65536), features.probe())
        try:
            pairs = tuple(tuple(str(address.ip) for address in space.addresses) for space in spaces)
            program(datapath, Entry(SERVICE, VIPS, pairs))
            program(datapath, Entry(EMPTY, ("10.96.0.99", "fd00:10:96::99")))
            datapath.attach_cgroup(made.cgroup)
            for index in range(3):
                _serve(made, f"b{index}")
            yield Shop(made, datapath, tuple(pair[0] for pair in pairs))
        finally:
            datapath.close()
            made.run(cleanup, pins, state)


def _serve(made: TestNode, workload: str) -> None:
    server = made.popen([sys.executable, str(WHOAMI), workload, str(PORT)], workload, stdout=subprocess.PIPE)
    assert server.stdout
    assert server.stdout.readline() == b"ready\n"


@pytest.fixture
def host(root: None, tmp_path: Path) -> Iterator[Host]:
    """A host of the test's own; all is unpinned at the end."""
    made = Host(Path("/sys/fs/bpf") / unique("host"), tmp_path / "state")
    yield made
    made.close()
    cleanup(made.pins, made.state)
