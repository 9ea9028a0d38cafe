"""Flow records as packed integers: what all metrics of plain records distinguish, from a few columns.

    shape: source end 15 | destination end 15 | direction 2 | protocol 3 | drop reason or point 8
           | ICMP type, TCP flags or SCTP chunk 8 | ICMP code 4 | verdict 3 | reply 1 | IPv6 1
    port:  source end 15 | destination end 15 | direction 2 | protocol 3 | verdict 3 | counted as 2 | port 16

Destination ports would make every shape distinct, so they have integers of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daemon.flows.metrics.ends import BITS
from daemon.flows.metrics.stage import Keys
from daemon.flows.record import RowArray
from daemon.flows.texts import ICMP, ICMPV6, IGMP, PROTOCOLS, SCTP, TCP, UDP, VRRP, TcpFlag
from ebpf.constants import Direction, Verdict

_COUNTED_FLAGS = TcpFlag.FIN | TcpFlag.SYN | TcpFlag.RST | TcpFlag.ACK
_END = (1 << BITS) - 1

KNOWN = (0, TCP, UDP, ICMP, ICMPV6, SCTP, VRRP, IGMP)
"""Protocols by their place, which takes 3 bits; 0 stands for all others."""

_PLACES = np.zeros(256, np.uint64)
_PLACES[list(KNOWN)] = range(len(KNOWN))
_WITH_PORT = np.isin(np.arange(256), (TCP, UDP, SCTP, ICMP, ICMPV6))  # Hubble counts ICMP under port 0
_DIRECTIONS = np.array(
    [number if number in (Direction.INGRESS, Direction.EGRESS) else 0 for number in range(256)], np.uint64
)
_DETAIL_IS_TYPE = np.isin(np.arange(256), (ICMP, ICMPV6, SCTP))

DISTRIBUTION, TO_WORLD = 1, 2
"""What a port counts as: bits."""


class Shape(NamedTuple):
    """What a packed shape stands for."""

    source: int
    destination: int
    direction: int
    protocol: int
    where: int = 0
    detail: int = 0
    code: int = 0
    verdict: int = 0
    reply: int = 0
    ipv6: int = 0

    @property
    def protocol_text(self) -> str:
        return PROTOCOLS.get(self.protocol, "Unknown L4")

    @property
    def family(self) -> str:
        return "IPv6" if self.ipv6 else "IPv4"


class PortKey(NamedTuple):
    source: int
    destination: int
    direction: int
    protocol: int
    verdict: int
    kind: int
    port: int


def talks(sources: Keys, destinations: Keys, directions: Keys) -> Keys:
    """Ends and direction as one integer (n,), 32 bits wide; see `unpack_talk`."""
    return (sources << np.uint64(15) | destinations) << np.uint64(2) | _DIRECTIONS.take(directions)


def talk(source: int, destination: int, direction: int) -> int:
    """The same for one."""
    return (source << 15 | destination) << 2 | int(_DIRECTIONS[direction])


def unpack_talk(packed: int) -> tuple[int, int, int]:
    """Source, destination, direction."""
    return packed >> 17 & _END, packed >> 2 & _END, packed & 3


def shapes(rows: RowArray, talking: Keys) -> Keys:
    """Packed shapes of records (n,)."""
    protocol, verdict = rows["proto"], rows["verdict"]
    where = np.where(verdict == Verdict.DROPPED, rows["reason"], rows["point"])
    flags = np.where(protocol == TCP, rows["tcp_flags"] & np.uint8(_COUNTED_FLAGS), np.uint8(0))
    typed = _DETAIL_IS_TYPE.take(protocol)
    detail = np.where(typed, rows["icmp_type"], flags)
    code = np.where(typed, np.minimum(rows["icmp_code"], 15), 0).astype(np.uint16)
    low = (code << 5 | (verdict & 7) << 2 | (rows["reply"] != 0) << 1 | (rows["family"] == 6)).astype(np.uint16)
    packed: Keys = (((talking << 3 | _PLACES.take(protocol)) << 8 | where) << 8 | detail) << 9 | low
    return packed


def ports(rows: RowArray, talking: Keys, to_world: Keys | None) -> Keys:
    """Packed ports of the records that count by port; `to_world`: which go outside (n,), None where nobody asks."""
    protocol, verdict = rows["proto"], rows["verdict"]
    counted = (rows["reply"] == 0) & _WITH_PORT.take(protocol)
    forwarded = (verdict == Verdict.FORWARDED) | (verdict == REDIRECTED)
    kinds = (counted & forwarded).astype(np.uint64) * DISTRIBUTION
    if to_world is not None:
        kinds |= to_world.astype(np.uint64) * TO_WORLD
    keys: Keys = (talking << 3 | _PLACES.take(protocol)) << 3 | (verdict & 7)
    chosen = kinds != 0
    packed: Keys = ((keys << 2 | kinds) << 16 | rows["dst_port"])[chosen]
    return packed


REDIRECTED = 5
"""flow.Verdict of what was sent to a proxy; no program here does so, and metrics count it as Hubble does."""


def unpack_shape(packed: int) -> Shape:
    return Shape(
        *unpack_talk(packed >> 28),
        protocol=KNOWN[packed >> 25 & 7],
        where=packed >> 17 & 0xFF,
        detail=packed >> 9 & 0xFF,
        code=packed >> 5 & 0xF,
        verdict=packed >> 2 & 7,
        reply=packed >> 1 & 1,
        ipv6=packed & 1,
    )


def unpack_port(packed: int) -> PortKey:
    return PortKey(
        *unpack_talk(packed >> 24),
        protocol=KNOWN[packed >> 21 & 7],
        verdict=packed >> 18 & 7,
        kind=packed >> 16 & 3,
        port=packed & 0xFFFF,
    )
