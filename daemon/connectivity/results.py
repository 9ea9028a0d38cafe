"""What became of one check, and how a check says that it failed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"  # could not be tried here; the words say why


class FailedError(Exception):
    """A check failed: `words` is what was seen, `hint` where to look."""

    def __init__(self, words: str, hint: str) -> None:
        super().__init__(words)
        self.words, self.hint = words, hint


class SkippedError(Exception):
    """A check cannot be made here; the text says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the test; `hint` is empty unless it failed."""

    job: str
    what: str
    outcome: Outcome
    seconds: float
    words: str
    hint: str = ""
