"""Ethernet frames that carry TCP or UDP, one by one or by the hundred as one array.

Checksums are left at zero: the programs do not read them, and hardly any of these frames is meant to reach a socket.
Those that are get theirs by `summed`.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import numpy.typing as npt

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
MACS = bytes.fromhex("02000000000a000000000000")
"""Destination and source of every frame; a bridge drops what has no valid source, at once."""
SOURCE, DESTINATION, PORTS = slice(26, 30), slice(30, 34), slice(34, 36)
"""Where the addresses and the source port stand, as bytes of a frame."""
ADDRESS = 1 << 15
"""from one address to the next, for `distinct`"""


def tcp(source: str, destination: str, ports: tuple[int, int], flags: int, payload: bytes = b"") -> bytes:
    """One frame; `ports` are source and destination."""
    return _ipv4(source, destination, 6, _segment(ports, flags) + payload)


def tcp6(source: str, destination: str, ports: tuple[int, int], flags: int, payload: bytes = b"") -> bytes:
    """The same over IPv6."""
    segment = _segment(ports, flags) + payload
    ends = IPv6Address(source).packed + IPv6Address(destination).packed
    return MACS + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(segment), 6, 64) + ends + segment


def udp(source: str, destination: str, ports: tuple[int, int], payload: bytes = b"") -> bytes:
    """One frame; `ports` are source and destination."""
    return _ipv4(source, destination, 17, struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload)


def _segment(ports: tuple[int, int], flags: int) -> bytes:
    return struct.pack("!HHIIBBHHH", *ports, 1, 1, 5 << 4, flags, 65535, 0, 0)


def _ipv4(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0)
    ends = IPv4Address(source).packed + IPv4Address(destination).packed
    return MACS + b"\x08\x00" + ip + ends + payload


def distinct(template: bytes, count: int, first: int, end: slice = SOURCE, step: int = 1) -> npt.NDArray[np.uint8]:
    """Copies (count, length) of a frame that all differ: number `first + i * step` as one end's address and port.

    The low 15 bits are the source port, so with steps of `ADDRESS` or more no two have one address.
    """
    numbers = np.arange(first, first + count * step, step, dtype=np.uint64)
    frames = np.tile(np.frombuffer(template, np.uint8), (count, 1))
    address = (0x0B000000 + (numbers >> np.uint64(15) & np.uint64(0xFFFFFF))).astype(">u4")  # 11.0.0.0/8
    port = (0x8000 + (numbers & np.uint64(0x7FFF))).astype(">u2")
    frames[:, end] = address.view(np.uint8).reshape(count, 4)
    frames[:, PORTS] = port.view(np.uint8).reshape(count, 2)
    return frames


def summed(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The same frames of TCP with the checksums that a stack asks for; of UDP with that of IP, more is not needed."""
    whole = frames.copy()
    whole[:, 24:26] = _checksum(frames[:, 14:34], 0)
    if frames[0, 23] == 6:
        length = frames.shape[1] - 34
        whole[:, 50:52] = _checksum(frames[:, 26:], 6 + length)
    return whole


def _checksum(rows: npt.NDArray[np.uint8], more: int) -> npt.NDArray[np.uint8]:
    """The Internet checksum of each row, an even number of bytes, as two bytes."""
    total = np.ascontiguousarray(rows).view(">u2").sum(axis=1, dtype=np.uint32) + more
    for _ in range(2):
        total = (total & 0xFFFF) + (total >> 16)
    folded: npt.NDArray[np.uint8] = (~total & 0xFFFF).astype(">u2").view(np.uint8)
    return folded.reshape(-1, 2)
