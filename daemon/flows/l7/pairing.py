"""Which answer belongs to which request, and how long it took.

HTTP/1.x answers come in the order of the requests, so each connection has a queue (keep-alive and pipelining follow
from that). A DNS answer repeats the id of its query; the two ends and the id together are the key, since ids alone
collide. Latency is the difference of the kernel's time stamps, not of the moments at which this process looked.

Requests that are never answered must not pile up: the table is limited, the oldest leave first, and each kind has a
time after which an answer is no longer expected. A query that got no answer is a finding in itself and is kept for
whoever asks.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from daemon.flows.l7.messages import DnsMessage, HttpMessage, TlsMessage
from daemon.flows.record import Row

CAPACITY = 10_000  # requests of each kind that wait for an answer
PIPELINE = 64  # requests that wait on one connection
HTTP_TIMEOUT_NS = 60 * 10**9
DNS_TIMEOUT_NS = 5 * 10**9  # after which a common resolver asks again; then a query is told to be unanswered
DNS_FORGOTTEN_NS = 15 * 10**9  # until then a late answer is paired, and the same query again is no new one
RETRANSMIT_NS = 200_000_000  # TCP's smallest retransmission timeout on Linux
UNANSWERED = 1_024  # unanswered queries that are kept


class Unanswered(NamedTuple):
    """A query that got no answer: when it was sent (ns, CLOCK_MONOTONIC), what it asked, the record it came with."""

    time: int
    message: DnsMessage
    row: Row | None = None


@dataclass(frozen=True, slots=True)
class PairingStats:
    """Counts since the start, except `pending`, which is now."""

    pending: int
    paired: int
    orphans: int  # answers whose request was not seen
    expired: int  # requests whose answer was not seen in time
    evicted: int  # requests that had to leave because the table was full


class _Request(NamedTuple):
    time: int
    method: str
    url: str
    host: str
    trace_id: str


class Pairing:
    """Pairs messages in the order in which they are given. One thread only."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._queues: OrderedDict[bytes, deque[_Request]] = OrderedDict()
        self._queries: OrderedDict[bytes, Unanswered] = OrderedDict()
        self._late: OrderedDict[bytes, Unanswered] = OrderedDict()
        self._hellos: OrderedDict[bytes, tuple[int, str]] = OrderedDict()
        self._unanswered: deque[Unanswered] = deque(maxlen=UNANSWERED)
        self._waiting = 0
        self._paired = self._orphans = self._expired = self._evicted = 0

    def http(self, connection: bytes, time: int, message: HttpMessage, alone: bool = False) -> HttpMessage:
        """A request is remembered and comes back as it is; an answer comes back with its request and latency.

        `alone`: the kernel saw no request open on the connection. A single one that still waits here has had its
        answer, which was lost on the way; it must not take the next one.
        """
        if message.response:
            return self._answer(connection, time, message)
        if alone and len(self._queues.get(connection, ())) == 1:
            self._expired += 1
            self._waiting -= 1
            del self._queues[connection]
        self._remember(connection, _Request(time, message.method, message.url, message.host, message.trace_id))
        return message

    def dns(self, conversation: bytes, time: int, message: DnsMessage, row: Row | None = None) -> DnsMessage:
        """The same for DNS; latency counts from the first of repeated queries."""
        key = conversation + message.id.to_bytes(2, "big")
        if not message.response:
            self._ask(key, Unanswered(time, message, row))
            return message
        asked = self._queries.pop(key, None) or self._late.pop(key, None)
        if asked is None:
            self._orphans += 1
            return message
        self._paired += 1
        latency = max(1, time - asked.time)
        return replace(
            message,
            latency_ns=latency,
            query=message.query or asked.message.query,
            qtypes=message.qtypes or asked.message.qtypes,
        )

    def tls(self, connection: bytes, time: int, message: TlsMessage) -> TlsMessage:
        """The same for hellos: a ServerHello comes back with the name that was asked for."""
        if not message.response:
            self._hellos[connection] = (time, message.server_name)
            if len(self._hellos) > self._capacity:
                self._hellos.popitem(last=False)
                self._evicted += 1
            return message
        asked = self._hellos.pop(connection, None)
        if asked is None:
            self._orphans += 1
            return message
        self._paired += 1
        return replace(message, server_name=asked[1], latency_ns=max(1, time - asked[0]))

    def expire(self, now: int) -> list[Unanswered]:
        """Give up requests that waited too long; `now` in ns, CLOCK_MONOTONIC. The queries that nobody answered."""
        told = []
        while self._queries and _oldest(self._queries).time < now - DNS_TIMEOUT_NS:
            key, query = self._queries.popitem(last=False)
            self._late[key] = query
            self._unanswered.append(query)
            self._expired += 1
            told.append(query)
        while self._late and _oldest(self._late).time < now - DNS_FORGOTTEN_NS:
            self._late.popitem(last=False)
        while self._hellos and next(iter(self._hellos.values()))[0] < now - HTTP_TIMEOUT_NS:
            self._hellos.popitem(last=False)
            self._expired += 1
        while self._queues and self._oldest_queue()[0].time < now - HTTP_TIMEOUT_NS:
            self._expired += self._forget_oldest()
        return told

    def unanswered(self) -> tuple[Unanswered, ...]:
        """The last queries that got no answer, oldest first."""
        return tuple(self._unanswered)

    @property
    def stats(self) -> PairingStats:
        pending = self._waiting + len(self._queries) + len(self._hellos)
        return PairingStats(pending, self._paired, self._orphans, self._expired, self._evicted)

    def _ask(self, key: bytes, query: Unanswered) -> None:
        """Remember a query, unless it is one that waits already or was told to be unanswered."""
        if key in self._late:
            return
        self._queries.setdefault(key, query)
        if len(self._queries) > self._capacity:
            self._unanswered.append(self._queries.popitem(last=False)[1])
            self._evicted += 1

    def _answer(self, connection: bytes, time: int, message: HttpMessage) -> HttpMessage:
        queue = self._queues.get(connection)
        if queue is None:
            self._orphans += 1
            return message
        request = queue.popleft()
        self._waiting -= 1
        if not queue:
            del self._queues[connection]
        self._paired += 1
        latency = max(1, time - request.time)
        told = {"method": request.method, "url": request.url, "host": request.host, "trace_id": request.trace_id}
        return replace(message, latency_ns=latency, **told)

    def _remember(self, connection: bytes, request: _Request) -> None:
        queue = self._queues.setdefault(connection, deque())
        self._queues.move_to_end(connection)
        if queue and _repeats(queue[-1], request):
            return
        queue.append(request)
        self._waiting += 1
        if len(queue) > PIPELINE:
            queue.popleft()
            self._waiting -= 1
            self._evicted += 1
        while self._waiting > self._capacity:
            self._evicted += self._forget_oldest()

    def _forget_oldest(self) -> int:
        """Drop the connection that was longest without a request; returns how many requests that were."""
        _, queue = self._queues.popitem(last=False)
        self._waiting -= len(queue)
        return len(queue)

    def _oldest_queue(self) -> deque[_Request]:
        return next(iter(self._queues.values()))


def _oldest(queries: OrderedDict[bytes, Unanswered]) -> Unanswered:
    return next(iter(queries.values()))


def _repeats(earlier: _Request, later: _Request) -> bool:
    """The same head after a retransmission timeout and still no answer: TCP sent the segment again."""
    return earlier[1:] == later[1:] and later.time - earlier.time >= RETRANSMIT_NS
