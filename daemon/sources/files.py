"""The files of a folder, each with the last version of it that could be read.

A file is read again only when its inode, size or times changed, so ten thousand Services in one folder cost nothing
while they rest, and unchanged objects stay the very same objects for whoever compares.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from stat import S_ISREG

from daemon.model.snapshot import Problem
from daemon.sources.decode import Manifest, read_manifest
from daemon.sources.manifest import ManifestError

SUFFIXES = (".yaml", ".yml", ".json")
SIZE_LIMIT = 64 << 20  # bytes; larger files are refused before they fill the memory

Signature = tuple[int, int, int, int]

_UNKNOWN: Signature = (0, 0, 0, 0)
_NOTHING = Manifest()


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as last seen: `content` is its last good version, `problem` why that is not the newest."""

    signature: Signature
    content: Manifest = _NOTHING
    problem: Problem | None = None

    @property
    def unread(self) -> bool:
        """Whether no version of it was ever read."""
        return self.problem is not None and self.content is _NOTHING


def scan(folder: Path, before: dict[str, FileState]) -> dict[str, FileState]:
    """The folder's files by name, sorted. Hidden files and other suffixes are passed over, folders not entered.

    Raises OSError when the folder itself cannot be listed.
    """
    with os.scandir(folder) as entries:
        listed = [one for one in entries if one.name.endswith(SUFFIXES) and not one.name.startswith(".")]
    listed.sort(key=attrgetter("name"))
    found = {one.name: _state(one, before.get(one.name)) for one in listed}
    return {name: state for name, state in found.items() if state is not None}


def _state(entry: os.DirEntry[str], before: FileState | None) -> FileState | None:
    """The file's state now; None for what is gone meanwhile or is not a file."""
    signature = _UNKNOWN
    try:
        status = entry.stat()
        if not S_ISREG(status.st_mode):
            return None
        signature = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        if before and before.signature == signature:
            return before
        return FileState(signature, read_manifest(_text(Path(entry.path), before)))
    except FileNotFoundError:
        return None
    except ManifestError as error:
        return _broken(entry.path, signature, before, error.line, str(error))
    except OSError as error:
        return _broken(entry.path, signature, before, 0, f"cannot be read: {error.strerror}; check owner and mode")


def _text(path: Path, before: FileState | None) -> str:
    """The file's text; refuses a file that is too large, or just emptied: that is an editor at work, or an accident."""
    size = path.stat().st_size
    if size > SIZE_LIMIT:
        raise ManifestError(0, f"{size >> 20} MiB are more than {SIZE_LIMIT >> 20} MiB", "split the file")
    raw = path.read_bytes()
    if not raw and before and before.content.objects:
        raise ManifestError(0, "the file is empty now", "delete it to remove its objects")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(raw.count(b"\n", 0, error.start) + 1, "not UTF-8 text", "save the file as UTF-8") from error


def _broken(path: str, signature: Signature, before: FileState | None, line: int, message: str) -> FileState:
    content = before.content if before else _NOTHING
    kept = "the last good version stays in force" if content.objects else "nothing of it is in force"
    return FileState(signature, content, Problem(path, line, f"{message}; {kept}"))
