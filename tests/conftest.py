"""What all tests share: a datapath of their own, in a folder of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebpf import features
from ebpf.datapath import Datapath, cleanup
from ebpf.source import Options
from tests.support.netns import node_fixture, pin_root

__all__ = ["node_fixture", "pin_root"]

SMALL = Options(
    services_max=1024, backends_max=4096, addresses_max=1024, connections_max=4096, translations_max=32768, xdp=1,
    shield_addresses_max=4096, shield_networks_max=4096, shield_buckets_max=4096, shield_bans_max=4096,
    shield_syns_max=1024, shield_proven_max=4096, shield_fragments_max=1024,
)  # fmt: skip


def pytest_configure() -> None:
    """What a shell runs in the background has SIGINT ignored, and hands that on to those that are to be ended by it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "write docs/service-conformance.md from the results of this run"
    parser.addoption("--write-conformance", action="store_true", help=words)
    words = "where the live conformance cases run XDP, with acceleration: off, native or generic"
    parser.addoption("--xdp", choices=["off", "native", "generic"], default="off", help=words)
    words = "how many faults of the API server the agent must get over"
    parser.addoption("--faults", type=int, default=100, help=words)


@pytest.fixture(scope="session")
def root() -> None:
    """Tests that need the kernel ask for this; CI is root, so nothing is skipped there."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it loads BPF programs")


@pytest.fixture(scope="session")
def datapath(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Datapath]:
    """A loaded datapath that is attached to nothing; gone when the session ends."""
    with loaded(SMALL, f"remora-test-{os.getpid()}", tmp_path_factory.mktemp("state")) as opened:
        yield opened


@contextmanager
def loaded(options: Options, name: str, state: Path) -> Iterator[Datapath]:
    pins = Path("/sys/fs/bpf") / name
    opened = Datapath(pins, state, options, features.probe())
    yield opened
    opened.close()
    cleanup(pins, state)
