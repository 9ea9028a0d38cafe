"""Single IPv4 addresses, ten to a cache line, so that a packet waits for memory once: bpf_programs/include/listed.h.

An address belongs to one block, by its hash. What finds no place there, a few in a hundred, is to be elsewhere, and the
block says so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ebpf.constants import ShieldSaid
from ebpf.maps import Columns

FILL = 6.4  # addresses a block at most, as long as there is room: of ten slots, so that few find none
_SAID_MAX = np.iinfo(np.uint16).max
_LEAST = 2  # blocks; as one is written as none

Words = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]


def spread(addresses: Words, said: Words, dtype: np.dtype[Any], most: int) -> tuple[Columns, Mask]:
    """Blocks, at most so many, for addresses (n,) as they are in a packet with what is said of each (n,).

    Also says which addresses (n,) found no place.
    """
    count = _count(len(addresses), most)
    rows, over = np.zeros(count, dtype), np.ones(len(addresses), np.bool_)
    if not count:
        return rows, over
    home = mixed(addresses) & np.uint32(count - 1)
    order = np.lexsort((addresses, said > _SAID_MAX, home))
    home, addresses, said = home[order], addresses[order], said[order]
    slot = np.arange(len(home)) - np.searchsorted(home, home)
    fits = (slot < rows["addr"].shape[1]) & (said <= _SAID_MAX)
    rows["addr"][home[fits], slot[fits]] = addresses[fits]
    rows["said"][home[fits], slot[fits]] = said[fits]
    rows["more"][home[~fits]] = 1
    over[order[fits]] = False
    return rows, over


def gathered(rows: Columns) -> tuple[Words, Words]:
    """All addresses in blocks (n,), and what is said of each (n,)."""
    used = rows["said"] > 0
    return rows["addr"][used], rows["said"][used].astype(np.uint32)


def found_in(row: Columns, address: int) -> int:
    """What a block (shape ()) says of an address, 0 for nothing."""
    return int(row["said"][row["addr"] == address].max(initial=0))


def place(address: int, count: int) -> int:
    """Which of so many blocks an address belongs to."""
    return int(mixed(np.array([address], np.uint32))[0]) & (count - 1)


def say(rule: Words, allow: Mask, dry: Mask) -> Words:
    """What a list says of an address, in one number (n,)."""
    return rule * np.uint32(ShieldSaid.RULE) + dry * np.uint32(ShieldSaid.DRY) + allow * np.uint32(ShieldSaid.ALLOW)


def mixed(addresses: Words) -> Words:
    """The hash of addresses (n,): the finalizer of MurmurHash3, as in listed.h."""
    found: Words = addresses ^ addresses >> np.uint32(16)
    found = found * np.uint32(0x85EBCA6B)
    found = found ^ found >> np.uint32(13)
    found = found * np.uint32(0xC2B2AE35)
    found = found ^ found >> np.uint32(16)
    return found


def _count(addresses: int, most: int) -> int:
    """How many blocks: a power of two, none where there is nothing to say or no room for the smallest table."""
    if not addresses or most < _LEAST:
        return 0
    wanted = 1 << (int(np.ceil(addresses / FILL)) - 1).bit_length()
    return min(max(_LEAST, wanted), 1 << (most.bit_length() - 1))
