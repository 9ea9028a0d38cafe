"""Shields from a snapshot into the kernel: read the list files, compile, put in force, and keep what was if that fails.

What is asked is compared with what was asked last, so that a change of Services costs the shield a look at a few files.
Where a Shield may be written in a place that was never read, what an agent before left in the kernel stays: a node that
restarts under attack must not open the door because somebody broke a file.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from daemon.endpoints import Devices
from daemon.model.directory import packed
from daemon.model.shields import Shield
from daemon.model.snapshot import Problem, Snapshot
from daemon.settings import Settings
from daemon.shield.compile import ShieldError, Surroundings, compile_shield, files_of, wanted_here
from daemon.shield.entries import Entries
from daemon.shield.files import ListState, scan
from daemon.shield.reconcile import ShieldReconciler
from daemon.shield.rules import NumberBook, Rule, built_in
from daemon.shield.tables import ShieldTables
from ebpf.datapath import Datapath

log = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """All that the tables follow from; files by identity, for one that did not change is the very same object."""

    shields: tuple[Shield, ...]
    own: frozenset[bytes]
    api_server: frozenset[bytes]
    files: tuple[tuple[str, int], ...]


class Shielding:
    """The shield of this node; for the programmer's thread, but for `rule` and what is only read."""

    def __init__(self, datapath: Datapath, settings: Settings) -> None:
        """Reads the maps; raises KernelError."""
        self.folder = Path(settings.shield_lists)
        self.reconciler = ShieldReconciler(datapath.maps) if datapath.has_xdp else None
        self.tables = ShieldTables()
        """what is in force"""
        self.lists: Mapping[str, ListState] = {}
        self._datapath = datapath
        self._book = NumberBook(
            Path(settings.state_dir) / "shield.json", self.reconciler.numbers() if self.reconciler else ()
        )
        self._rules: Mapping[int, Rule] = built_in(False, False, False)
        self._names = self._book.names()
        self._applied: Wanted | None = None

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with list files and with entries of objects."""
        return [*(one.problem for one in self.lists.values() if one.problem), *self.tables.problems]

    def rules(self) -> Mapping[int, Rule]:
        """The rules in force, the kernel's own among them, by number."""
        return self._rules

    def name_of(self, number: int) -> str:
        """The name of a rule, also of one that is no more; "" for one that is not known. Safe from any thread."""
        rule = self._rules.get(number)
        return rule.name if rule else self._names.get(number, "")

    def apply(self, snapshot: Snapshot, devices: Devices, labels: Mapping[str, str], server: frozenset[bytes]) -> None:
        """Put a snapshot's Shields into force; raises RemoraError with the old ones in force."""
        shields = tuple(wanted_here(snapshot.shields, labels))
        self._look(shields)
        if self.reconciler is None:
            if shields:
                raise _unwired(shields)
            return
        files = {name: state.entries for name, state in self.lists.items()}
        wanted = Wanted(shields, _own(devices), server, tuple((name, id(found)) for name, found in files.items()))
        if wanted == self._applied or (not shields and not self.reconciler.active):
            return
        if self.reconciler.inherited and snapshot.unread_shields:
            raise _kept(snapshot.unread_shields)
        self._applied = None
        self._put(self.reconciler, wanted, labels, files)
        self._applied = wanted

    def _look(self, shields: Sequence[Shield]) -> None:
        """Read the files that changed; what is newly wrong goes to the log."""
        lists = scan(self.folder, files_of(shields), self.lists)
        for name, state in lists.items():
            if state.problem and state is not self.lists.get(name):
                log.error("%s", state.problem)
        self.lists = lists

    def _put(
        self,
        reconciler: ShieldReconciler,
        wanted: Wanted,
        labels: Mapping[str, str],
        files: Mapping[str, Entries | None],
    ) -> None:
        book = self._book
        around = Surroundings(
            labels,
            wanted.own,
            wanted.api_server,
            str(self.folder),
            files,
            lambda name: reconciler.held(book.number(name)),
        )
        tables = compile_shield(wanted.shields, around, book.number)
        self._names = book.names()  # first: a flow must not come before the words for its rule
        changes = reconciler.apply(tables)
        switches = tables.switches
        own = built_in(switches.malformed_dry, switches.syn_dry, switches.dry)
        self.tables, self._rules = tables, {**own, **tables.rules}
        self._tidy({one.name for one in tables.rules.values()})
        for problem in tables.problems:
            log.warning("%s", problem)
        if changes:
            log.info("shield: %s", changes)

    def _tidy(self, used: set[str]) -> None:
        gone = self._book.retire(used)
        if gone and self._datapath.shield_hits is not None:
            self._datapath.shield_hits.forget(gone)
        self._book.keep()


def _own(devices: Devices) -> frozenset[bytes]:
    addresses = {*devices.node_addresses, *(one for uplink in devices.uplinks for one in uplink.addresses)}
    return frozenset(map(packed, addresses))


def _unwired(shields: Sequence[Shield]) -> ShieldError:
    names = ", ".join(one.name for one in shields)
    what = f"Shield {names} is wanted and not in force: no program for XDP runs on this node"
    return ShieldError(what, "set `xdp: auto` in the settings and restart the agent, which touches no traffic")


def _kept(unread: Sequence[str]) -> ShieldError:
    what = f"{', '.join(unread[:3])} cannot be read and may hold Shields, so those of the agent before stay in force"
    return ShieldError(what, "repair or remove it; until then no change of Shields or lists is taken over")
