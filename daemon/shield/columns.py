"""Between tables and the kernel's maps: the only place that knows the fields of the shield's maps."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from daemon.shield import blocks
from daemon.shield.entries import MASKS, V4_BITS, Entries, opaque
from daemon.shield.tables import LimitRow, ShieldTables, Switches
from ebpf.addresses import MAPPED
from ebpf.constants import ShieldAction, ShieldFlag, ShieldSaid
from ebpf.maps import Columns, HashMap

BLOCKS, ADDRESSES = "shield_blocks", "shield_addresses"
NETWORKS4, NETWORKS6 = "shield_networks4", "shield_networks6"
LISTS = (BLOCKS, ADDRESSES, NETWORKS4, NETWORKS6)
_FILLED = {
    BLOCKS: ShieldFlag(0), ADDRESSES: ShieldFlag.ADDRESSES,
    NETWORKS4: ShieldFlag.NETWORKS4, NETWORKS6: ShieldFlag.NETWORKS6,
}  # fmt: skip
_SECOND = {
    BLOCKS: ShieldFlag.BLOCKS_SECOND, ADDRESSES: ShieldFlag.ADDRESSES_SECOND,
    NETWORKS4: ShieldFlag.NETWORKS4_SECOND, NETWORKS6: ShieldFlag.NETWORKS6_SECOND,
}  # fmt: skip
_SIDES = functools.reduce(operator.or_, _SECOND.values())

Maps = Mapping[str, HashMap]


class Pairs(NamedTuple):
    """Keys and values of one map."""

    keys: Columns
    values: Columns

    def same(self, other: Pairs) -> bool:
        """Is it the same, in whatever order?"""
        return np.array_equal(np.sort(opaque(_bytes(*self))), np.sort(opaque(_bytes(*other))))


def side(maps: Maps, name: str, flags: int, *, in_force: bool) -> HashMap:
    """One of the two maps of a list, by the flags of the configuration."""
    return maps[name + "_second" if bool(flags & _SECOND[name]) == in_force else name]


def swapped(flags: int, names: Iterable[str]) -> int:
    """The sides after some lists changed theirs."""
    return functools.reduce(operator.xor, (_SECOND[name] for name in names), ShieldFlag(flags) & _SIDES)


def blocks_of(flags: int) -> int:
    """How many blocks are in force."""
    power = flags // int(ShieldFlag.BLOCKS)
    return 1 << power if power else 0


def read_pairs(maps: Maps, flags: int) -> dict[str, Pairs]:
    """What the lists in force hold; raises KernelError."""
    found = {name: Pairs(*side(maps, name, flags, in_force=True).items()) for name in LISTS if name != BLOCKS}
    return {**found, BLOCKS: _read_blocks(side(maps, BLOCKS, flags, in_force=True), blocks_of(flags))}


def _read_blocks(table: HashMap, count: int) -> Pairs:
    """The first so many; what is behind them is of other times."""
    keys, values = np.zeros(0, table.key_dtype), np.zeros(0, table.value_dtype)
    for more_keys, more_values in table.chunks() if count else ():
        keys, values = np.concatenate((keys, more_keys)), np.concatenate((values, more_values))
        if len(keys) >= count:
            break
    return Pairs(keys[:count], values[:count])


def wanted_pairs(tables: ShieldTables, maps: Maps) -> dict[str, Pairs]:
    """What the lists are to hold."""
    entries, v4 = tables.entries, tables.entries.v4
    single = entries.bits == 128
    chosen = {ADDRESSES: single & ~v4, NETWORKS4: v4 & ~single, NETWORKS6: ~v4 & ~single}
    packed = np.flatnonzero(single & v4)
    said = blocks.say(tables.rule[packed], tables.allow[packed], tables.dry[packed])
    table = maps[BLOCKS]
    rows, over = blocks.spread(_words(entries, packed)[:, 3], said, table.value_dtype, table.max_entries)
    chosen[ADDRESSES][packed[over]] = True
    found = {name: _pairs(tables, np.flatnonzero(places), maps[name], name) for name, places in chosen.items()}
    return {**found, BLOCKS: Pairs(np.arange(len(rows), dtype=table.key_dtype), rows)}


def _pairs(tables: ShieldTables, places: npt.NDArray[np.intp], table: HashMap, name: str) -> Pairs:
    keys, values = np.zeros(len(places), table.key_dtype), np.zeros(len(places), table.value_dtype)
    words = _words(tables.entries, places)
    bits = tables.entries.bits[places].astype(np.uint32)
    if name == NETWORKS4:
        keys["prefixlen"], keys["addr"] = bits - V4_BITS, words[:, 3]
    else:
        keys["addr"] = words
        if name == NETWORKS6:
            keys["prefixlen"] = bits
    values["rule"], values["dry"] = tables.rule[places], tables.dry[places]
    values["action"] = np.where(tables.allow[places], int(ShieldAction.ALLOW), int(ShieldAction.DENY))
    return Pairs(keys, values)


def _words(entries: Entries, places: npt.NDArray[np.intp]) -> npt.NDArray[np.uint32]:
    return np.ascontiguousarray(entries.addr[places]).view(np.uint32).reshape(len(places), 4)


def rules_of(name: str, pairs: Pairs) -> npt.NDArray[np.uint32]:
    """The numbers of the rules in a list, each once."""
    if name == BLOCKS:
        return np.unique(blocks.gathered(pairs.values)[1] // np.uint32(ShieldSaid.RULE))
    return np.unique(pairs.values["rule"])


def entries_of(name: str, pairs: Pairs, rule: int) -> Entries:
    """What a list holds of a rule, as entries."""
    if name == BLOCKS:
        addresses, said = blocks.gathered(pairs.values)
        return _entries4(addresses[said // int(ShieldSaid.RULE) == rule], 32)
    keys = pairs.keys[pairs.values["rule"] == rule]
    if name == NETWORKS4:
        return _entries4(keys["addr"], keys["prefixlen"])
    addr = np.ascontiguousarray(keys["addr"]).view(np.uint8).reshape(len(keys), 16)
    return _entries(addr, keys["prefixlen"] if name == NETWORKS6 else 128)


def _entries4(words: Columns, bits: Columns | int) -> Entries:
    addr = np.zeros((len(words), 16), np.uint8)
    addr[:, :12] = np.frombuffer(MAPPED, np.uint8)
    addr[:, 12:] = np.ascontiguousarray(words).view(np.uint8).reshape(len(words), 4)
    return _entries(addr, bits + V4_BITS)


def _entries(addr: npt.NDArray[np.uint8], bits: Columns | int) -> Entries:
    lengths = np.zeros(len(addr), np.uint8)
    lengths[:] = bits
    return Entries(addr & MASKS[lengths], lengths, np.zeros(len(addr), np.uint32))


def limit_pairs(rows: tuple[LimitRow, ...], table: HashMap) -> Pairs:
    """All places of the array, those behind the last limit empty."""
    values = np.zeros(table.max_entries, table.value_dtype)
    for value, row in zip(values, rows, strict=False):
        for field, content in row._asdict().items():
            value[field] = content
    return Pairs(np.arange(table.max_entries, dtype=table.key_dtype), values)


def config_pair(tables: ShieldTables, wanted: Mapping[str, Pairs], sides: int, table: HashMap) -> Pairs:
    """The configuration: what the shield looks at, which is nothing where nothing is wanted, and on which sides."""
    value = np.zeros(1, table.value_dtype)
    switches = tables.switches
    flags = int(_flags(switches)) | int(ShieldFlag.BLOCKS) * max(0, len(wanted[BLOCKS].keys).bit_length() - 1)
    for name in LISTS:
        if len(wanted[name].keys):  # of one that is empty, both sides are
            flags |= int(_FILLED[name]) | sides & int(_SECOND[name])
    value["flags"], value["limits"] = flags, len(tables.limits)
    for field in ("syn_rate", "proven_seconds", "ban_after", "ban_window", "ban_seconds"):
        value[field] = getattr(switches, field)
    return Pairs(np.zeros(1, table.key_dtype), value)


def _flags(switches: Switches) -> ShieldFlag:
    said = {
        ShieldFlag.MALFORMED: switches.malformed,
        ShieldFlag.MALFORMED_DRY: switches.malformed_dry,
        ShieldFlag.SYN_DRY: switches.syn_dry,
        ShieldFlag.BANS: switches.ban_after > 0,
        ShieldFlag.DRY_RUN: switches.dry,
    }
    return ShieldFlag(sum(flag for flag, on in said.items() if on))


def _bytes(*columns: Columns) -> Columns:
    """Rows of bytes of columns side by side."""
    count = len(columns[0])
    parts = [np.ascontiguousarray(one).view(np.uint8).reshape(count, one.dtype.itemsize) for one in columns]
    return np.concatenate(parts, axis=1)
