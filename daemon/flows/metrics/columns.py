"""Counting flow records without looking at one.

Of each record, everything that any metric distinguishes is packed into one integer, its shape. Shapes are staged over
several batches, sorted and counted by numpy, and only the distinct ones are visited in Python: some hundred for
sixteen thousand records. Destination ports would make every shape distinct, so they are packed into a second integer.

    shape: source peer 15 | destination peer 15 | protocol 8 | drop reason or point 8 | ICMP type or TCP flags 8
           | ICMP code 4 | verdict 3 | reply 1 | IPv6 1
    port:  source peer 15 | destination peer 15 | protocol 8 | port 16
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from daemon.flows.metrics.peers import BITS, PeerTable
from daemon.flows.metrics.series import Series
from daemon.flows.record import RowArray
from daemon.flows.texts import ICMP, ICMPV6, SCTP, TCP, UDP, TcpFlag
from ebpf.constants import Verdict

STAGED = 16_384  # records that wait to be counted: 256 KB
_CACHED = 65_536  # shapes whose series are remembered
_FORGOTTEN = _CACHED // 8  # of them go, the oldest first, when there is no room for another
_COUNTED_FLAGS = TcpFlag.FIN | TcpFlag.SYN | TcpFlag.RST | TcpFlag.ACK
_PEER = (1 << BITS) - 1

_WITH_PORT = frozenset({TCP, UDP, SCTP, ICMP, ICMPV6})  # Hubble counts ICMP under port 0

Keys = np.ndarray[Any, np.dtype[Any]]
_Target = tuple[Series[Any], Hashable]


class Shape(NamedTuple):
    """What a packed shape stands for; a series' key is a shape with everything that it ignores set to 0."""

    source: int
    destination: int
    protocol: int
    where: int = 0
    detail: int = 0
    code: int = 0
    verdict: int = 0
    reply: int = 0
    ipv6: int = 0


class PortKey(NamedTuple):
    source: int
    destination: int
    protocol: int
    port: int


class ColumnCounter:
    """The series that come from plain records. Not thread-safe: its owner locks."""

    def __init__(self, peers: PeerTable, limit: int) -> None:
        self.flows: Series[Shape] = Series(limit)
        self.drops: Series[Shape] = Series(limit)
        self.flags: Series[tuple[str, Shape]] = Series(limit)
        self.icmp: Series[Shape] = Series(limit)
        self.ports: Series[int] = Series(limit)
        self._peers = peers
        self._shapes = _Stage()
        self._ports = _Stage()
        self._targets: dict[int, list[_Target]] = {}

    def count(self, rows: RowArray) -> None:
        """Count records (n,) of the flow layout."""
        for start in range(0, len(rows), STAGED):
            self._stage(rows[start : start + STAGED])

    def flush(self) -> None:
        """Count what is staged."""
        for packed, count in self._shapes.drain():
            for series, key in self._targets.get(packed) or self._resolve(packed):
                series.add(key, count)
        for packed, count in self._ports.drain():
            if packed >> 16 & 0xFF in _WITH_PORT:
                self.ports.add(packed, count)

    def _stage(self, rows: RowArray) -> None:
        if self._shapes.room < len(rows):
            self.flush()
        ends = self._peers.column(rows["src_workload"]) << 15 | self._peers.column(rows["dst_workload"])
        protocol, verdict, reply = rows["proto"], rows["verdict"], rows["reply"]
        ends_and_protocol = ends << 8 | protocol
        self._shapes.put(_shapes(rows, ends_and_protocol, protocol, verdict, reply))
        initiated = (verdict == Verdict.FORWARDED) & (reply == 0)
        self._ports.put((ends_and_protocol << 16 | rows["dst_port"])[initiated])

    def _resolve(self, packed: int) -> list[_Target]:
        """The series that a shape counts in, remembered for the next time."""
        if len(self._targets) >= _CACHED:
            for oldest in list(islice(self._targets, _FORGOTTEN)):
                del self._targets[oldest]
        targets = self._targets[packed] = list(self._series(unpack_shape(packed)))
        return targets

    def _series(self, shape: Shape) -> Iterator[_Target]:
        dropped = shape.verdict == Verdict.DROPPED
        ends = shape[:3]
        yield self.flows, Shape(*ends, where=0 if dropped else shape.where, verdict=shape.verdict)
        if dropped:
            yield self.drops, Shape(*ends, where=shape.where)
        elif shape.protocol == TCP:
            for flag in _flag_names(shape.detail):
                yield self.flags, (flag, Shape(*ends, ipv6=shape.ipv6))
        if shape.protocol in (ICMP, ICMPV6):
            yield self.icmp, Shape(*ends, detail=shape.detail, code=shape.code)


class _Stage:
    """Keys that wait to be counted together."""

    def __init__(self) -> None:
        self._keys = np.empty(STAGED, np.uint64)
        self._used = 0

    @property
    def room(self) -> int:
        return STAGED - self._used

    def put(self, keys: Keys) -> None:
        self._keys[self._used : self._used + len(keys)] = keys
        self._used += len(keys)

    def drain(self) -> zip[tuple[int, int]]:
        """Distinct keys with their counts."""
        keys, counts = np.unique(self._keys[: self._used], return_counts=True)
        self._used = 0
        return zip(keys.tolist(), counts.tolist(), strict=True)


def _shapes(rows: RowArray, ends_and_protocol: Keys, protocol: Keys, verdict: Keys, reply: Keys) -> Keys:
    is_icmp = (protocol == ICMP) | (protocol == ICMPV6)
    where = np.where(verdict == Verdict.DROPPED, rows["reason"], rows["point"])
    flags = np.where(protocol == TCP, rows["tcp_flags"] & np.uint8(_COUNTED_FLAGS), np.uint8(0))
    detail = np.where(is_icmp, rows["icmp_type"], flags)
    code = np.where(is_icmp, np.minimum(rows["icmp_code"], 15), 0).astype(np.uint16)
    low = (code << 5 | (verdict & 7) << 2 | (reply != 0) << 1 | (rows["family"] == 6)).astype(np.uint16)
    packed: Keys = ((ends_and_protocol << 8 | where) << 8 | detail) << 9 | low
    return packed


def unpack_shape(packed: int) -> Shape:
    return Shape(
        source=packed >> 48 & _PEER,
        destination=packed >> 33 & _PEER,
        protocol=packed >> 25 & 0xFF,
        where=packed >> 17 & 0xFF,
        detail=packed >> 9 & 0xFF,
        code=packed >> 5 & 0xF,
        verdict=packed >> 2 & 7,
        reply=packed >> 1 & 1,
        ipv6=packed & 1,
    )


def unpack_port(packed: int) -> PortKey:
    return PortKey(packed >> 39 & _PEER, packed >> 24 & _PEER, packed >> 16 & 0xFF, packed & 0xFFFF)


@cache
def _flag_names(bits: int) -> list[str]:
    """Hubble's labels: SYN with ACK is a flag of its own."""
    syn = "SYN-ACK" if bits & TcpFlag.ACK else "SYN"
    named = ((TcpFlag.FIN, "FIN"), (TcpFlag.SYN, syn), (TcpFlag.RST, "RST"))
    return [name for flag, name in named if bits & flag]
