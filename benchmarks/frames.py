"""Ethernet frames that carry TCP over IPv4, one by one or by the hundred as one array.

Checksums are left at zero: the programs do not read them, and none of these frames is meant to reach a socket.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import numpy as np
import numpy.typing as npt

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
MACS = bytes.fromhex("02000000000a000000000000")
"""Destination and source of every frame; a bridge drops what has no valid source, at once."""
SOURCE, DESTINATION, PORTS = slice(26, 30), slice(30, 34), slice(34, 36)
"""Where the addresses and the source port stand, as bytes of a frame."""


def tcp(source: str, destination: str, ports: tuple[int, int], flags: int, payload: bytes = b"") -> bytes:
    """One frame; `ports` are source and destination."""
    head = struct.pack("!HHIIBBHHH", *ports, 1, 1, 5 << 4, flags, 65535, 0, 0)
    length = 20 + len(head) + len(payload)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, 64, 6, 0)
    ends = IPv4Address(source).packed + IPv4Address(destination).packed
    return MACS + b"\x08\x00" + ip + ends + head + payload


def distinct(template: bytes, count: int, first: int, end: slice = SOURCE) -> npt.NDArray[np.uint8]:
    """Copies (count, length) of a frame that all differ: number `first + i` as address of one end and source port."""
    numbers = np.arange(first, first + count, dtype=np.uint64)
    frames = np.tile(np.frombuffer(template, np.uint8), (count, 1))
    address = (0x0B000000 + (numbers >> np.uint64(15) & np.uint64(0xFFFFFF))).astype(">u4")  # 11.0.0.0/8
    port = (0x8000 + (numbers & np.uint64(0x7FFF))).astype(">u2")
    frames[:, end] = address.view(np.uint8).reshape(count, 4)
    frames[:, PORTS] = port.view(np.uint8).reshape(count, 2)
    return frames
