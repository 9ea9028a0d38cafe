"""What the kernel knows of sources at this moment: bans, tokens, proofs, and what its lists say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from daemon.shield import blocks
from daemon.shield.columns import ADDRESSES, BLOCKS, NETWORKS4, NETWORKS6, blocks_of, side
from daemon.shield.entries import MASKS, V4_BITS, Entries
from daemon.shield.tables import LimitRow
from ebpf.addresses import MAPPED
from ebpf.constants import ShieldAction, ShieldSaid
from ebpf.maps import Columns, HashMap

BANS, BUCKETS, PROVEN = "shield_bans", "shield_buckets", "shield_proven"
TICK_SHIFT, TOKEN = 9, 1_953_125
"""How limit.h counts: time in ticks of 2^9 ns, tokens in parts, of which a rate of 1/s brings one a tick."""


class Ban(NamedTuple):
    """A source (16 bytes) that is not let in for `remaining` ns more, because of the limit `rule`."""

    address: bytes
    rule: int
    remaining: int


class Said(NamedTuple):
    """What the kernel's lists say of a source."""

    rule: int
    allow: bool
    dry: bool


class Left(NamedTuple):
    """Tokens of a bucket; None where no packet was counted, so that it is full."""

    packets: int
    bytes: int


def bans(maps: Mapping[str, HashMap], now: int) -> list[Ban]:
    """Bans that have not ended at `now` (ns, CLOCK_MONOTONIC), the longest first; raises KernelError."""
    keys, values = maps[BANS].items()
    found = [
        Ban(key["addr"].tobytes(), int(value["rule"]), int(value["until"]) - now)
        for key, value in zip(keys, values, strict=True)
        if int(value["until"]) > now
    ]
    return sorted(found, key=lambda one: (-one.remaining, one.address))


def ban_of(maps: Mapping[str, HashMap], address: bytes, now: int) -> Ban | None:
    """The ban of one source; raises KernelError."""
    value = maps[BANS].lookup(_address_key(maps[BANS], address))
    if value is None or int(value[0]["until"]) <= now:
        return None
    return Ban(address, int(value[0]["rule"]), int(value[0]["until"]) - now)


def unban(maps: Mapping[str, HashMap], address: bytes) -> None:
    """Let a source in again; raises KernelError."""
    maps[BANS].delete(_address_key(maps[BANS], address))


def proven(maps: Mapping[str, HashMap], address: bytes, now: int) -> int:
    """For how long (ns) a source counts as proven; raises KernelError."""
    value = maps[PROVEN].lookup(_address_key(maps[PROVEN], address))
    return max(0, int(value[0]) - now) if value is not None else 0


def said_of(maps: Mapping[str, HashMap], address: bytes) -> Said | None:
    """What the kernel finds, asked as it asks itself; raises KernelError."""
    config = maps["shield_config"].lookup(np.zeros(1, maps["shield_config"].key_dtype))
    flags = int(config[0]["flags"]) if config is not None else 0
    said, elsewhere = _blocks_say(maps, flags, address)
    if said:
        return Said(said // int(ShieldSaid.RULE), bool(said & ShieldSaid.ALLOW), bool(said & ShieldSaid.DRY))
    table = side(maps, ADDRESSES, flags, in_force=True)
    value = table.lookup(_address_key(table, address)) if elsewhere else None
    if value is None:
        table = side(maps, NETWORKS4 if address[:12] == MAPPED else NETWORKS6, flags, in_force=True)
        value = table.lookup(_network_key(table, address))
    if value is None:
        return None
    return Said(int(value[0]["rule"]), int(value[0]["action"]) == int(ShieldAction.ALLOW), bool(value[0]["dry"]))


def _blocks_say(maps: Mapping[str, HashMap], flags: int, address: bytes) -> tuple[int, bool]:
    """What the address's block says of it, and whether the hash may say something."""
    count = blocks_of(flags)
    if not count or address[:12] != MAPPED:
        return 0, True
    table, word = side(maps, BLOCKS, flags, in_force=True), int(np.frombuffer(address, np.uint32)[3])
    row = table.lookup(np.array([blocks.place(word, count)], table.key_dtype))
    return (blocks.found_in(row[0], word), bool(row[0]["more"])) if row is not None else (0, False)


def left(maps: Mapping[str, HashMap], limit: LimitRow, address: bytes, now: int) -> Left | None:
    """What a source has left of a limit at `now`; raises KernelError."""
    table = maps[BUCKETS]
    key = np.zeros(1, table.key_dtype)
    cut = np.frombuffer(address, np.uint8) & MASKS[shared_bits(limit, address)]
    key["rule"], key["addr"] = limit.rule, cut.view(np.uint32)
    value = table.lookup(key)
    if value is None:
        return None
    ticks = max(0, (now >> TICK_SHIFT) - int(value[0]["last"]))
    parts = value.view(np.int64)  # what several CPUs take at once can be more than there was
    packets = (int(parts[0]) + limit.packet_rate * ticks) // TOKEN
    size = (int(parts[1]) + limit.byte_rate * ticks) // TOKEN
    return Left(max(0, min(packets, limit.packet_burst)), max(0, min(size, limit.byte_burst)))


def shared_bits(limit: LimitRow, address: bytes) -> int:
    """Bits of 128 that sources with one bucket share."""
    return V4_BITS + limit.prefix4 if address[:12] == MAPPED else limit.prefix6


def shared_network(limit: LimitRow, address: bytes) -> str:
    """The sources that share a bucket with one, as people write it."""
    found = np.frombuffer(address, np.uint8).reshape(1, 16), np.array([shared_bits(limit, address)], np.uint8)
    return Entries(found[0] & MASKS[found[1]], found[1], np.zeros(1, np.uint32)).text(0)


def _address_key(table: HashMap, address: bytes) -> Columns:
    key = np.zeros(1, table.key_dtype)
    key["addr"] = np.frombuffer(address, np.uint32)
    return key


def _network_key(table: HashMap, address: bytes) -> Columns:
    key = np.zeros(1, table.key_dtype)
    words = np.frombuffer(address, np.uint32)
    if address[:12] == MAPPED:
        key["prefixlen"], key["addr"] = 32, words[3]
    else:
        key["prefixlen"], key["addr"] = 128, words
    return key
