"""What the kernel is to hold: columns of entries, limits, and the numbers of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from daemon.model.snapshot import Problem
from daemon.shield.entries import NOTHING, Entries
from daemon.shield.rules import Rule, RuleKind


class LimitRow(NamedTuple):
    """A limit as the kernel counts: rates a second, 0 for none; `port` and `proto` 0 for any."""

    rule: int
    packet_rate: int = 0
    packet_burst: int = 0
    byte_rate: int = 0
    byte_burst: int = 0
    port: int = 0
    proto: int = 0
    prefix4: int = 32
    prefix6: int = 64
    syn: bool = False
    dry: bool = False


class Switches(NamedTuple):
    """What the configuration says beside the entries; 0 switches a part off."""

    malformed: bool = False
    malformed_dry: bool = False
    syn_rate: int = 0
    proven_seconds: int = 0
    syn_dry: bool = False
    ban_after: int = 0
    ban_window: int = 0
    ban_seconds: int = 0
    dry: bool = False
    """nothing at all is dropped"""


@dataclass(frozen=True, slots=True)
class Part:
    """Entries of a list from one place: a file or an object."""

    where: str
    entries: Entries

    def place(self, index: int) -> str:
        """Where one of them is written: `FILE:LINE`, or the object."""
        line = int(self.entries.line[index])
        return f"{self.where}:{line}" if line else self.where


@dataclass(frozen=True, slots=True)
class SourceList:
    """A list as it was written, before others are held against it."""

    name: str
    kind: RuleKind
    dry: bool
    origin: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ShieldTables:
    """All of it. `entries` (n) with `rule` (n), `allow` (n) and `dry` (n); `lists` are what they were made of."""

    entries: Entries = NOTHING
    rule: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    allow: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    dry: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    limits: tuple[LimitRow, ...] = ()
    switches: Switches = field(default_factory=Switches)
    rules: Mapping[int, Rule] = field(default_factory=dict)
    lists: tuple[SourceList, ...] = ()
    shields: int = 0
    """objects that are for this node"""
    problems: tuple[Problem, ...] = ()
