"""List files: what a line may be, and what becomes of a file that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.shield.entries import ListError, read_list
from daemon.shield.files import ListState, scan

GOOD = "# feed of today\n192.0.2.0/24\n\n2001:db8::1 # a host\n"


def texts(state: ListState) -> list[str]:
    assert state.entries is not None
    return [state.entries.text(place) for place in range(len(state.entries))]


def test_a_line_is_an_address_or_a_network_and_knows_its_number() -> None:
    found = read_list(GOOD)
    assert [found.text(place) for place in range(2)] == ["192.0.2.0/24", "2001:db8::1/128"]
    assert found.line.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("192.0.2.1/33", '"192.0.2.1/33" is no address or network'),
        ("192.0.2", "is no address"),
        ("example.com", "is no address"),
        ("fe80::1%eth0", "is no address"),
        ("192.0.2.1/", "is no address"),
        ("10.0.0.0/٣", "is no address"),
        ("192.0.2.1/24", "192.0.2.1/24 has bits beyond its length; was 192.0.2.0/24 meant?"),
        ("2001:db8::1/64", "was 2001:db8::/64 meant?"),
        ("::ffff:192.0.2.1", "write it as IPv4"),
        ("1.2.3.4\0", "is no address"),
    ],
)
def test_a_line_that_is_none_is_named(line: str, words: str) -> None:
    with pytest.raises(ListError) as caught:
        read_list(f"{GOOD}{line}\n192.0.2.7")
    assert (caught.value.line, words in str(caught.value)) == (5, True)


def test_a_broken_file_keeps_its_last_good_version_and_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "feed.txt"
    file.write_text(GOOD)
    first = scan(tmp_path, {"feed.txt"}, {})
    file.write_text(f"{GOOD}garbage\n")
    second = scan(tmp_path, {"feed.txt"}, first)
    assert texts(second["feed.txt"]) == texts(first["feed.txt"])
    assert str(second["feed.txt"].problem).startswith(f'{file}:5: error: "garbage" is no address or network')
    assert str(second["feed.txt"].problem).endswith("the last good version stays in force")
    assert scan(tmp_path, {"feed.txt"}, second) == second, "told once, not read again"
    file.write_text("198.51.100.0/24\n")
    third = scan(tmp_path, {"feed.txt"}, second)
    assert (texts(third["feed.txt"]), third["feed.txt"].problem) == (["198.51.100.0/24"], None)


@pytest.mark.parametrize("harm", ["unlink", "empty", "folder", "binary"])
def test_a_file_that_is_gone_or_emptied_keeps_what_it_was(tmp_path: Path, harm: str) -> None:
    file = tmp_path / "feed.txt"
    file.write_text(GOOD)
    first = scan(tmp_path, {"feed.txt"}, {})
    if harm in ("unlink", "folder"):
        file.unlink()
    if harm == "folder":
        file.mkdir()
    elif harm != "unlink":
        file.write_bytes(b"" if harm == "empty" else b"\xff\xfe\x00")
    second = scan(tmp_path, {"feed.txt"}, first)["feed.txt"]
    assert texts(second) == texts(first["feed.txt"])
    assert second.problem is not None
    assert "the last good version stays in force" in second.problem.message


def test_a_file_that_was_never_there_says_so(tmp_path: Path) -> None:
    state = scan(tmp_path, {"feed.txt"}, {})["feed.txt"]
    assert state.entries is None
    assert "nothing of it was ever read" in str(state.problem)


@pytest.mark.parametrize("text", ["", "\n \r\n"])
def test_an_empty_file_at_the_first_look_is_none_as_an_agent_before_may_have_read_more(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "feed.txt").write_text(text)
    state = scan(tmp_path, {"feed.txt"}, {})["feed.txt"]
    assert state.entries is None
    assert "the file is empty; a comment alone makes an empty list" in str(state.problem)


@pytest.mark.parametrize("text", ["; a feed\r\n192.0.2.0/24 ; SBL1\r\n", "\ufeff192.0.2.0/24\r192.0.2.1"])
def test_what_feeds_are_like_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "feed.txt").write_text(text, "utf-8", newline="")
    assert texts(scan(tmp_path, {"feed.txt"}, {})["feed.txt"])[0] == "192.0.2.0/24"


def test_a_comment_alone_is_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "feed.txt").write_text("# nobody\n")
    assert texts(scan(tmp_path, {"feed.txt"}, {})["feed.txt"]) == []
