"""Fixtures: an agent without a kernel, and the command line against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.cli import main
from tests.unit.api.shop import FakeView, served

Outcome = tuple[int, str, str]
Remora = Callable[..., Outcome]


@pytest.fixture
def view() -> FakeView:
    """The agent's state."""
    return FakeView()


@pytest.fixture
def server(view: FakeView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server over `view`, named by REMORA_SERVER."""
    with served(view, tmp_path) as address:
        monkeypatch.setenv("REMORA_SERVER", address)
        yield address


@pytest.fixture
def remora(capsys: pytest.CaptureFixture[str]) -> Remora:
    """Runs a command line: exit code, stdout, stderr."""

    def run(*arguments: str) -> Outcome:
        code = main.run(list(arguments))
        return (code, *capsys.readouterr())

    return run
