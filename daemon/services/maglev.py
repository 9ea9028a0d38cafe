"""Maglev's table: which backend each place belongs to, the same wherever it is computed.

Every backend has an order of its own in which it would like to have the places, made of its name by a hash. They take
turns, each taking the first that is still free, so shares are equal to within one place; and when one leaves, the
others want the same as before, so few places change hands but its own.

A backend's name is its address, without the port: all ports of a Service then share one table, since Services differ
in their lists of backends alone. Source: Eisenbud and others, "Maglev", NSDI 2016, 3.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import cycle, islice

import numpy as np
import numpy.typing as npt

from daemon.services.table import records

Places = npt.NDArray[np.uint16]

BACKENDS_MAX = 65_536
"""what an index of a place can tell"""

_SEED = b"remora maglev 1"  # part of the contract between nodes: all must have the same
_CHUNK = 64  # free places that are looked for at once


def names(backends: bytes) -> tuple[bytes, ...]:
    """Names for sorted backends: the address, and which one it is of those with that address."""
    found: list[bytes] = []
    for record in records(backends):
        number = int.from_bytes(found[-1][16:]) + 1 if found and found[-1][:16] == record[:16] else 0
        found.append(record[:16] + number.to_bytes(2))
    return tuple(found)


def places(owners: Sequence[bytes], size: int) -> Places:
    """For each of `size` places (a prime) the index of the owner that has it."""
    taken = bytearray(size)
    steps = np.arange(size, dtype=np.int64)
    walks = cycle([_walk(owner, taken, steps) for owner in owners])
    order = np.fromiter((next(walk) for walk in islice(walks, size)), np.int64, size)
    table = np.empty(size, np.uint16)
    table[order] = steps % len(owners)
    return table


def _walk(owner: bytes, taken: bytearray, steps: npt.NDArray[np.int64]) -> Iterator[int]:
    """The places that an owner takes, turn by turn. Free ones are sought in bulk; another may have taken one since."""
    size, busy = len(taken), np.frombuffer(taken, np.bool_)
    digest = blake2b(owner, digest_size=16, key=_SEED).digest()
    at, skip = int.from_bytes(digest[:8]) % size, int.from_bytes(digest[8:]) % (size - 1) + 1
    while True:
        length = min(size, _CHUNK * size // (size - int(np.count_nonzero(busy))) + 1)
        chunk = (at + skip * steps[:length]) % size
        at = (at + skip * length) % size
        for place in chunk[~busy[chunk]].tolist():
            if not taken[place]:
                taken[place] = True
                yield place
