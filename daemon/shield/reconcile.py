"""Bring the kernel's maps to tables while packets are judged by them.

Who is denied before a change and after it is denied throughout. For that, entries that drop come first, then those that
let pass or only count, then the limits, then the configuration, in one write, and only then what is gone goes: whatever
is in the tries between two writes, the longest prefix of such a source is one that drops, as `compile` leaves out all
that lies in something stronger. Only a map without room for the old beside the new makes what is gone go first.

The maps are read once, when an agent begins, and after a write that failed; from then on what was written is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from daemon.shield.columns import LISTS, Difference, Pairs, config_pair, difference, entries_of, limit_pairs
from daemon.shield.columns import wanted_pairs as wanted_of
from daemon.shield.entries import Entries, inside, joined, of_addresses
from daemon.shield.tables import ShieldTables
from ebpf.constants import ShieldFlag
from ebpf.errors import MapFullError
from ebpf.maps import HashMap

_CONFIG, _LIMITS, _BANS = "shield_config", "shield_limits", "shield_bans"
_SETTINGS = {name: "shield_addresses" if name == "shield_addresses" else "shield_networks" for name in LISTS}


@dataclass(frozen=True, slots=True)
class Changes:
    """How many entries an apply wrote and removed, and how many bans of allowed addresses it lifted."""

    written: int = 0
    removed: int = 0
    lifted: int = 0

    def __bool__(self) -> bool:
        return bool(self.written or self.removed or self.lifted)


class ShieldReconciler:
    """The only writer of the shield's lists, limits and configuration; for one thread."""

    def __init__(self, maps: Mapping[str, HashMap]) -> None:
        """Reads the maps; raises KernelError."""
        self._maps = maps
        self._held: dict[str, Pairs] | None = self._read()
        self.inherited = self.active
        """an agent before left a shield in force, and nothing else was put there since"""

    @property
    def active(self) -> bool:
        """Does the kernel look at anything?"""
        value = self._maps[_CONFIG].lookup(np.zeros(1, self._maps[_CONFIG].key_dtype))
        return value is not None and any(int(value[0][name]) for name in ("flags", "limits", "syn_rate"))

    def numbers(self) -> set[int]:
        """The numbers of all rules in the maps."""
        found = [np.unique(pairs.values["rule"]) for pairs in self._known().values()]
        found.append(self._maps[_LIMITS].items()[1]["rule"])
        return {int(number) for column in found for number in column}

    def held(self, rule: int) -> Entries:
        """What the maps hold of a list, as far as nothing stronger covered it."""
        return joined(
            entries_of(name, pairs.keys[pairs.values["rule"] == rule]) for name, pairs in self._known().items()
        )

    def apply(self, tables: ShieldTables) -> Changes:
        """Put tables in force; raises MapFullError with nothing changed, KernelError where a write failed."""
        held, wanted = self._known(), wanted_of(tables, self._maps)
        changes = {name: difference(held[name], wanted[name]) for name in LISTS}
        for name in LISTS:
            self._check(name, len(wanted[name].keys))
        early = {name for name in LISTS if len(held[name].keys) + changes[name].added > self._maps[name].max_entries}
        self._held = None
        self._remove(changes, early)
        for name, change in changes.items():
            self._maps[name].update(*change.firm)
        for name, change in changes.items():
            self._maps[name].update(*change.other)
        self._maps[_LIMITS].update(*limit_pairs(tables.limits, self._maps[_LIMITS]))
        lifted = self._lift(tables)
        self._maps[_CONFIG].update(*config_pair(tables, wanted, self._maps[_CONFIG]))
        self._remove(changes, set(LISTS) - early)
        lifted += self._lift(tables)  # one more look, for who was banned by the old configuration meanwhile
        self._held, self.inherited = wanted, False
        written = sum(len(one.firm.keys) + len(one.other.keys) for one in changes.values())
        return Changes(written, sum(len(one.gone) for one in changes.values()), lifted)

    def _lift(self, tables: ShieldTables) -> int:
        """Bans of who may not be banned, or of all where nobody is to be."""
        table = self._maps[_BANS]
        keys, _ = table.items()
        if len(keys) and tables.switches.ban_after and not self._switched_over(tables):
            keys = keys[inside(of_addresses([keys.tobytes()]), tables.entries.some(tables.allow))]
        table.delete(keys)
        return len(keys)

    def _switched_over(self, tables: ShieldTables) -> bool:
        """Was all of it only a trial until now? What it banned in words is not to be banned for real."""
        value = self._maps[_CONFIG].lookup(np.zeros(1, self._maps[_CONFIG].key_dtype))
        return value is not None and bool(int(value[0]["flags"]) & ShieldFlag.DRY_RUN) and not tables.switches.dry

    def _remove(self, changes: Mapping[str, Difference], names: Iterable[str]) -> None:
        for name in names:
            self._maps[name].delete(changes[name].gone)

    def _check(self, name: str, needed: int) -> None:
        most = self._maps[name].max_entries
        if needed > most:
            what = f"map {name} has room for {most:,} entries and the lists need {needed:,}; nothing was changed"
            raise MapFullError(what, hint=f"raise `{_SETTINGS[name]}` in the settings")

    def _known(self) -> dict[str, Pairs]:
        if self._held is None:
            self._held = self._read()
        return self._held

    def _read(self) -> dict[str, Pairs]:
        return {name: Pairs(*self._maps[name].items()) for name in LISTS}
