"""The node's folder of lists: each file with the last version of it that could be read.

Lists come from other people's feeds, and a download that ends halfway must not open the door. So a file that cannot be
read, is gone or has nothing in it, not even a comment, keeps its last good version, and the place at fault is told. So
it is at the first look as well: what an agent before read of it is still in the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG

from daemon.model.snapshot import Problem
from daemon.shield.entries import Entries, ListError, read_list

SIZE_LIMIT = 64 << 20  # bytes; a hundred thousand networks take two megabytes

Signature = tuple[int, int, int, int]
_UNKNOWN: Signature = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ListState:
    """A file as last seen: `entries` of its last good version, None before one was read; `problem` with the newest."""

    signature: Signature
    entries: Entries | None = None
    problem: Problem | None = None


def scan(folder: Path, names: Iterable[str], before: Mapping[str, ListState]) -> dict[str, ListState]:
    """The state of the named files now; what did not change stays the very same object."""
    return {name: _state(folder / name, before.get(name, ListState(_UNKNOWN))) for name in sorted(set(names))}


def _state(path: Path, before: ListState) -> ListState:
    signature = _UNKNOWN
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            return _broken(path, signature, before, 0, "is no file; put a list in its place")
        signature = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        if signature == before.signature:
            return before
        return ListState(signature, _read(path, status.st_size))
    except ListError as error:
        return _broken(path, signature, before, error.line, str(error))
    except UnicodeDecodeError:
        return _broken(path, signature, before, 0, "is not text; write one address or network a line")
    except OSError as error:
        return _broken(path, signature, before, 0, f"cannot be read: {error.strerror}; put the list there")


def _read(path: Path, size: int) -> Entries:
    if size > SIZE_LIMIT:
        raise ListError(0, f"{size >> 20} MiB are more than {SIZE_LIMIT >> 20} MiB", "split the list")
    text = path.read_text("utf-8-sig")
    if not text.strip():
        raise ListError(0, "the file is empty", "a comment alone makes an empty list")
    return read_list(text)


def _broken(path: Path, signature: Signature, before: ListState, line: int, message: str) -> ListState:
    kept = "the last good version stays in force" if before.entries is not None else "nothing of it was ever read"
    problem = Problem(str(path), line, f"{message}; {kept}")
    state = replace(before, signature=signature, problem=problem)
    return before if state == before else state
