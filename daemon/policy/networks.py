"""Networks of both families in one space of 128 bits, IPv4 as ::ffff:0:0/96 and longer, as in the kernel's tries.

An IPv4 network never contains an IPv6 address nor the reverse, although ::/0 contains the mapped addresses by its bits:
so every question here asks for the family, too, and `barrier` is what a trie needs to keep them apart.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from daemon.model import addresses
from ebpf.addresses import MAPPED

V4_BITS = 96
_V4 = int.from_bytes(MAPPED + bytes(4))


class Network(NamedTuple):
    """`bits` of 128; `base` without host bits."""

    base: int
    bits: int

    @property
    def raw(self) -> tuple[bytes, int]:
        return self.base.to_bytes(16), self.bits

    @property
    def v4(self) -> bool:
        return self.bits >= V4_BITS and is_v4(self.base)

    def holds(self, other: Network) -> bool:
        """Whether all of the other is in it."""
        same = self.v4 == other.v4
        return same and self.bits <= other.bits and _cut(other.base, self.bits) == self.base

    def has(self, address: int) -> bool:
        """Whether an address is in it."""
        return _cut(address, self.bits) == self.base and self.v4 == is_v4(address)


BARRIER = Network(_V4, V4_BITS)  # all of IPv4


def is_v4(address: int) -> bool:
    return address >> 32 == _V4 >> 32


def network_of(text: str) -> Network:
    """The network of a CIDR, host bits cut off, leading zeros of IPv4 decimal as the API server reads them.

    Raises ValueError for what is none, a plain address included.
    """
    if "/" not in text:
        raise ValueError(f'"{text}" has no prefix length')
    found = addresses.network_of(text)
    base = int(found.network_address)
    return Network(_V4 | base, V4_BITS + found.prefixlen) if found.version == 4 else Network(base, found.prefixlen)


class Zones:
    """The networks that policies name. Networks nest, so the longest that has an address says which others have it."""

    def __init__(self, networks: Collection[Network]) -> None:
        self._by_bits: dict[int, set[int]] = {}
        for network in networks:
            self._by_bits.setdefault(network.bits, set()).add(network.base)
        self._lengths = sorted(self._by_bits, reverse=True)

    def zone(self, address: int) -> Network | None:
        """The longest network that has the address."""
        v4 = is_v4(address)
        for bits in self._lengths:
            if v4 and bits < V4_BITS:
                return None
            base = _cut(address, bits)
            if base in self._by_bits[bits]:
                return Network(base, bits)
        return None

    def barrier(self) -> bool:
        """Whether a trie of these networks would find an IPv6 one for an IPv4 address of no network."""
        wide = any(bits < V4_BITS and _cut(_V4, bits) in bases for bits, bases in self._by_bits.items())
        return wide and BARRIER.base not in self._by_bits.get(BARRIER.bits, ())


def _cut(address: int, bits: int) -> int:
    return address >> (128 - bits) << (128 - bits)
