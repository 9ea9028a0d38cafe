"""`remora-tcp`: how connections do, from the records that tell it. Always in the direction of the initiator.

The round trip is taken from records of active connections and at their end; the handshake from the record of the
initiator's first ACK, or from a socket's first record, which comes with its end; a failure from the one record that
tells it. Retransmits stand in records as totals of their connection, so what was counted last is remembered, for
connections that have any.
"""

from __future__ import annotations

import numpy as np

from daemon.flows.metrics import catalogue
from daemon.flows.metrics.columns import talks, unpack_talk
from daemon.flows.metrics.contexts import reporter
from daemon.flows.metrics.options import HandlerConfig
from daemon.flows.metrics.series import HistogramCell
from daemon.flows.metrics.stage import CountStage, Keys, ValueStage, make_room
from daemon.flows.metrics.tables import Cells, Tables
from daemon.flows.record import RowArray
from daemon.flows.texts import FAILURES, PROTOCOLS, TCP, TcpFlag
from ebpf.constants import EventKind

_REMEMBERED = 65_536  # connections with retransmits
_MICROSECOND = 1e-6
_NO_ACK = np.uint8(TcpFlag.SYN | TcpFlag.FIN | TcpFlag.RST)


class TcpMetrics:
    """Counts records that say something of a connection's health."""

    def __init__(self, config: HandlerConfig, tables: Tables) -> None:
        self._tables = tables
        self._rtt = tables.histogram(config, catalogue.RTT)
        self._handshakes = tables.histogram(config, catalogue.HANDSHAKES)
        self._retransmits = tables.counter(config, catalogue.RETRANSMITS)
        self._failures = tables.counter(config, catalogue.FAILURES)
        self._told: dict[int, int] = {}  # retransmits of a connection that were counted
        self._rtts = ValueStage(catalogue.NETWORK_BUCKETS, self._rtt_cell)
        self._shakes = ValueStage(catalogue.NETWORK_BUCKETS, self._handshake_cell)
        self._repeats = CountStage(self._retransmit_cells)
        self._failed = CountStage(self._failure_cells, 16)
        self.stages = (self._rtts, self._shakes, self._repeats, self._failed)

    def put(self, rows: RowArray, sources: Keys, destinations: Keys, directions: Keys) -> None:
        """Stage what the records (n,) tell; the rest are columns of theirs."""
        columns = sources, destinations, directions, rows["reply"]
        measured = self._shaken(rows)
        if measured.any():
            self._shakes.put(_initiated(measured, *columns), rows["handshake"][measured] * _MICROSECOND)
        measured = _measured(rows)
        if measured.any():
            self._rtts.put(_initiated(measured, *columns), rows["srtt_us"][measured] * _MICROSECOND)
        self.put_failures(rows, sources, destinations, directions)
        repeated = rows["retransmits"] != 0
        if repeated.any():
            self._repeat(rows[repeated], _initiated(repeated, *columns))

    def put_failures(self, rows: RowArray, sources: Keys, destinations: Keys, directions: Keys) -> None:
        """Stage the records (n,) that tell a failure."""
        failed = rows["failure"] != 0
        if failed.any():
            kinds = (rows["proto"][failed].astype(np.uint64) << np.uint64(8)) | np.minimum(rows["failure"][failed], 255)
            talking = _initiated(failed, sources, destinations, directions, rows["reply"])
            self._failed.put(talking << np.uint64(16) | kinds)

    @staticmethod
    def _shaken(rows: RowArray) -> Keys:
        """The records of a first ACK: bare, or with data in the initiator's second packet; or those of a socket."""
        chosen: Keys = (rows["handshake"] != 0) & (rows["kind"] <= EventKind.FLAGS) & (rows["reply"] == 0)
        if chosen.any():
            flags = rows["tcp_flags"]
            bare = (flags & np.uint8(TcpFlag.PSH)) == 0
            segment = (flags & _NO_ACK == 0) & (bare | (rows["forward_packets"] == 2))
            chosen &= segment | (rows["kind"] == EventKind.NEW)
        return chosen

    def _repeat(self, rows: RowArray, talking: Keys) -> None:
        """Count what is new since the connection was last told."""
        connections = _connections(rows).tolist()
        ended = (rows["kind"] == EventKind.END).tolist()
        news = []
        for connection, total, end in zip(connections, rows["retransmits"].tolist(), ended, strict=True):
            news.append(max(0, total - self._told.pop(connection, 0)))
            if not end:
                make_room(self._told, _REMEMBERED)
                self._told[connection] = total
        for key, count in zip(talking.tolist(), news, strict=True):
            if count:
                self._repeats.add(key, count)

    def _rtt_cell(self, key: int) -> HistogramCell:
        return self._rtt.cell(self._tables.told(key), reporter(unpack_talk(key)[2]))

    def _handshake_cell(self, key: int) -> HistogramCell:
        return self._handshakes.cell(self._tables.told(key), reporter(unpack_talk(key)[2]))

    def _retransmit_cells(self, key: int) -> Cells:
        yield self._retransmits.cell(self._tables.told(key), reporter(unpack_talk(key)[2]))

    def _failure_cells(self, key: int) -> Cells:
        protocol = PROTOCOLS.get(key >> 8 & 0xFF, "Unknown L4")
        talking = key >> 16
        told = self._tables.told(talking)
        yield self._failures.cell(
            told, FAILURES.get(key & 0xFF, str(key & 0xFF)), protocol, reporter(unpack_talk(talking)[2])
        )


def _measured(rows: RowArray) -> Keys:
    """Records of active connections, one direction of them, and of ends, where the round trip is known."""
    active = (rows["kind"] == EventKind.INTERVAL) & (rows["reply"] == 0)
    measured: Keys = (rows["srtt_us"] != 0) & (active | (rows["kind"] == EventKind.END)) & (rows["proto"] == TCP)
    return measured


def _initiated(chosen: Keys, sources: Keys, destinations: Keys, directions: Keys, replies: Keys) -> Keys:
    """Talks (m,) of the chosen records, turned to the initiator's direction."""
    back = replies[chosen] != 0
    source, destination = sources[chosen], destinations[chosen]
    return talks(np.where(back, destination, source), np.where(back, source, destination), directions[chosen])


def _connections(rows: RowArray) -> Keys:
    """A number (n,) uint64 for the connection of each record, the same in both directions."""
    ends = np.ascontiguousarray(rows["src"]).view(np.uint64) + np.ascontiguousarray(rows["dst"]).view(np.uint64)
    mixed = ends[:, 0] ^ (ends[:, 1] * np.uint64(0x9E3779B97F4A7C15)) ^ rows["started"] * np.uint64(0xC2B2AE3D27D4EB4F)
    ports = rows["src_port"].astype(np.uint64) * rows["dst_port"].astype(np.uint64)
    numbers: Keys = mixed ^ (ports << np.uint64(20)) ^ rows["ifindex"].astype(np.uint64) << np.uint64(56)
    return numbers
