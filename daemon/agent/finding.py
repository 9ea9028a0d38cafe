"""One line of a look at the host: how it is, and what to do where it is not as it should be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    OK = "ok"
    WARN = "warn"  # remora works; something that was promised may not
    FAIL = "fail"  # the agent would not start, or no Service would be reached


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` was looked at, `words` is what was seen, `todo` the next step ("" when all is well)."""

    level: Level
    what: str
    words: str
    todo: str = ""


def ok(what: str, words: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, what, words)


def warn(what: str, words: str, todo: str) -> Finding:
    """Something that was promised may not work."""
    return Finding(Level.WARN, what, words, todo)


def fail(what: str, words: str, todo: str) -> Finding:
    """The agent would not start, or no Service would be reached."""
    return Finding(Level.FAIL, what, words, todo)
