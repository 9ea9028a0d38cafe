"""Messages that span packets, put together again.

The kernel copies the packet that begins an HTTP head or a TLS hello and, where that packet does not hold all of it, the
next ones of the same direction; of DNS over TCP it copies every packet. Here they are joined by their sequence numbers:
what comes twice counts once, what comes early waits, and a message whose rest stays away is told as far as it goes.

Everything has a limit: directions that are unfinished, bytes of each, packets that wait for an earlier one, and time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from daemon.flows.record import Row
from ebpf.constants import PayloadKind

CAPACITY = 1_024  # directions of connections that are unfinished
BYTES = 8_192  # of one unfinished message
EARLY = 8  # packets that wait for an earlier one
PATIENCE_NS = 2 * 10**9  # after so long the rest of a head is not waited for
_HEAD_END = b"\r\n\r\n"
_TLS_RECORD_HEAD = 5
_DNS_LENGTH = 2
_HALF = 1 << 31
_WRAP = 1 << 32
_TLS = (PayloadKind.TLS_CLIENT, PayloadKind.TLS_SERVER)
_HEADS = (*_TLS, PayloadKind.HTTP_REQUEST, PayloadKind.HTTP_RESPONSE)


class PayloadRecord(NamedTuple):
    """The head of a message: the flow record that carried it, a `PayloadKind`, and the captured bytes.

    `alone`: an HTTP request that came while its connection had none open. `length` is that of the packet's payload,
    of which `data` may be the beginning; `sequence` is TCP's number of its first byte.
    """

    row: Row
    kind: int
    data: bytes
    alone: bool = False
    length: int = 0
    sequence: int = 0

    @property
    def cut(self) -> bool:
        """The packet has more than was captured."""
        return self.length > len(self.data)


@dataclass(slots=True)
class _Stream:
    """One direction: the payload that began a message, and what was joined so far."""

    first: PayloadRecord
    data: bytes
    next: int  # sequence number of the next byte that is missing
    time: int
    early: dict[int, PayloadRecord] = field(default_factory=dict)
    skip: int = 0  # bytes of a DNS message that was told already


class Assembler:
    """Takes payloads in the order of their times, gives back those that are whole. One thread only."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._streams: OrderedDict[bytes, _Stream] = OrderedDict()

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, key: bytes, time: int, payload: PayloadRecord) -> list[PayloadRecord]:
        """What is whole now. `key` names the connection and the direction, `time` is the payload's (ns)."""
        if payload.kind == PayloadKind.DNS:
            return list(self._dns(key, time, payload))
        if payload.kind == PayloadKind.CONTINUED:
            return self._continue(key, payload)
        if payload.kind not in _HEADS:
            return [payload]
        before = self._streams.pop(key, None)
        given_up = [_told(before)] if before and not _repeats(before, payload) else []
        if payload.cut or _whole(payload.kind, payload.data):
            return [*given_up, payload]
        self._keep(key, _Stream(payload, payload.data, _after(payload), time))
        return given_up

    def expire(self, now: int) -> list[PayloadRecord]:
        """Messages whose rest did not come in time, as far as they go."""
        told = []
        while self._streams:
            key, stream = next(iter(self._streams.items()))
            if stream.time >= now - PATIENCE_NS:
                break
            del self._streams[key]
            if stream.first.kind != PayloadKind.DNS:
                told.append(_told(stream))
        return told

    def _continue(self, key: bytes, payload: PayloadRecord) -> list[PayloadRecord]:
        stream = self._streams.get(key)
        if stream is None or not _join(stream, payload):
            return []
        if payload.cut or _whole(stream.first.kind, stream.data) or len(stream.data) >= BYTES:
            del self._streams[key]
            return [_told(stream)]
        return []

    def _dns(self, key: bytes, time: int, payload: PayloadRecord) -> Iterator[PayloadRecord]:
        """Every whole message (without its length); one that was cut ends its stream, as the next begins unseen."""
        stream = self._streams.pop(key, None)
        if stream is None or not _in_window(stream, payload):
            stream = _Stream(payload, b"", payload.sequence, time)
        _join(stream, payload)
        while len(stream.data) > _DNS_LENGTH:
            length = int.from_bytes(stream.data[:_DNS_LENGTH], "big") + _DNS_LENGTH
            if len(stream.data) < length:
                if payload.cut or length > BYTES:
                    yield payload._replace(data=stream.data[_DNS_LENGTH:])
                    return
                break
            yield payload._replace(data=stream.data[_DNS_LENGTH:length])
            stream.data = stream.data[length:]
        if not payload.cut:
            stream.time = time
            self._keep(key, stream)

    def _keep(self, key: bytes, stream: _Stream) -> None:
        self._streams[key] = stream
        if len(self._streams) > self._capacity:
            self._streams.popitem(last=False)


def _join(stream: _Stream, payload: PayloadRecord) -> bool:
    """Add what follows what is there; was it anything new? Packets that come early wait."""
    if len(stream.early) < EARLY:
        stream.early[payload.sequence] = payload
    joined = False
    while True:
        ready = [one for one in stream.early.values() if _distance(one.sequence, stream.next) <= 0]
        if not ready:
            return joined
        for one in ready:
            del stream.early[one.sequence]
            known = -_distance(one.sequence, stream.next)
            if known < len(one.data):
                stream.data += one.data[known:]
                stream.next = _after(one)
                joined = True


def _in_window(stream: _Stream, payload: PayloadRecord) -> bool:
    """May the packet belong to what is there? After a loss it does not, and a message is taken to begin with it."""
    return abs(_distance(payload.sequence, stream.next)) <= BYTES and len(stream.early) < EARLY


def _distance(one: int, other: int) -> int:
    """How far `one` lies behind `other`, over the wrap of sequence numbers."""
    return (one - other + _HALF) % _WRAP - _HALF


def _after(payload: PayloadRecord) -> int:
    return (payload.sequence + len(payload.data)) % _WRAP


def _repeats(stream: _Stream, payload: PayloadRecord) -> bool:
    """The packet that began the message, sent again."""
    return stream.first.sequence == payload.sequence


def _told(stream: _Stream) -> PayloadRecord:
    return stream.first._replace(data=stream.data)


def _whole(kind: int, data: bytes) -> bool:
    if kind in _TLS:
        return len(data) >= _TLS_RECORD_HEAD + int.from_bytes(data[3:5], "big")
    return _HEAD_END in data
