"""Hubble's handlers of plain flow records: what each counts, and under which words.

A handler sees a shape once, when it first occurs, and names the series that all records of that shape count in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Protocol

import numpy as np
from google.protobuf.descriptor import EnumDescriptor

from daemon.flows.metrics import catalogue
from daemon.flows.metrics.columns import DISTRIBUTION, KNOWN, REDIRECTED, PortKey, Shape
from daemon.flows.metrics.ends import WORLD_NAME
from daemon.flows.metrics.options import Flag, Handler, HandlerConfig
from daemon.flows.metrics.stage import Keys
from daemon.flows.metrics.tables import Cells, Tables, Told
from daemon.flows.record import RowArray
from daemon.flows.texts import ICMP, ICMPV6, PROTOCOLS, SCTP, TCP, TcpFlag, icmp_text
from daemon.proto import flow_pb2
from ebpf.constants import Verdict

POLICY_DENIED = int(flow_pb2.DropReason.POLICY_DENIED)
_KNOWN = np.isin(np.arange(256), KNOWN[1:])
# Hubble's trace points, by their numbers
_POINTS = (
    "to-endpoint", "to-proxy", "to-host", "to-stack", "to-overlay", "from-endpoint",
    "from-proxy", "from-host", "from-stack", "from-overlay", "from-network", "to-network",
)  # fmt: skip
_SOCKETS = ("from-host", "to-host")
# RFC 9260, section 3.2, those that Hubble tells apart
_CHUNKS = {1: "INIT", 2: "INIT_ACK", 6: "ABORT", 7: "SHUTDOWN", 8: "SHUTDOWN_ACK", 14: "SHUTDOWN_COMPLETE"}


class ShapeHandler(Protocol):
    """Names the series that a shape counts in."""

    def cells(self, shape: Shape, told: Told) -> Cells: ...


class PortHandler(Protocol):
    """Names the series that a port counts in."""

    def port_cells(self, key: PortKey, told: Told) -> Cells: ...


class Flows:
    """`flow`: every record."""

    def __init__(self, config: HandlerConfig, tables: Tables) -> None:
        self.flows = tables.counter(config, catalogue.FLOWS)

    def cells(self, shape: Shape, told: Told) -> Cells:
        dropped = shape.verdict == Verdict.DROPPED
        kind = ("Drop", "") if dropped else ("Trace", _point(shape.where))
        yield self.flows.cell(told, shape.protocol_text, *kind, verdict_text(shape.verdict))


class Drops:
    """`drop`: what was dropped, by reason."""

    def __init__(self, config: HandlerConfig, tables: Tables) -> None:
        self._drops = tables.counter(config, catalogue.DROPS)

    def cells(self, shape: Shape, told: Told) -> Cells:
        if shape.verdict == Verdict.DROPPED:
            yield self._drops.cell(told, _enum_name(flow_pb2.DropReason.DESCRIPTOR, shape.where), shape.protocol_text)


class Flags:
    """`tcp`: flags of forwarded segments. What a socket tells is no segment: its SYN would miss the SYN-ACK."""

    def __init__(self, config: HandlerConfig, tables: Tables) -> None:
        self._flags = tables.counter(config, catalogue.FLAGS)

    def cells(self, shape: Shape, told: Told) -> Cells:
        forwarded = shape.verdict in (Verdict.FORWARDED, REDIRECTED)
        if shape.protocol == TCP and forwarded and _point(shape.where) not in _SOCKETS:
            for flag in _flag_names(shape.detail):
                yield self._flags.cell(told, flag, shape.family)


class Icmp:
    """`icmp`: messages by type. The family is the packet's, where Hubble always says IPv4."""

    def __init__(self, config: HandlerConfig, tables: Tables) -> None:
        self._messages = tables.counter(config, catalogue.ICMP)

    def cells(self, shape: Shape, told: Told) -> Cells:
        if shape.protocol in (ICMP, ICMPV6):
            yield self._messages.cell(told, shape.family, icmp_text(shape.protocol, shape.detail, shape.code))


class Sctp:
    """`sctp`: the first chunk of a packet, where it opens or closes an association."""

    def __init__(self, config: HandlerConfig, tables: Tables) -> None:
        self._chunks = tables.counter(config, catalogue.SCTP)

    def cells(self, shape: Shape, told: Told) -> Cells:
        if shape.protocol == SCTP and shape.verdict == Verdict.FORWARDED and shape.detail in _CHUNKS:
            yield self._chunks.cell(told, _CHUNKS[shape.detail], shape.family)


class Ports:
    """`port-distribution`: where initiators send to."""

    def __init__(self, config: HandlerConfig, tables: Tables) -> None:
        self._ports = tables.counter(config, catalogue.PORTS)

    def port_cells(self, key: PortKey, told: Told) -> Cells:
        if key.kind & DISTRIBUTION:
            yield self._ports.cell(told, PROTOCOLS[key.protocol], "0" if _is_icmp(key.protocol) else str(key.port))


class World:
    """`flows-to-world`: what goes outside, answers excepted; of drops those by policy, or all (`any-drop`)."""

    def __init__(self, config: HandlerConfig, tables: Tables) -> None:
        self.by_port = Flag.PORT in config.flags
        self._any_drop = Flag.ANY_DROP in config.flags
        self._syn_only = Flag.SYN_ONLY in config.flags
        self._flows = tables.counter(config, catalogue.WORLD_PORTS if self.by_port else catalogue.WORLD)

    def cells(self, shape: Shape, told: Told) -> Cells:
        if not self.by_port and self.counts(shape, told):
            yield self._flows.cell(told, shape.protocol_text, verdict_text(shape.verdict))

    def port_cells(self, key: PortKey, told: Told) -> Cells:
        if self.by_port and key.kind & ~DISTRIBUTION:
            port = "" if _is_icmp(key.protocol) else str(key.port)
            yield self._flows.cell(told, _protocol_text(key.protocol), verdict_text(key.verdict), port)

    def counts(self, shape: Shape, told: Told) -> bool:
        """Is this one of the flows to the world?"""
        dropped = shape.verdict == Verdict.DROPPED
        if told.talk.destination.reserved != WORLD_NAME or not shape.protocol or (shape.reply and not dropped):
            return False
        if dropped and not self._any_drop and shape.where != POLICY_DENIED:
            return False
        opens = shape.detail & (TcpFlag.SYN | TcpFlag.ACK) == TcpFlag.SYN
        return opens or not self._syn_only or shape.protocol != TCP

    def mask(self, rows: RowArray, to_world: Keys) -> Keys:
        """Which records (n,) `counts` would take; `to_world`: whose destination is outside."""
        dropped = rows["verdict"] == Verdict.DROPPED
        found: Keys = to_world & (dropped | (rows["reply"] == 0)) & (_KNOWN.take(rows["proto"]))
        if not self._any_drop:
            found &= ~dropped | (rows["reason"] == POLICY_DENIED)
        if self._syn_only:
            opens = rows["tcp_flags"] & np.uint8(TcpFlag.SYN | TcpFlag.ACK) == TcpFlag.SYN
            found &= opens | (rows["proto"] != TCP)
        return found

    def message_cells(self, told: Told, protocol: str, verdict: int, port: int, stream: bool) -> Cells:
        """A request that went outside; its segment is never a SYN."""
        if told.talk.destination.reserved == WORLD_NAME and not (self._syn_only and stream):
            yield self._flows.cell(told, protocol, verdict_text(verdict), *([str(port)] if self.by_port else ()))


SHAPES: Mapping[Handler, Callable[[HandlerConfig, Tables], ShapeHandler]] = {
    Handler.FLOW: Flows,
    Handler.DROP: Drops,
    Handler.TCP: Flags,
    Handler.ICMP: Icmp,
    Handler.SCTP: Sctp,
    Handler.FLOWS_TO_WORLD: World,
}
PORTS: Mapping[Handler, Callable[[HandlerConfig, Tables], PortHandler]] = {Handler.PORT_DISTRIBUTION: Ports}


def _point(number: int) -> str:
    return _POINTS[number] if number < len(_POINTS) else str(number)


def _is_icmp(protocol: int) -> bool:
    return protocol in (ICMP, ICMPV6)


def _protocol_text(protocol: int) -> str:
    return PROTOCOLS.get(protocol, "Unknown L4")


def verdict_text(number: int) -> str:
    """`FORWARDED`; the number where it has no name."""
    return _enum_name(flow_pb2.Verdict.DESCRIPTOR, number)


def _enum_name(enum: EnumDescriptor, number: int) -> str:
    value = enum.values_by_number.get(number)
    return value.name if value else str(number)


@cache
def _flag_names(bits: int) -> list[str]:
    """Hubble's labels: SYN with ACK is a flag of its own."""
    syn = "SYN-ACK" if bits & TcpFlag.ACK else "SYN"
    named = ((TcpFlag.FIN, "FIN"), (TcpFlag.SYN, syn), (TcpFlag.RST, "RST"))
    return [name for flag, name in named if bits & flag]
