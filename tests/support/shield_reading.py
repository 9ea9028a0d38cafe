"""A frame as the shield must understand it, and the first thing that is wrong with it in itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
HOP_BY_HOP, ROUTING, FRAGMENT, AUTH, DESTINATION, MOBILITY = 0, 43, 44, 51, 60, 135
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, AUTH, DESTINATION, MOBILITY)
EXTENSIONS_MAX = 8
VLAN_TAGS_MAX = 2
FIN, SYN, RST, ACK = 1, 2, 4, 16
MEANING = 0x3F  # all flags but those of congestion, which say nothing by themselves
DATAGRAM_MAX = 65535
_PORTS = {TCP: 20, UDP: 8, SCTP: 12}
"""bytes of the header of protocols that have ports"""
_WHOLE = {TCP: 20, UDP: 8, ICMP: 8, ICMPV6: 8}
"""bytes that a transport's header has at least"""


class Fault(StrEnum):
    """What can be wrong."""

    HEADER = "the IP header is none"
    LENGTH = "the lengths do not fit"
    EXTENSIONS = "IPv6 extension headers"
    SOURCE = "nobody can have this source"
    LOOPBACK = "loopback address"
    LAND = "source is destination"
    TCP = "TCP header"
    FLAGS = "TCP flags"
    PORT = "port 0"
    UDP = "UDP length"
    ICMP = "ICMP cut off"
    TINY = "first fragment too small"
    FRAGMENT = "fragment length or offset"
    OVERLAP = "fragments overlap"


@dataclass(slots=True)
class Seen:
    """What is known of an IP packet. `offset` in bytes; `payload` is what follows the IP headers, without padding."""

    source: bytes = b""
    target: bytes = b""
    protocol: int = -1
    identity: int = 0
    offset: int = 0
    more: bool = False
    size: int = 0
    """bytes of the datagram that a fragment carries: of IPv6 what follows the fragment header, whatever it is"""
    header: bytes = b""
    """of IPv4, with its options"""
    payload: bytes = b""
    fault: Fault | None = None

    @property
    def readable(self) -> bool:
        """Is it known who sent it?"""
        return bool(self.source)

    @property
    def port(self) -> int:
        """Destination's; 0 where there is none, as in later fragments."""
        there = not self.offset and len(self.payload) >= _PORTS.get(self.protocol, DATAGRAM_MAX)
        return int.from_bytes(self.payload[2:4]) if there else 0

    @property
    def is_syn(self) -> bool:
        """Does it ask for a connection?"""
        return self.protocol == TCP and not self.offset and self.payload[13] & (SYN | ACK) == SYN

    @property
    def is_fragment(self) -> bool:
        """Is it a part of a datagram?"""
        return self.more or self.offset > 0


def read(frame: bytes) -> Seen | None:
    """What a frame is; None where it is no IP."""
    at = 12
    for _ in range(VLAN_TAGS_MAX):
        if frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
            at += 4
    kind, packet = frame[at : at + 2], frame[at + 2 :]
    seen = Seen()
    if kind == b"\x08\x00":
        seen.fault = _ipv4(seen, packet)
    elif kind == b"\x86\xdd":
        seen.fault = _ipv6(seen, packet)
    else:
        return None
    return seen


def _ipv4(seen: Seen, packet: bytes) -> Fault | None:
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return Fault.HEADER
    seen.source, seen.target, seen.protocol = packet[12:16], packet[16:20], packet[9]
    header, total = (packet[0] & 15) * 4, int.from_bytes(packet[2:4])
    if header < 20 or header > len(packet):
        return Fault.HEADER
    if total < header or total > len(packet):
        return Fault.LENGTH
    part = int.from_bytes(packet[6:8])
    seen.identity, seen.more, seen.offset = int.from_bytes(packet[4:6]), bool(part & 0x2000), (part & 0x1FFF) * 8
    seen.header, seen.payload = packet[:header], packet[header:total]
    seen.size = total - header
    if seen.source[0] >> 4 == 14 or seen.source == b"\xff" * 4:
        return Fault.SOURCE
    if 127 in (seen.source[0], seen.target[0]):
        return Fault.LOOPBACK
    return _rest(seen)


def _ipv6(seen: Seen, packet: bytes) -> Fault | None:
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return Fault.HEADER
    seen.source, seen.target, seen.protocol = packet[8:24], packet[24:40], packet[6]
    length = int.from_bytes(packet[4:6])
    if 40 + length > len(packet):
        return Fault.LENGTH
    fault = _extensions(seen, packet[40 : 40 + length])
    if fault:
        return fault
    if seen.source[0] == 0xFF or seen.source[:12] == bytes(10) + b"\xff\xff":
        return Fault.SOURCE
    if bytes(15) + b"\x01" in (seen.source, seen.target):
        return Fault.LOOPBACK
    return _rest(seen)


def _extensions(seen: Seen, payload: bytes) -> Fault | None:
    """Go through the extension headers, as far as the packet has them: a later fragment has none of its own."""
    for number in range(EXTENSIONS_MAX + 1):
        seen.payload = payload
        if seen.protocol not in EXTENSIONS or seen.offset:
            return None
        if number == EXTENSIONS_MAX or (seen.protocol == HOP_BY_HOP and number):
            return Fault.EXTENSIONS
        size = _size(seen.protocol, payload[1]) if len(payload) >= 8 else 8
        if len(payload) < size:
            return Fault.EXTENSIONS
        part = int.from_bytes(payload[2:4]) & 0xFFF9 if seen.protocol == FRAGMENT else 0
        if part:  # else it is the whole datagram (RFC 6946)
            seen.offset, seen.more = part & 0xFFF8, bool(part & 1)
            seen.identity, seen.size = int.from_bytes(payload[4:8]), len(payload) - size
        if _ill_sized(seen):
            return Fault.FRAGMENT
        seen.protocol, payload = payload[0], payload[size:]
    raise AssertionError("the loop has its end")


def _size(protocol: int, length: int) -> int:
    if protocol == FRAGMENT:
        return 8
    return (length + 2) * 4 if protocol == AUTH else (length + 1) * 8


def _rest(seen: Seen) -> Fault | None:
    if seen.source == seen.target:
        return Fault.LAND
    if seen.is_fragment and (fault := _fragment(seen)):
        return fault
    return None if seen.offset else _transport(seen)


def _fragment(seen: Seen) -> Fault | None:
    if not seen.offset and len(seen.payload) < _WHOLE.get(seen.protocol, 0):
        return Fault.TINY
    if seen.protocol == TCP and seen.offset == 8:
        return Fault.TINY
    return Fault.FRAGMENT if _ill_sized(seen) else None


def _ill_sized(seen: Seen) -> bool:
    return seen.offset + seen.size > DATAGRAM_MAX or (seen.more and seen.size % 8 > 0)


def _transport(seen: Seen) -> Fault | None:
    if seen.protocol == TCP:
        return _tcp(seen.payload, whole=not seen.more)
    if seen.protocol == UDP:
        return _udp(seen.payload, whole=not seen.more)
    return Fault.ICMP if seen.protocol in (ICMP, ICMPV6) and len(seen.payload) < 8 else None


def _tcp(segment: bytes, *, whole: bool) -> Fault | None:
    if len(segment) < 20:
        return Fault.TCP
    offset, flags = segment[12] >> 4, segment[13]
    if offset < 5 or (whole and offset * 4 > len(segment)):
        return Fault.TCP
    if not flags & MEANING or (flags & SYN and flags & (FIN | RST)) or (flags & FIN and not flags & ACK):
        return Fault.FLAGS
    return Fault.PORT if bytes(2) in (segment[:2], segment[2:4]) else None


def _udp(datagram: bytes, *, whole: bool) -> Fault | None:
    if len(datagram) < 8:
        return Fault.UDP
    length = int.from_bytes(datagram[4:6])
    if length < 8 or (whole and length > len(datagram)):
        return Fault.UDP
    return Fault.PORT if datagram[2:4] == bytes(2) else None
