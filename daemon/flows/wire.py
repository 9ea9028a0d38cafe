"""Flows as bytes, a hundred thousand a second: what most of them share is built once.

Flows of one connection, and of many connections between the same ends, differ only in their time, ports and identifier.
So a record without those is a key; behind it lies the rest of the flow, told by the builder once and kept serialised.
What differs is written for a whole block of records at once, as columns, in numbers of fixed width: a varint may be
longer than it must be, and protobuf takes a message that comes in parts as one. The builder remains the only place that
knows how a record is told; a test holds both to the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np

from daemon.flows.builder import FlowBuilder
from daemon.flows.clock import Clock
from daemon.flows.record import RowArray
from daemon.flows.store import Rows
from daemon.flows.texts import SCTP, TCP, UDP
from daemon.model import Directory
from daemon.proto import flow_pb2, observer_pb2, remora_pb2

VARYING = (
    *("time", "started", "forward_packets", "forward_bytes", "reverse_packets", "reverse_bytes", "cgroup"),
    *("pid", "handshake", "length", "src_port", "dst_port", "marks", "comm", "srtt_us", "retransmits"),
)
"""Fields of a record that its flow does not depend on, or that are written apart; the others are the key."""

_HEADS = 65_536  # kept at most, some 45 MB, and only while a stream runs
_LENGTH_DELIMITED = 2
_TIMESTAMP = 12  # bytes of a timestamp: two tags, two numbers of five bytes
_PORTS = 12  # bytes of the part with the ports
_INNER = {TCP: b"\x0a", UDP: b"\x12", SCTP: b"\x2a"}  # tags in flow.Layer4
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_SHIFTS = np.arange(60, -1, -4, dtype=np.uint64)

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Form(Enum):
    """What a flow is wrapped into."""

    RESPONSE = "observer.GetFlowsResponse"
    ITEM = "an element of remora.v1.FlowBatch.items, with its tag"


class FlowWriter:
    """Writes flows of one node in one form. For one thread."""

    def __init__(self, builder: FlowBuilder, directory: Directory, clock: Clock, form: Form) -> None:
        self._builder = builder
        self._form = form
        self._directory = directory
        self._clock = clock
        self._heads: dict[bytes, bytes] = {}
        self._valid: tuple[object, ...] = ()
        self._masks: dict[np.dtype[Any], Bytes] = {}
        self._node = _field(1000, builder.node_name.encode())
        self._start = f"{builder.epoch:016x}"

    def keys(self, rows: RowArray, indices: Sequence[int]) -> list[bytes]:
        """What the flows of some records are known by."""
        self._renew()
        size = rows.dtype.itemsize
        raw = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), size).take(indices, axis=0)
        served = self._directory.frontend_ports
        ports = {name: raw.view(rows.dtype).reshape(-1)[name].copy() for name in ("src_port", "dst_port")}
        raw &= self._mask(rows.dtype)
        for name, values in ports.items():
            kept = np.isin(values, served)
            raw.view(rows.dtype).reshape(-1)[name][kept] = values[kept]
        found: list[bytes] = raw.view(f"V{size}").reshape(-1).tolist()
        return found

    def flow(self, rows: Rows, index: int) -> flow_pb2.Flow:
        """The flow of a record (not of a message) without what its key leaves open: time, ports, identifier."""
        row = rows.rows[index]
        flow = self._builder.build(row, 0, None)
        flow.ClearField("time")
        flow.ClearField("uuid")
        if int(row["proto"]) in _INNER:
            transport = getattr(flow.l4, str(flow.l4.WhichOneof("protocol")))
            transport.source_port = transport.destination_port = 0
        return flow

    def write(self, rows: Rows, indices: Sequence[int], keys: Sequence[bytes]) -> list[bytes]:
        """The flows of some records that are no messages."""
        tails, width = self._tails(rows, indices)
        protocols = rows.rows["proto"][indices].tolist()
        written = []
        for place, (index, key) in enumerate(zip(indices, keys, strict=True)):
            head = self._heads.get(key)
            if head is None:
                head = self._keep(key, self._head(self.flow(rows, index), protocols[place] in _INNER))
            begin = place * width + (0 if protocols[place] in _INNER else _PORTS)
            written.append(head + tails[begin : (place + 1) * width])
        return written

    def _keep(self, key: bytes, head: bytes) -> bytes:
        if len(self._heads) >= _HEADS:
            self._heads.clear()
        self._heads[key] = head
        return head

    def wrap(self, response: observer_pb2.GetFlowsResponse, extra: remora_pb2.FlowExtra | None) -> bytes:
        """A response that was made as a message."""
        if self._form is Form.RESPONSE:
            return response.SerializeToString()
        return _field(1, remora_pb2.FlowItem(response=response, extra=extra).SerializeToString())

    def _renew(self) -> None:
        """Names that have changed make heads stale."""
        valid = (*self._directory.state, self._builder.names.version)
        if len(valid) != len(self._valid) or any(
            one is not other for one, other in zip(valid, self._valid, strict=True)
        ):
            self._heads.clear()
            self._valid = valid

    def _mask(self, dtype: np.dtype[Any]) -> Bytes:
        """Ones where a record's bytes belong to its key."""
        if dtype not in self._masks:
            mask = np.full(1, 255, np.uint8).repeat(dtype.itemsize)
            for name in VARYING:
                assert dtype.fields is not None
                field, offset = dtype.fields[name][:2]
                mask[offset : offset + field.itemsize] = 0
            self._masks[dtype] = mask
        return self._masks[dtype]

    def _head(self, flow: flow_pb2.Flow, ported: bool) -> bytes:
        """The bytes of a flow that its key determines, wrapped, with the lengths of what will follow counted in."""
        raw = flow.SerializeToString()
        inner = len(raw) + (_PORTS if ported else 0) + 2 + _TIMESTAMP + 3 + 36
        opening = _tag(1) + _varint(inner)
        if self._form is Form.RESPONSE:
            return opening + raw
        size = len(opening) + inner + len(self._node) + 3 + _TIMESTAMP
        response = _tag(1) + _varint(size)
        return _tag(1) + _varint(len(response) + size) + response + opening + raw

    def _tails(self, rows: Rows, indices: Sequence[int]) -> tuple[bytes, int]:
        """What follows the heads, and its width; the ports come first, so that they can be left out."""
        chosen = np.asarray(indices, np.int64)
        at = rows.rows["time"][chosen].astype(np.int64) + self._clock.wall_ns(0)
        stamps = _stamps(at)
        parts = [
            _ports(rows.rows, chosen),
            _constant(_tag(1) + bytes([_TIMESTAMP]), len(chosen)),
            stamps,
            _constant(_tag(34) + bytes([36]), len(chosen)),
            self._identifiers(chosen.astype(np.uint64) + np.uint64(rows.start)),
            _constant(self._node + _tag(1001) + bytes([_TIMESTAMP]), len(chosen)),
            stamps,
        ]
        block = np.concatenate(parts, axis=1)
        return block.tobytes(), block.shape[1]

    def _identifiers(self, sequences: np.ndarray[Any, np.dtype[np.uint64]]) -> Bytes:
        """UUIDs: the run's half, then the record's."""
        nibbles = _HEX[((sequences[:, None] >> _SHIFTS) & np.uint64(15)).astype(np.intp)]
        start = self._start
        dash = _constant(b"-", len(sequences))
        head = _constant(f"{start[:8]}-{start[8:12]}-{start[12:]}-".encode(), len(sequences))
        return np.concatenate((head, nibbles[:, :4], dash, nibbles[:, 4:]), axis=1)


def _ports(rows: RowArray, chosen: np.ndarray[Any, np.dtype[np.int64]]) -> Bytes:
    """flow.Layer4 with nothing but both ports."""
    tags = np.zeros(256, np.uint8)
    for protocol, tag in _INNER.items():
        tags[protocol] = tag[0]
    part = np.zeros((len(chosen), _PORTS), np.uint8)
    part[:, 0], part[:, 1] = _tag(6)[0], _PORTS - 2
    part[:, 2], part[:, 3] = tags[rows["proto"][chosen]], _PORTS - 4
    part[:, 4], part[:, 5:8] = 0x08, _numbers(rows["src_port"][chosen].astype(np.uint64), 3)
    part[:, 8], part[:, 9:12] = 0x10, _numbers(rows["dst_port"][chosen].astype(np.uint64), 3)
    return part


def _stamps(wall: np.ndarray[Any, np.dtype[np.int64]]) -> Bytes:
    """google.protobuf.Timestamp, of ns since 1970."""
    seconds, nanos = np.divmod(wall, 10**9)
    stamps = np.zeros((len(wall), _TIMESTAMP), np.uint8)
    stamps[:, 0], stamps[:, 1:6] = 0x08, _numbers(seconds.astype(np.uint64), 5)
    stamps[:, 6], stamps[:, 7:12] = 0x10, _numbers(nanos.astype(np.uint64), 5)
    return stamps


def _numbers(values: np.ndarray[Any, np.dtype[np.uint64]], width: int) -> Bytes:
    """Varints of `width` bytes each."""
    shifts = np.arange(0, 7 * width, 7, dtype=np.uint64)
    groups = ((values[:, None] >> shifts) & np.uint64(127)).astype(np.uint8)
    groups[:, :-1] |= 128
    return groups


def _constant(text: bytes, count: int) -> Bytes:
    return np.broadcast_to(np.frombuffer(text, np.uint8), (count, len(text)))


def _field(number: int, raw: bytes) -> bytes:
    return _tag(number) + _varint(len(raw)) + raw


def _tag(number: int) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
