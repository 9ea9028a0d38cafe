"""Where a process runs: the container or the systemd unit that its cgroup belongs to.

A record carries the cgroup's number, which is the inode of its folder. Container runtimes and systemd write what runs
in it into the folder's name. A cgroup goes with its last process while flows are told later, so numbers are resolved
when their records arrive, and kept.
"""

from __future__ import annotations

import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

CAPACITY = 8_192  # cgroups that are remembered
PATIENCE = 2.0  # s between two walks over the tree for numbers that are not known
_CONTAINER = re.compile(r"(?:^|[-:/])([0-9a-f]{64})(?:\.scope)?$")
_UNIT_SUFFIXES = (".service", ".scope", ".socket", ".mount", ".slice")


class Place(NamedTuple):
    """A cgroup in words: its path below the mount, the container's id and the unit's name, "" where it is in none."""

    path: str
    container: str = ""
    unit: str = ""


UNKNOWN = Place("")


class Cgroups:
    """Written by the reader's thread, read by any."""

    def __init__(self, mount: Path | None, now: Callable[[], float] = time.monotonic) -> None:
        self._mount = mount
        self._now = now
        self._known: OrderedDict[int, Place] = OrderedDict()
        self._walked = float("-inf")

    def learn(self, numbers: Iterable[int]) -> None:
        """Resolve these numbers; those that cannot be found are looked for again with a later record."""
        missing = {number for number in numbers if number and number not in self._known}
        if not missing or self._mount is None or self._now() - self._walked < PATIENCE:
            return
        self._walked = self._now()
        for folder, _, _ in os.walk(self._mount):
            number = _inode(folder)
            if number in missing:
                missing.discard(number)
                self._keep(number, place(os.path.relpath(folder, self._mount)))
                if not missing:
                    break

    def place(self, number: int) -> Place:
        """What is known of a cgroup."""
        return self._known.get(number, UNKNOWN)

    def _keep(self, number: int, found: Place) -> None:
        self._known[number] = found
        if len(self._known) > CAPACITY:
            self._known.popitem(last=False)


def place(path: str) -> Place:
    """A cgroup's path in words: the innermost part that names a container, and the innermost that names a unit."""
    parts = [] if path == "." else path.split("/")
    container = next((found[1] for part in reversed(parts) if (found := _CONTAINER.search(part))), "")
    units = [part for part in reversed(parts) if part.endswith(_UNIT_SUFFIXES) and not _CONTAINER.search(part)]
    exact = [unit for unit in units if not unit.endswith(".slice")]
    return Place("/" + "/".join(parts), container, next(iter(exact or units), ""))


def _inode(folder: str) -> int:
    try:
        return Path(folder).stat().st_ino
    except OSError:
        return 0  # gone meanwhile
