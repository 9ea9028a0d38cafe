"""Addresses and networks of a list as columns: read, compared and cut by the ten thousand.

All are 16 bytes and a number of bits of 128, IPv4 as ::ffff:a.b.c.d. A network of one family never holds an address of
the other, although ::/0 does by its bits, so whoever compares asks for the family, too.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import numpy as np
import numpy.typing as npt

from ebpf.addresses import MAPPED, unpack
from ebpf.errors import RemoraError

V4_BITS = 96
_MAPPED = np.frombuffer(MAPPED, np.uint8)
MASKS = np.packbits(np.tri(129, 128, -1, np.uint8), axis=1)
"""(129, 16): the first n bits set."""

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class ListError(RemoraError):
    """A line of a list is none; `line` counts from 1."""

    def __init__(self, line: int, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.line = line


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """`addr` (n, 16) without host bits, `bits` (n,) of 128, `line` (n,) where each was written, 0 for no line."""

    addr: Bytes
    bits: Bytes
    line: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.bits)

    @property
    def v4(self) -> Mask:
        """Which are of IPv4."""
        found: Mask = (self.bits >= V4_BITS) & (self.addr[:, :12] == _MAPPED).all(axis=1)
        return found

    def having(self, address: bytes) -> npt.NDArray[np.intp]:
        """The places of those that an address (16 bytes) is in, the longest first."""
        differ = (self.addr ^ np.frombuffer(address, np.uint8)) & MASKS[self.bits]
        found = np.flatnonzero(~differ.any(axis=1) & (self.v4 == (address[:12] == MAPPED)))
        return found[np.argsort(-self.bits[found].astype(int), kind="stable")]

    def some(self, places: npt.NDArray[Any]) -> Entries:
        """Some of them."""
        return Entries(self.addr[places], self.bits[places], self.line[places])

    def text(self, place: int) -> str:
        """One of them as people write it."""
        address, bits = unpack(self.addr[place].tobytes()), int(self.bits[place])
        return f"{address}/{bits - V4_BITS if address.version == 4 and bits >= V4_BITS else bits}"


NOTHING = Entries(np.zeros((0, 16), np.uint8), np.zeros(0, np.uint8), np.zeros(0, np.uint32))


def read_list(text: str) -> Entries:
    """One address or network a line, `#` or `;` begins a comment; raises ListError for the first line that is none."""
    return _checked(_columns(_lines(text.split("\n"))))


def of_cidrs(cidrs: Iterable[str]) -> Entries:
    """Those of an object, numbered from 1 while they are read; raises ListError."""
    found = _checked(_columns(_lines(cidrs)))
    return Entries(found.addr, found.bits, np.zeros(len(found), np.uint32))


def of_addresses(packed: Iterable[bytes]) -> Entries:
    """Single addresses of 16 bytes."""
    raw = b"".join(packed)
    count = len(raw) // 16
    return Entries(_rows(raw, count), np.full(count, 128, np.uint8), np.zeros(count, np.uint32))


def joined(parts: Iterable[Entries]) -> Entries:
    """All of several, in their order."""
    all_ = [NOTHING, *parts]
    return Entries(
        np.concatenate([one.addr for one in all_]),
        np.concatenate([one.bits for one in all_]),
        np.concatenate([one.line for one in all_]),
    )


def inside(weak: Entries, strong: Entries) -> Mask:
    """Which of the weak lie in one of the strong, or are the same."""
    covered = np.zeros(len(weak), np.bool_)
    if not len(weak):
        return covered
    weak4, strong4 = weak.v4, strong.v4
    for family in (True, False):
        of_strong = strong4 == family
        for bits in np.unique(strong.bits[of_strong]).tolist():
            asked = np.flatnonzero((weak4 == family) & (weak.bits >= bits) & ~covered)
            known = strong.addr[of_strong & (strong.bits == bits)]
            covered[asked] = np.isin(opaque(weak.addr[asked] & MASKS[bits]), opaque(known))
    return covered


def firsts(found: Entries) -> npt.NDArray[np.intp]:
    """The places of those that nobody before them is equal to, in order."""
    _, first = np.unique(opaque(np.column_stack((found.addr, found.bits))), return_index=True)
    return np.sort(first)


def opaque(rows: npt.NDArray[Any]) -> npt.NDArray[np.bytes_]:
    """Rows of bytes (n, size) as single values that can be compared; as all have one size, trailing zeros are safe."""
    return np.ascontiguousarray(rows).view(f"S{rows.shape[1]}").reshape(len(rows))


def _lines(lines: Iterable[str]) -> Iterator[tuple[bytes, int, int]]:
    """Address, bits of 128 and line of each entry."""
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].partition(";")[0].strip()
        if not text:
            continue
        host, slash, length = text.partition("/")
        try:
            if ":" in host:
                raw, bits, offset = socket.inet_pton(socket.AF_INET6, host), 128, 0
            else:
                raw, bits, offset = MAPPED + socket.inet_pton(socket.AF_INET, host), 32, V4_BITS
        except (OSError, ValueError):
            raise _wrong(number, text) from None
        if slash:
            if not (length.isdecimal() and length.isascii()) or int(length) > bits:
                raise _wrong(number, text)
            bits = int(length)
        if not offset and raw[:12] == MAPPED:
            raise ListError(number, f"{text} is an IPv4 address inside IPv6; write it as IPv4")
        yield raw, offset + bits, number


def _columns(found: Iterator[tuple[bytes, int, int]]) -> Entries:
    every = list(found)
    if not every:
        return NOTHING
    addresses, bits, lines = zip(*every, strict=True)
    return Entries(_rows(b"".join(addresses), len(every)), np.array(bits, np.uint8), np.array(lines, np.uint32))


def _checked(found: Entries) -> Entries:
    """Refuses networks with host bits: nobody knows what was meant."""
    wrong = (found.addr & ~MASKS[found.bits]).any(axis=1)
    if wrong.any():
        place = int(np.argmax(wrong))
        text = found.text(place)
        meant = ip_network(text, strict=False)
        raise ListError(int(found.line[place]), f"{text} has bits beyond its length; was {meant} meant?")
    return found


def _rows(raw: bytes, count: int) -> Bytes:
    return np.frombuffer(raw, np.uint8).reshape(count, 16)


def _wrong(line: int, text: str) -> ListError:
    what = f'"{text[:60]}" is no address or network'
    return ListError(line, what, "write 192.0.2.1 or 192.0.2.0/24")
