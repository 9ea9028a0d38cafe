"""`remora config`, and who wins: the flag, the environment, the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Remora


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file would be."""
    monkeypatch.setenv("REMORA_CONFIG", str(tmp_path / "deep" / "config.yaml"))
    monkeypatch.delenv("REMORA_SERVER", raising=False)
    return tmp_path / "deep" / "config.yaml"


def test_what_is_set_is_kept_and_shown(remora: Remora, file: Path) -> None:
    assert remora("config", "get", "server")[1] == "unix:///run/remora/remora.sock\n"
    assert remora("config", "set", "server", "tls://relay:443") == (0, "", "")
    assert remora("config", "get", "server")[1] == "tls://relay:443\n"
    assert "server: tls://relay:443\n" in remora("config", "view")[1]
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_is_reset_is_the_default_again(remora: Remora) -> None:
    remora("config", "set", "server", "a:1")
    remora("config", "set", "tls", "true")
    remora("config", "reset", "tls")
    assert (remora("config", "get", "tls")[1], remora("config", "get", "server")[1]) == ("false\n", "a:1\n")
    remora("config", "reset")
    assert remora("config", "get", "server")[1] == "unix:///run/remora/remora.sock\n"


def test_the_flag_wins_over_the_environment_and_that_over_the_file(
    remora: Remora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remora("config", "set", "server", f"unix://{tmp_path}/file.sock")
    assert "/file.sock" in remora("status")[2]
    monkeypatch.setenv("REMORA_SERVER", f"unix://{tmp_path}/environment.sock")
    assert "/environment.sock" in remora("status")[2]
    assert "/flag.sock" in remora("status", "--server", f"unix://{tmp_path}/flag.sock")[2]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("set colour red", "unknown key: colour"),
        ("get colour", "unknown key: colour"),
        ("set tls perhaps", "cannot assign value=perhaps for key=tls, expected type=bool"),
        ("set timeout soon", "cannot assign value=soon for key=timeout, expected type=duration"),
    ],
)
def test_what_cannot_be_kept_is_refused(remora: Remora, words: str, complaint: str) -> None:
    code, _, err = remora("config", *words.split())
    assert code == 2
    assert err.startswith(f"remora: {complaint}")


def test_a_broken_file_is_named(remora: Remora, file: Path) -> None:
    file.parent.mkdir()
    file.write_text("- a list")
    assert remora("status")[2].startswith(f"remora: {file} must hold one flag a line")
