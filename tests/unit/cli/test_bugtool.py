"""`remora bugtool`: what is in the archive, and what must never be."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from daemon.cli import bugtool
from tests.unit.api.shop import FakeView
from tests.unit.cli.conftest import Remora

SECRET = "s3cr3tS3CR3Ts3cr3t"


def contents(path: Path) -> dict[str, str]:
    """Files of an archive, without the folder that they are all in."""
    with tarfile.open(path) as archive:
        read = {one.name.partition("/")[2]: archive.extractfile(one) for one in archive.getmembers()}
        return {name: file.read().decode() for name, file in read.items() if file}


@pytest.mark.usefixtures("server")
def test_the_archive_holds_what_agent_and_host_say(remora: Remora, view: FakeView, tmp_path: Path) -> None:
    path = tmp_path / "bug.tar.gz"
    code, out, error = remora("bugtool", "-O", str(path), "--entries", "2")
    assert (code, error) == (0, "")
    assert str(path) in out
    files = contents(path)
    assert json.loads(files["agent/services.json"])["services"][0]["name"] == "backend"
    assert json.loads(files["agent/status.json"])["version"] == "1.2.3"
    assert files["agent/maps/services.jsonl"] == "entry\nentry\n"
    assert "Linux" in files["host/uname.txt"]
    assert {"README", "agent/endpoints.json", "agent/verify.json", "agent/log.jsonl", "host/links.txt"} <= files.keys()
    assert path.stat().st_mode & 0o077 == 0, "only its owner may read it"


@pytest.mark.usefixtures("server")
def test_a_credential_that_slipped_into_log_or_status_is_not_in_the_archive(
    remora: Remora, view: FakeView, tmp_path: Path
) -> None:
    path = tmp_path / "bug.tar.gz"
    view.log = f'{{"message": "asked with Authorization: Bearer {SECRET}"}}\n'.encode()
    view.state.warnings.append(f"https://admin:{SECRET}@10.0.0.1:6443 does not answer")
    assert remora("bugtool", "-O", str(path))[0] == 0
    assert not [name for name, text in contents(path).items() if SECRET in text]


@pytest.mark.usefixtures("server")
def test_the_archive_stays_small_and_says_what_it_left_out(
    remora: Remora, view: FakeView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view.log = b"a long line of the log\n" * 100_000
    monkeypatch.setattr(bugtool, "FILE_LIMIT", 10_000)
    monkeypatch.setattr(bugtool, "LIMIT", 20_000)
    path = tmp_path / "bug.tar.gz"
    code, _, error = remora("bugtool", "-O", str(path), "--entries", "1000000")
    assert code == 1
    assert "the archive has the 20.0kB that it may have" in error
    assert sum(map(len, contents(path).values())) < 25_000


def test_without_an_agent_the_host_is_told_all_the_same(remora: Remora, tmp_path: Path) -> None:
    path = tmp_path / "bug.tar.gz"
    code, _, error = remora("bugtool", "-O", str(path), "--server", f"unix://{tmp_path}/none.sock")
    assert code == 1
    assert "no agent listens" in error
    assert "no agent listens" in contents(path)["README"]
    assert "host/uname.txt" in contents(path)


def test_an_archive_is_never_written_over(remora: Remora, tmp_path: Path) -> None:
    path = tmp_path / "bug.tar.gz"
    path.write_text("another one")
    code, _, error = remora("bugtool", "-O", str(path), "--server", f"unix://{tmp_path}/none.sock")
    assert (code, path.read_text()) == (1, "another one")
    assert "File exists" in error
