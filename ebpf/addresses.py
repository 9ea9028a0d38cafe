"""Addresses as the kernel side keeps them: 16 bytes in network order, IPv4 as ::ffff:a.b.c.d.

One form for both families means one path through maps, keys and columns.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address

MAPPED = bytes(10) + b"\xff\xff"
"""First 12 bytes of every IPv4 address."""


def pack(address: Address | str) -> bytes:
    """The 16 bytes of an address; raises ValueError for text that is none."""
    parsed = ip_address(address) if isinstance(address, str) else address
    return MAPPED + parsed.packed if isinstance(parsed, IPv4Address) else parsed.packed


def unpack(raw: bytes) -> Address:
    """The address of 16 bytes; mapped ones come back as IPv4. Raises ValueError for another length."""
    if len(raw) != 16:
        raise ValueError(f"an address has 16 bytes, not {len(raw)}")
    return IPv4Address(raw[12:]) if raw[:12] == MAPPED else IPv6Address(raw)


def text(raw: bytes) -> str:
    """The address of 16 bytes as people write it."""
    return str(unpack(raw))
