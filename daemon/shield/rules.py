"""Rules of the shield by name and number: what packets are counted under, and what flows and commands name.

The kernel knows numbers. Those of its own rules are fixed; lists and limits get theirs by name, and keep them over
every change and restart of the agent, for a counter that jumps from one list to another would tell lies.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ebpf import constants

FIRST_RULE = int(constants.ShieldRule.FIRST)
"""Smaller numbers are the kernel's own: malformed packets, bans, SYNs."""
RETIRED_MAX = 256  # names of rules that are no more, kept for flows that still tell of them

log = logging.getLogger(__name__)


class RuleKind(StrEnum):
    """What a rule looks at."""

    MALFORMED = "malformed"
    BAN = "ban"
    SYN = "syn"
    PROTECT = "protect"
    ALLOW = "allow"
    DENY = "deny"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule in force. `entries` are those of a list that are in the kernel; `origin` says who wants it."""

    number: int
    name: str
    kind: RuleKind
    dry: bool = False
    entries: int = 0
    origin: str = ""


def built_in(malformed_dry: bool, syn_dry: bool, dry: bool) -> dict[int, Rule]:
    """The kernel's own rules by number."""
    found = {}
    for one in constants.ShieldRule:
        if one is constants.ShieldRule.BAN:
            found[int(one)] = Rule(one, "ban", RuleKind.BAN, dry)
        elif one is constants.ShieldRule.SYN:
            found[int(one)] = Rule(one, "syn-flood", RuleKind.SYN, syn_dry or dry)
        elif 0 < one < constants.ShieldRule.BAN:
            name = f"malformed/{one.name.lower().replace('_', '-')}"
            found[int(one)] = Rule(one, name, RuleKind.MALFORMED, malformed_dry or dry)
    return found


class NumberBook:
    """Numbers by name; read from a file and kept there. `taken` are numbers that the kernel's maps hold already."""

    def __init__(self, file: Path, taken: Iterable[int] = ()) -> None:
        self._file = file
        self._numbers = _read(file)
        self._kept = dict(self._numbers)
        self._next = max([FIRST_RULE - 1, *taken, *self._numbers.values()]) + 1

    def number(self, name: str) -> int:
        """The number of a rule, its own from the first time on."""
        if name not in self._numbers:
            self._numbers[name] = self._next
            self._next += 1
        return self._numbers[name]

    def names(self) -> Mapping[int, str]:
        """Names by number, those of retired rules too."""
        return {number: name for name, number in self._numbers.items()}

    def retire(self, used: Collection[str]) -> list[int]:
        """Forget the oldest names that are not used, beyond some that are kept; their numbers."""
        idle = [name for name in self._numbers if name not in used]
        return [self._numbers.pop(name) for name in idle[: max(0, len(idle) - RETIRED_MAX)]]

    def keep(self) -> None:
        """Write the file where something is new; one that cannot be written costs counters at the next start."""
        if self._numbers == self._kept:
            return
        draft = self._file.with_suffix(".new")
        try:
            draft.write_text(json.dumps(self._numbers))
            draft.replace(self._file)
            self._kept = dict(self._numbers)
        except OSError as error:
            log.warning("%s: %s; after a restart the shield's rules are counted anew", self._file, error.strerror)


def _read(file: Path) -> dict[str, int]:
    with suppress(OSError, ValueError):
        found = json.loads(file.read_text())
        if isinstance(found, dict) and all(isinstance(one, int) and one >= FIRST_RULE for one in found.values()):
            return found
    return {}
