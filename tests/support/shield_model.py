"""What the shield must say of a frame: a second reading of docs/xdp.md, of another make than the C.

The C walks a frame through bounds that the verifier wants to see and looks into maps; this slices bytes and goes
through plain lists. Nothing is shared but the words of the description, so where the two disagree one of them has
read it wrongly. Time is left out: limits and SYNs are none of this model's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.support.shield_reading import Fault, Seen, read

DROP, PASS = 1, 2  # XDP_DROP and XDP_PASS of linux/bpf.h
RANGES = 48  # fragments of one datagram that are kept in mind

Network = tuple[bytes, int]


@dataclass(frozen=True)
class Entry:
    """What an address or a network is on a list for."""

    allow: bool
    dry: bool = False


@dataclass(frozen=True)
class Limit:
    """What counts for a limit; 0: any."""

    protocol: int = 0
    port: int = 0
    only_syn: bool = False
    prefix4: int = 32
    prefix6: int = 128

    def bucket(self, seen: Seen) -> Network | None:
        """The network whose packets are counted together with this one; None where it does not count."""
        if (self.protocol not in (0, seen.protocol)) or (self.port not in (0, seen.port)):
            return None
        if self.only_syn and not seen.is_syn:
            return None
        length = self.prefix4 if len(seen.source) == 4 else self.prefix6
        spare = len(seen.source) * 8 - length
        number = int.from_bytes(seen.source) >> spare << spare
        return number.to_bytes(len(seen.source)), length


@dataclass
class Datagram:
    """The fragments of one datagram that were seen."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    length: int | None = None
    """bytes of all of it, once the last fragment was seen"""
    poisoned: bool = False

    def takes(self, start: int, end: int, *, more: bool) -> bool:
        """Note one more; False where it overlaps another without being the same, and for all that come after."""
        if self.poisoned or (start, end) in self.ranges:
            return not self.poisoned
        self.poisoned = any(start < other and begin < end for begin, other in self.ranges)
        if len(self.ranges) < RANGES:
            self.ranges.append((start, end))
        if not more:
            self.length = end
        return not self.poisoned

    @property
    def whole(self) -> bool:
        """Has every byte come, and none beyond the end?"""
        reached = 0
        for start, end in sorted(self.ranges):
            if start > reached:
                return False
            reached = max(reached, end)
        return not self.poisoned and reached == self.length


@dataclass
class Model:
    """What is in force, and what was seen. Addresses are 4 or 16 bytes."""

    malformed: bool = False
    malformed_dry: bool = False
    dry: bool = False
    """nothing is dropped, whatever it is"""
    bans: set[bytes] = field(default_factory=set)
    """those that have not ended"""
    lists: dict[Network, Entry] = field(default_factory=dict)
    datagrams: dict[tuple[bytes, bytes, int, int], Datagram] = field(default_factory=dict)

    def verdict(self, frame: bytes) -> int:
        """DROP or PASS."""
        seen = read(frame)
        if seen is None:
            return PASS
        drop = self.malformed and bool(self.fault(seen)) and not self.malformed_dry
        drop = drop or (seen.readable and self._unwanted(seen.source))
        return DROP if drop and not self.dry else PASS

    def fault(self, seen: Seen) -> Fault | None:
        """What is wrong with a frame, in itself or beside those that came before it."""
        if seen.fault or not seen.is_fragment:
            return seen.fault
        protocol = seen.protocol if len(seen.source) == 4 else 0  # RFC 791 asks for it, RFC 8200 does not
        key = seen.source, seen.target, seen.identity, protocol
        datagram = self.datagrams.setdefault(key, Datagram())
        taken = datagram.takes(seen.offset, seen.offset + seen.size, more=seen.more)
        if datagram.whole:
            del self.datagrams[key]
        return None if taken else Fault.OVERLAP

    def _unwanted(self, source: bytes) -> bool:
        entry = longest(self.lists.items(), source)
        return source in self.bans or (entry is not None and not entry.allow and not entry.dry)


def longest(lists: Iterable[tuple[Network, Entry]], address: bytes) -> Entry | None:
    """The entry of the longest prefix that an address is in."""
    found = [(length, entry) for (network, length), entry in lists if within(address, network, length)]
    return max(found, key=lambda one: one[0])[1] if found else None


def within(address: bytes, network: bytes, length: int) -> bool:
    """Is an address in a network of the same family?"""
    shift = len(address) * 8 - length
    return len(address) == len(network) and int.from_bytes(address) >> shift == int.from_bytes(network) >> shift
