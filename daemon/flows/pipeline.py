"""From the kernel's records to the store: the hot path of the agent.

Plain records are only counted and copied, as columns; nothing here looks at one of them. Payload heads are few beside
them and are taken one by one: decoded, paired, turned into records of their own that refer to the decoded message, and
merged in by time, so that a reader of the store meets a request where it happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from daemon.flows.l7 import (
    Assembler,
    DnsMessage,
    HttpMessage,
    L7Message,
    Pairing,
    PairingStats,
    PayloadRecord,
    TlsMessage,
    Unanswered,
    decode_http,
    decode_tls,
)
from daemon.flows.metrics import FlowMetrics
from daemon.flows.names import DnsNames
from daemon.flows.record import FlowRecord, Row, RowArray, read_record
from daemon.flows.store import FlowStore
from ebpf import addresses
from ebpf.constants import EventKind, Failure, PayloadKind

_TCP = 6
_SWEEP_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class PipelineStats:
    """Counts since the start."""

    messages: int  # decoded and stored
    undecoded: int  # heads that were no message after all
    pairing: PairingStats


class FlowPipeline:
    """Feeds store, metrics and DNS names. `ingest` belongs to one thread; everything else may be asked from any."""

    def __init__(
        self,
        store: FlowStore,
        metrics: FlowMetrics,
        names: DnsNames | None = None,
        now: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.names = names if names is not None else DnsNames()
        self._store = store
        self._metrics = metrics
        self._now = now
        self._pairing = Pairing()
        self._assembler = Assembler()
        self._swept = now()
        self._messages = 0
        self._undecoded = 0

    def ingest(self, rows: RowArray, payloads: Sequence[PayloadRecord] = ()) -> None:
        """Take a batch: flow records (n,) in the store's layout, and the payload heads that came with them."""
        self._metrics.count(rows)
        if payloads:
            rows = self._merge(rows, self._decode(payloads))
        self._store.append(rows)
        self.tick()

    def tick(self) -> None:
        """Tell what did not come in time: rests of messages, answers to queries. Call it once a second or more."""
        now = self._now()
        if now - self._swept <= _SWEEP_NS:
            return
        self._swept = now
        found: list[tuple[Row, L7Message]] = []
        for payload in self._assembler.expire(now):
            found.extend(self._messages_of(payload))
        rows = self._rows(found)
        late = self._rows(
            [
                (query.row, replace(query.message, unanswered=True))
                for query in self._pairing.expire(now)
                if query.row is not None
            ]
        )
        late["failure"] = Failure.NO_ANSWER
        late["time"] = now
        for told in (rows, late):
            self._store.append(told)
        self._metrics.count_failures(late)

    def unanswered(self) -> tuple[Unanswered, ...]:
        """The last DNS queries that got no answer, oldest first."""
        return self._pairing.unanswered()

    @property
    def stats(self) -> PipelineStats:
        return PipelineStats(self._messages, self._undecoded, self._pairing.stats)

    def _merge(self, rows: RowArray, messages: RowArray) -> RowArray:
        """Both, ordered by time; as bytes, since numpy moves structured rows field by field."""
        order = np.argsort(np.concatenate((rows["time"], messages["time"])), kind="stable")
        return np.concatenate((_bytes(rows), _bytes(messages))).take(order, axis=0).view(rows.dtype).reshape(-1)

    def _decode(self, payloads: Sequence[PayloadRecord]) -> RowArray:
        """One record for every message in the payloads."""
        found: list[tuple[Row, L7Message]] = []
        for payload in sorted(payloads, key=lambda payload: int(payload.row["time"])):
            record = read_record(payload.row)
            if record.proto != _TCP:
                found.extend(self._messages_of(payload))
                continue
            for whole in self._assembler.add(_way(record), record.time, payload):
                found.extend(self._messages_of(whole))
        return self._rows(found)

    def _messages_of(self, payload: PayloadRecord) -> list[tuple[Row, L7Message]]:
        messages = self._read(payload)
        if not messages:
            self._undecoded += 1
            self._metrics.count_undecoded()
        return [(payload.row, message) for message in messages]

    def _rows(self, found: Sequence[tuple[Row, L7Message]]) -> RowArray:
        """Records that refer to messages."""
        rows = np.empty(len(found), self._store.dtype)
        for index, (row, message) in enumerate(found):
            rows[index] = row
            rows["reply"][index] = message.response
            rows["l7"][index] = self._store.messages.put(message)
        rows["kind"] = EventKind.L7
        self._messages += len(found)
        return rows

    def _read(self, payload: PayloadRecord) -> tuple[L7Message, ...]:
        record = read_record(payload.row)
        messages = self._decoded(payload, record)
        for message in messages:
            self._metrics.count_message(record, message)
        return messages

    def _decoded(self, payload: PayloadRecord, record: FlowRecord) -> tuple[L7Message, ...]:
        match payload.kind:
            case PayloadKind.DNS:
                from daemon.flows.l7.dns import decode_dns

                query = decode_dns(payload.data)
                return (self._dns(record, query, payload.row),) if query else ()
            case PayloadKind.HTTP_REQUEST | PayloadKind.HTTP_RESPONSE:
                heads = decode_http(payload.data, payload.kind == PayloadKind.HTTP_RESPONSE)
                return tuple(self._http(record, head, payload.alone and head is heads[0]) for head in heads)
            case PayloadKind.TLS_CLIENT | PayloadKind.TLS_SERVER:
                hello = decode_tls(payload.data)
                return (self._tls(record, hello),) if hello else ()
        return ()

    def _dns(self, record: FlowRecord, message: DnsMessage, row: Row) -> DnsMessage:
        if message.response:
            self.names.learn(record.dst, message, record.dst_workload)
        return self._pairing.dns(_conversation(record, message.response), record.time, message, row)

    def _tls(self, record: FlowRecord, message: TlsMessage) -> TlsMessage:
        return self._pairing.tls(_conversation(record, message.response), record.time, message)

    def _http(self, record: FlowRecord, message: HttpMessage, alone: bool) -> HttpMessage:
        if not message.response:
            message = replace(message, url=absolute_url(message, record))
        return self._pairing.http(_conversation(record, message.response), record.time, message, alone)


def _bytes(rows: RowArray) -> RowArray:
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), rows.dtype.itemsize)


def absolute_url(request: HttpMessage, record: FlowRecord) -> str:
    """The URL that a request means: its target under its Host field, or under the destination when it has none."""
    target = request.url
    if "://" in target.partition("?")[0]:
        return target
    if request.method == "CONNECT":
        return f"http://{target}"
    return f"http://{request.host or _authority(record)}{target if target.startswith('/') else '/' + target}"


def _authority(record: FlowRecord) -> str:
    host = addresses.text(record.dst)
    return f"[{host}]:{record.dst_port}" if ":" in host else f"{host}:{record.dst_port}"


def _way(record: FlowRecord) -> bytes:
    """A connection in one direction, on one device."""
    ends = record.src + record.src_port.to_bytes(2, "big") + record.dst + record.dst_port.to_bytes(2, "big")
    return record.ifindex.to_bytes(4, "big") + ends


def _conversation(record: FlowRecord, response: bool) -> bytes:
    """One key for both directions: device, client, server. On one host both ends may be watched, hence the device."""
    ends = (record.src + record.src_port.to_bytes(2, "big"), record.dst + record.dst_port.to_bytes(2, "big"))
    client, server = reversed(ends) if response else ends
    return record.ifindex.to_bytes(4, "big") + bytes([record.proto]) + client + server
