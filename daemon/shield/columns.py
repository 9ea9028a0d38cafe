"""Between tables and the kernel's maps: the only place that knows the fields of the shield's maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from daemon.shield.entries import MASKS, V4_BITS, Entries, opaque
from daemon.shield.tables import LimitRow, ShieldTables, Switches
from ebpf.addresses import MAPPED
from ebpf.constants import ShieldAction, ShieldFlag
from ebpf.maps import Columns, HashMap

ADDRESSES, NETWORKS4, NETWORKS6 = "shield_addresses", "shield_networks4", "shield_networks6"
LISTS = (ADDRESSES, NETWORKS4, NETWORKS6)
_FLAGS = {ADDRESSES: ShieldFlag.ADDRESSES, NETWORKS4: ShieldFlag.NETWORKS4, NETWORKS6: ShieldFlag.NETWORKS6}


class Pairs(NamedTuple):
    """Keys and values of one map."""

    keys: Columns
    values: Columns

    def some(self, places: Columns) -> Pairs:
        """Some of them."""
        return Pairs(self.keys[places], self.values[places])


class Difference(NamedTuple):
    """What leads from what a map holds to what it is to hold."""

    firm: Pairs
    """new or changed, and dropped for sure from now on"""
    other: Pairs
    gone: Columns
    added: int


def wanted_pairs(tables: ShieldTables, maps: Mapping[str, HashMap]) -> dict[str, Pairs]:
    """What the three maps of lists are to hold."""
    entries, v4 = tables.entries, tables.entries.v4
    single = entries.bits == 128
    chosen = {ADDRESSES: single, NETWORKS4: v4 & ~single, NETWORKS6: ~v4 & ~single}
    return {name: _pairs(tables, np.flatnonzero(chosen[name]), maps[name], name) for name in LISTS}


def _pairs(tables: ShieldTables, places: Columns, table: HashMap, name: str) -> Pairs:
    keys, values = np.zeros(len(places), table.key_dtype), np.zeros(len(places), table.value_dtype)
    words = np.ascontiguousarray(tables.entries.addr[places]).view(np.uint32).reshape(len(places), 4)
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


def difference(held: Pairs, wanted: Pairs) -> Difference:
    """Adds and changes, those that drop apart from the others, and what is to go."""
    before, after = opaque(_bytes(held.keys)), opaque(_bytes(wanted.keys))
    known = np.isin(after, before)
    same = np.isin(opaque(_bytes(*wanted)), opaque(_bytes(*held)))
    firm = (wanted.values["action"] == int(ShieldAction.DENY)) & (wanted.values["dry"] == 0)
    gone = held.keys[~np.isin(before, after)]
    return Difference(wanted.some(~same & firm), wanted.some(~same & ~firm), gone, int((~known).sum()))


def entries_of(name: str, keys: Columns) -> Entries:
    """Keys of a map of lists as entries."""
    count = len(keys)
    if name == NETWORKS4:
        addr = np.zeros((count, 16), np.uint8)
        addr[:, :12] = np.frombuffer(MAPPED, np.uint8)
        addr[:, 12:] = np.ascontiguousarray(keys["addr"]).view(np.uint8).reshape(count, 4)
        bits = keys["prefixlen"] + V4_BITS
    else:
        addr = np.ascontiguousarray(keys["addr"]).view(np.uint8).reshape(count, 16)
        bits = keys["prefixlen"] if name == NETWORKS6 else np.full(count, 128)
    bits = bits.astype(np.uint8)
    return Entries(addr & MASKS[bits], bits, np.zeros(count, np.uint32))


def limit_pairs(rows: tuple[LimitRow, ...], table: HashMap) -> Pairs:
    """All places of the array, those behind the last limit empty."""
    values = np.zeros(table.max_entries, table.value_dtype)
    for value, row in zip(values, rows, strict=False):
        for field, content in row._asdict().items():
            value[field] = content
    return Pairs(np.arange(table.max_entries, dtype=table.key_dtype), values)


def config_pair(tables: ShieldTables, wanted: Mapping[str, Pairs], table: HashMap) -> Pairs:
    """The configuration: what the shield looks at, which is nothing where nothing is wanted."""
    value = np.zeros(1, table.value_dtype)
    switches = tables.switches
    flags = _flags(switches)
    for name, flag in _FLAGS.items():
        flags |= flag if len(wanted[name].keys) else ShieldFlag(0)
    value["flags"], value["limits"] = int(flags), len(tables.limits)
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
