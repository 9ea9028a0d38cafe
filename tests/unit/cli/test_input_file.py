"""Flows from a file: the same flags, evaluated in the command itself."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from daemon.cli import jsonpb
from tests.unit.cli.conftest import Remora
from tests.unit.cli.samples import ITEMS


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    """A file with all samples, as `-o json --extra` writes them."""
    path = tmp_path / "flows.jsonl"
    lines = [jsonpb.line(item.response, {"extra": jsonpb.to_dict(item.extra)}) for item in ITEMS]
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def count(remora: Remora, recorded: str, *flags: str) -> int:
    code, out, err = remora("observe", "--input-file", recorded, *flags)
    assert (code, err) == (0, "")
    return len(out.splitlines())


def test_a_file_is_shown_in_full(remora: Remora, recorded: str) -> None:
    assert count(remora, recorded) == len(ITEMS)
    assert count(remora, recorded, "--all") == len(ITEMS)


def test_the_first_and_the_last_are_chosen(remora: Remora, recorded: str) -> None:
    first = remora("observe", "--input-file", recorded, "--first", "2")[1]
    last = remora("observe", "--input-file", recorded, "--last", "2")[1]
    everything = remora("observe", "--input-file", recorded)[1]
    assert first.splitlines() == everything.splitlines()[:2]
    assert last.splitlines() == everything.splitlines()[-2:]


def test_filters_are_evaluated_and_losses_pass(remora: Remora, recorded: str) -> None:
    assert count(remora, recorded, "--verdict", "DROPPED") == 2 + 2
    assert count(remora, recorded, "-t", "l7", "--http-status", "2+") == 1 + 2
    assert count(remora, recorded, "--not", "--pod", "shop/") == len(
        [
            item
            for item in ITEMS
            if "shop" not in (item.response.flow.source.namespace, item.response.flow.destination.namespace)
        ]
    )


def test_own_filters_are_evaluated_too(remora: Remora, recorded: str) -> None:
    assert count(remora, recorded, "--latency-above", "300ms") == 1 + 2
    assert count(remora, recorded, "--process", "curl") == len([item for item in ITEMS if item.extra.comm]) + 2
    assert count(remora, recorded, "--process", "wget") == 2
    assert count(remora, recorded, "--failed") == 3 + 2


def test_times_bound_what_is_shown(remora: Remora, recorded: str) -> None:
    flags = ("--since", "2026-03-07T09:05:11.400Z", "--until", "2026-03-07T09:05:11.403Z")
    assert count(remora, recorded, *flags) == 3


def test_stdin_is_a_file_too(remora: Remora, recorded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(Path(recorded).read_text()))
    assert count(remora, "-", "--last", "3") == 3


def test_what_is_no_flow_is_told_once_a_line_and_passed_over(remora: Remora, tmp_path: Path) -> None:
    path = tmp_path / "mixed"
    newer = {"flow": {"verdict": "DROPPED", "from_the_future": 1}, "node_name": "n"}
    path.write_text(f"nonsense\n\n{json.dumps(newer)}\n{json.dumps(newer)}\n[1]\n")
    code, out, err = remora("observe", "--input-file", str(path))
    assert (code, len(out.splitlines())) == (0, 2)
    assert err.count("no flow") == 2
    assert err.count("unknown field") == 1


def test_too_many_and_too_little_are_refused(remora: Remora, recorded: str, tmp_path: Path) -> None:
    assert remora("observe", "--input-file", recorded, "--last", "1000001")[2] == (
        "remora: --last must be <= 1_000_000, got 1000001\n"
    )
    assert remora("observe", "--input-file", f"{tmp_path}/none")[2] == (
        f"remora: open {tmp_path}/none: no such file or directory\n"
    )
    assert remora("observe", "--input-file", recorded, "--to-port", "x")[2].startswith(
        "remora: invalid destination port filter: invalid port"
    )
