"""A host on which the datapath is opened again and again, with pins and a state folder of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import bpf_programs
from ebpf import features
from ebpf.datapath import Datapath
from ebpf.source import Options
from tests.conftest import SMALL


@dataclass
class Host:
    """Where a datapath can be opened again and again."""

    pins: Path
    state: Path
    opened: list[Datapath] = field(default_factory=list)

    def open(self, options: Options = SMALL, programs: Path = bpf_programs.ROOT) -> Datapath:
        """One more datapath on the same pins; close the one before."""
        self.opened.append(Datapath(self.pins, self.state, options, features.probe(), programs))
        return self.opened[-1]

    def close(self) -> None:
        """Let go of all; what is pinned stays."""
        while self.opened:
            self.opened.pop().close()
