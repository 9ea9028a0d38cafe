"""Fixtures: an agent without a kernel, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from daemon.proto import observer_pb2_grpc
from tests.unit.api.shop import FakeView, served


@pytest.fixture
def view() -> FakeView:
    """The agent's state; fill its store before or while a client reads."""
    return FakeView()


@pytest.fixture
def channel(view: FakeView, tmp_path: Path) -> Iterator[grpc.Channel]:
    """A channel to a server over `view`."""
    with served(view, tmp_path) as address, grpc.insecure_channel(address) as opened:
        yield opened


@pytest.fixture
def observer(channel: grpc.Channel) -> observer_pb2_grpc.ObserverStub:
    return observer_pb2_grpc.ObserverStub(channel)
