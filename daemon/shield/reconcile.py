"""Bring the kernel's maps to tables while packets are judged by them.

Each list is in the kernel twice. What is to hold is written whole to the side that is not in force, and comes into
force with the configuration, in one write for all lists: a packet finds the old lists or the new ones. Lists in which
nothing changed keep their side. The side that was in force is emptied once no program looks at it any more.

The maps are read once, when an agent begins, and after a write that failed; from then on what was written is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from daemon.shield.columns import (
    ADDRESSES,
    BLOCKS,
    LISTS,
    NETWORKS4,
    Maps,
    Pairs,
    config_pair,
    entries_of,
    limit_pairs,
    read_pairs,
    rules_of,
    side,
    swapped,
    wanted_pairs,
)
from daemon.shield.entries import Entries, inside, joined, of_addresses
from daemon.shield.tables import ShieldTables
from ebpf.constants import ShieldFlag
from ebpf.errors import MapFullError
from ebpf.grace import wait_for_readers
from ebpf.maps import HashMap

_CONFIG, _LIMITS, _BANS = "shield_config", "shield_limits", "shield_bans"


@dataclass(frozen=True, slots=True)
class Changes:
    """What an apply did: entries in force before and after where lists changed, bans of allowed addresses lifted."""

    before: int = 0
    after: int = 0
    lists: tuple[str, ...] = ()
    """maps that changed sides"""
    lifted: int = 0

    def __bool__(self) -> bool:
        return bool(self.lists or self.lifted)


class ShieldReconciler:
    """The only writer of the shield's lists, limits and configuration; for one thread."""

    def __init__(self, maps: Maps, grace: Callable[[], None] = wait_for_readers) -> None:
        """Reads the maps; raises KernelError. `grace` waits until no program uses the configuration before."""
        self._maps, self._grace = maps, grace
        self._held: dict[str, Pairs] | None = None
        self._known()
        self.inherited = self.active
        """an agent before left a shield in force, and nothing else was put there since"""

    @property
    def active(self) -> bool:
        """Does the kernel look at anything?"""
        value = self._maps[_CONFIG].lookup(np.zeros(1, self._maps[_CONFIG].key_dtype))
        return value is not None and any(int(value[0][name]) for name in ("flags", "limits", "syn_rate"))

    def numbers(self) -> set[int]:
        """The numbers of all rules in the maps."""
        found = [rules_of(name, pairs) for name, pairs in self._known().items()]
        found.append(self._maps[_LIMITS].items()[1]["rule"])
        return {int(number) for column in found for number in column}

    def held(self, rule: int) -> Entries:
        """What the maps hold of a list, as far as nothing stronger covered it."""
        return joined(entries_of(name, pairs, rule) for name, pairs in self._known().items())

    def apply(self, tables: ShieldTables) -> Changes:
        """Put tables in force; raises MapFullError, KernelError, either with the old ones in force."""
        held, flags = self._known(), self._flags
        self._check(tables)
        wanted = wanted_pairs(tables, self._maps)
        changed = tuple(name for name in LISTS if not held[name].same(wanted[name]))
        self._held = None
        for name in changed:
            self._write(side(self._maps, name, flags, in_force=False), wanted[name], name)
        self._maps[_LIMITS].update(*limit_pairs(tables.limits, self._maps[_LIMITS]))
        lifted = self._lift(tables)
        config = self._maps[_CONFIG]
        config.update(*config_pair(tables, wanted, swapped(flags, changed), config))
        self._leave(changed, flags)
        lifted += self._lift(tables)  # one more look, for who was banned by the old configuration meanwhile
        self._held, self.inherited = wanted, False
        return Changes(_size(held), len(tables.entries), changed, lifted)

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
        return bool(self._flags & ShieldFlag.DRY_RUN) and not tables.switches.dry

    @property
    def _flags(self) -> int:
        value = self._maps[_CONFIG].lookup(np.zeros(1, self._maps[_CONFIG].key_dtype))
        return int(value[0]["flags"]) if value is not None else 0

    def _write(self, table: HashMap, wanted: Pairs, name: str) -> None:
        """Fill a side that is not in force, and in which an agent that was ended may have left something."""
        if name != BLOCKS:
            table.delete(table.items()[0])
        table.update(*wanted)

    def _leave(self, changed: tuple[str, ...], flags: int) -> None:
        """Empty the sides that were in force; of blocks there are always as many, whatever is in them."""
        if changed:
            self._grace()
        for name in changed:
            if name != BLOCKS:
                table = side(self._maps, name, flags, in_force=True)
                table.delete(table.items()[0])

    def _check(self, tables: ShieldTables) -> None:
        """Refuse what does not fit before anything is written."""
        single, v4 = tables.entries.bits == 128, tables.entries.v4
        for words, setting, needed in (
            ("single addresses", "shield_addresses", single),
            ("networks of IPv4", "shield_networks", ~single & v4),
            ("networks of IPv6", "shield_networks", ~single & ~v4),
        ):
            table = ADDRESSES if setting == ADDRESSES else NETWORKS4
            most, count = self._maps[table].max_entries, int(needed.sum())
            if count > most:
                what = f"there is room for {most:,} {words} and the lists have {count:,}; nothing was changed"
                raise MapFullError(what, hint=f"raise `{setting}` in the settings")

    def _known(self) -> dict[str, Pairs]:
        if self._held is None:
            self._held = read_pairs(self._maps, self._flags)
        return self._held


def _size(held: Mapping[str, Pairs]) -> int:
    """Entries in lists as they are written; a block is up to ten."""
    blocks = int((held[BLOCKS].values["said"] > 0).sum())
    return blocks + sum(len(pairs.keys) for name, pairs in held.items() if name != BLOCKS)
