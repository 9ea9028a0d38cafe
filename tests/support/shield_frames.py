"""Frames for the shield: all kinds that are right, and the same with one or several things wrong with them.

Noise is refused at the first byte, so frames are built with their structure and damaged in it: a flag, a length, an
offset, a header too many, then bits and cuts anywhere. Addresses, ports and datagrams come from small sets, so that
lists are met and fragments meet each other. By hand and not by scapy, which takes a hundred times as long.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.support.shield_reading import (
    ACK,
    AUTH,
    DESTINATION,
    EXTENSIONS,
    FRAGMENT,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    MOBILITY,
    ROUTING,
    SCTP,
    SYN,
    TCP,
    UDP,
)

MACS = bytes.fromhex("000000000000020000000001")  # to the loopback device, on which test runs take place
PEERS4 = [bytes([198, 51, 100, number]) for number in range(1, 25)] + [bytes([10, number, 7, 9]) for number in range(8)]
PEERS6 = [bytes.fromhex("20010db8") + bytes([0, number & 3]) + bytes(9) + bytes([number]) for number in range(1, 25)]
ODD4 = [bytes(4), b"\xff" * 4, b"\x7f\0\0\1", b"\x7f\xff\xff\xff", b"\xe0\0\0\1", b"\xef\1\1\1", b"\xf0\0\0\1"]
ODD6 = [
    bytes(16), bytes(15) + b"\1", b"\xff\2" + bytes(13) + b"\1", b"\xfe\x80" + bytes(13) + b"\1",
    bytes(10) + b"\xff\xff\x0a\0\0\1", bytes(12) + b"\x0a\0\0\1", bytes(15) + b"\2",
]  # fmt: skip
USUAL_FLAGS = [SYN, SYN | ACK, ACK, ACK | 8, ACK | 1, 4, 4 | ACK, ACK | 9, SYN | 0xC0, ACK | 0x20]
_PAYLOADS = [0, 1, 7, 8, 16, 24, 64, 200]
_TAGS = [b"", b"", b"", b"", b"\x81\x00\x00\x03", b"\x88\xa8\x00\x02\x81\x00\x00\x03"]


class Forge:
    """Makes frames; the same seed makes the same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._made = 0
        self._is_part = False

    @property
    def _identity(self) -> int:
        """Number of the datagram whose fragments come at present, a handful of each family."""
        return self._made >> 5 & 0xFFFF

    def frame(self) -> bytes:
        """The next one."""
        self._made += 1
        made = self._random
        if made.random() < 0.02:
            return self._noise()
        family = made.choice((4, 6))
        protocols = TCP, TCP, TCP, UDP, UDP, ICMP if family == 4 else ICMPV6, SCTP, 47, 59, made.randrange(256)
        self._is_part = made.random() < 0.3
        protocol = protocols[self._identity % 9] if self._is_part else made.choice(protocols)
        payload = self._transport(protocol)
        packet = self._ipv4(protocol, payload) if family == 4 else self._ipv6(protocol, payload)
        if made.random() < 0.05:
            packet += bytes(made.randrange(1, 60))  # padding
        kind = b"\x08\x00" if family == 4 else b"\x86\xdd"
        frame = MACS + made.choice(_TAGS) + kind + packet
        return self._damaged(frame) if made.random() < 0.4 else frame

    def _noise(self) -> bytes:
        kind = self._random.choice((b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x88\xa8", b"\x08\x06"))
        tags = self._random.choice((*_TAGS, b"\x81\x00\x00\x01" * 3))
        return MACS + tags + kind + self._random.randbytes(self._random.randrange(120))

    def _rarely(self, odd: Callable[[], int], usual: int, chance: float = 0.03) -> int:
        return odd() if self._random.random() < chance else usual

    def _transport(self, protocol: int) -> bytes:
        made = self._random
        data = bytes(made.choice(_PAYLOADS))
        source = self._rarely(lambda: 0, made.randrange(1, 65536))
        target = self._rarely(lambda: 0, made.choice((53, 80, 443, 30080)))
        if protocol == TCP:
            return self._tcp(source, target) + data
        if protocol == UDP:
            length = self._rarely(lambda: made.choice((0, 7, 8, 9, len(data) + 9, 65535)), 8 + len(data), 0.1)
            return struct.pack("!HHHH", source, target, length, 0) + data
        return made.randbytes(8) + data

    def _tcp(self, source: int, target: int) -> bytes:
        made = self._random
        options = bytes(made.choice((0, 0, 0, 4, 20, 40)))
        offset = self._rarely(lambda: made.randrange(16), 5 + len(options) // 4, 0.05)
        flags = self._rarely(lambda: made.randrange(256), made.choice(USUAL_FLAGS), 0.15)
        numbers = made.getrandbits(32), made.getrandbits(32)
        return struct.pack("!HHIIBBHHH", source, target, *numbers, offset << 4, flags, 1024, 0, 0) + options

    def _ends(self, peers: list[bytes], odd: list[bytes]) -> bytes:
        made = self._random
        at = self._identity if self._is_part else made.randrange(len(peers))
        source, target = peers[at % len(peers)], peers[(at + 1) % len(peers)]
        if made.random() < 0.04:
            source = made.choice(odd)
        if made.random() < 0.04:
            target = made.choice(odd)
        return source + (source if made.random() < 0.01 else target)

    def _part(self, payload: bytes) -> tuple[int, bool, bytes]:
        """What part of a datagram a packet is: offset / 8, whether more come, and what it carries."""
        made = self._random
        if not self._is_part:
            return 0, False, payload
        offset = self._rarely(lambda: made.choice((1, 8189, 8191)), made.choice((0, 0, 3, 4, 6, 8, 12, 20, 30)), 0.05)
        more = made.random() < 0.7
        if more and made.random() < 0.9:
            payload = payload[: len(payload) & ~7]
        return offset, more, payload[: made.choice((24, 32, 300))]

    def _ipv4(self, protocol: int, payload: bytes) -> bytes:
        made = self._random
        offset, more, payload = self._part(payload)
        options = made.choice((0, 0, 0, 0, 1, 2, 10))
        words = self._rarely(lambda: made.randrange(16), 5 + options)
        total = 20 + options * 4 + len(payload)
        total = self._rarely(lambda: made.choice((0, 19, 20, total - 1, total + 1, 65535)), total)
        version = self._rarely(lambda: made.randrange(16), 4, 0.01)
        part = more << 13 | offset | made.choice((0, 0x4000)) | self._rarely(lambda: 0x8000, 0, 0.01)
        head = struct.pack("!BBHHHBBH", version << 4 | words, 0, total & 0xFFFF, self._identity, part, 64, protocol, 0)
        return head + self._ends(PEERS4, ODD4) + bytes([1]) * (options * 4) + payload

    def _ipv6(self, protocol: int, payload: bytes) -> bytes:
        made = self._random
        offset, more, payload = self._part(payload)
        fragment = offset or more or made.random() < 0.02
        chain = self._chain(fragment=bool(fragment))
        numbers = [*(number for number, _ in chain), protocol]
        body = b""
        for (number, words), after in zip(chain, numbers[1:], strict=True):
            if number == FRAGMENT:
                body += struct.pack("!BBHI", after, 0, offset << 3 | more, self._identity)
            else:
                size = (words + 2) * 4 if number == AUTH else (words + 1) * 8
                body += bytes([after, words]) + bytes(size - 2)
        body += payload
        length = self._rarely(lambda: made.choice((0, len(body) - 1, len(body) + 1, 65535)), len(body))
        version = self._rarely(lambda: made.randrange(16), 6, 0.01)
        return struct.pack("!IHBB", version << 28, length & 0xFFFF, numbers[0], 64) + self._ends(PEERS6, ODD6) + body

    def _chain(self, *, fragment: bool) -> list[tuple[int, int]]:
        """Extension headers and their length fields; mostly none, at times too many or in a wrong order."""
        made = self._random
        chain = [] if made.random() < 0.7 else [(HOP_BY_HOP, made.randrange(3))]
        while made.random() < 0.2:
            chain.append((made.choice((ROUTING, DESTINATION, MOBILITY, AUTH)), made.randrange(4)))
        if made.random() < 0.03:
            chain += [(made.choice((ROUTING, DESTINATION, AUTH)), 0)] * made.randrange(5, 10)
        if made.random() < 0.03:
            chain.append((made.choice(tuple(one for one in EXTENSIONS if one != FRAGMENT)), 0))
        if fragment:
            chain.append((FRAGMENT, 0))
            chain += [(DESTINATION, 0)] * (made.random() < 0.05)
        return chain

    def _damaged(self, frame: bytes) -> bytes:
        """Bits and bytes changed behind the addresses of the devices, cut off, or something behind it."""
        made = self._random
        ways = made.randrange(4)
        changed = bytearray(frame)
        if ways == 0:
            changed[12 + made.randrange(len(frame) - 12)] ^= 1 << made.randrange(8)
        elif ways == 1:
            for _ in range(made.randrange(1, 6)):
                changed[12 + made.randrange(len(frame) - 12)] = made.randrange(256)
        elif ways == 2:
            del changed[made.randrange(14, len(frame)) :]
        else:  # what is at the places that decide: version, lengths, fragment, protocol, next header
            at = 14 + made.choice((0, 2, 3, 4, 5, 6, 7, 9, 20, 32, 33, 40, 41, 42, 43))
            if at < len(changed):
                changed[at] = made.choice((0, 1, 6, 8, 17, 44, 0x20, 0x45, 0x46, 0x60, 255))
        return bytes(changed)
