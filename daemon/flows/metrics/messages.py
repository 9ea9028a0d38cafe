"""Counting DNS and HTTP messages: one at a time, as they are decoded one at a time.

Answers are counted under their own source and destination, which pairs them with the queries in Hubble's dashboards.
`hubble_http_requests_total` with a status and the durations are turned round to the request's direction, as in Hubble's
current HTTP metrics.
"""

from __future__ import annotations

from typing import NamedTuple

from daemon.flows.l7 import DnsMessage, HttpMessage, L7Message, TlsMessage
from daemon.flows.metrics.series import Histograms, Series
from daemon.flows.texts import rcode_text
from ebpf.constants import Direction

_REPORTERS: dict[int, str] = {Direction.EGRESS: "client", Direction.INGRESS: "server"}


class Ends(NamedTuple):
    """Peer numbers of source and destination."""

    source: int
    destination: int

    def turned(self) -> Ends:
        return Ends(self.destination, self.source)


class DnsKey(NamedTuple):
    ends: Ends
    rcode: str
    qtypes: str
    ips_returned: str
    query: str


class DnsTypeKey(NamedTuple):
    ends: Ends
    type: str
    qtypes: str
    query: str


class HttpKey(NamedTuple):
    ends: Ends
    method: str
    protocol: str
    status: str
    reporter: str


class DurationKey(NamedTuple):
    ends: Ends
    method: str
    reporter: str


class L7FlowKey(NamedTuple):
    ends: Ends
    protocol: str
    verdict: int


class MessageCounter:
    """The series that come from application messages. Not thread-safe: its owner locks."""

    def __init__(self, limit: int) -> None:
        self.flows: Series[L7FlowKey] = Series(limit)
        self.dns_queries: Series[DnsKey] = Series(limit)
        self.dns_responses: Series[DnsKey] = Series(limit)
        self.dns_types: Series[DnsTypeKey] = Series(limit)
        self.http_requests: Series[HttpKey] = Series(limit)
        self.http_responses: Series[HttpKey] = Series(limit)
        self.http_durations: Histograms[DurationKey] = Histograms(limit)

    def count(self, ends: Ends, direction: int, verdict: int, message: L7Message) -> None:
        """Count a message that went from `ends.source` to `ends.destination`."""
        if isinstance(message, DnsMessage):
            self.flows.add(L7FlowKey(ends, "DNS", verdict))
            self._dns(ends, message)
        elif isinstance(message, TlsMessage):
            self.flows.add(L7FlowKey(ends, "TLS", verdict))
        else:
            self.flows.add(L7FlowKey(ends, "HTTP", verdict))
            if message.response:
                self._http(ends, _REPORTERS.get(direction, "unknown"), message)

    def _dns(self, ends: Ends, message: DnsMessage) -> None:
        qtypes = ",".join(message.qtypes)
        rcode = rcode_text(message.rcode) if message.response else ""
        key = DnsKey(ends, rcode, qtypes, str(len(message.ips)), message.query)
        (self.dns_responses if message.response else self.dns_queries).add(key)
        for kind in message.rrtypes:
            self.dns_types.add(DnsTypeKey(ends, kind, qtypes, message.query))

    def _http(self, ends: Ends, reporter: str, message: HttpMessage) -> None:
        key = HttpKey(ends, message.method, message.protocol, str(message.code), reporter)
        self.http_responses.add(key)
        self.http_requests.add(key._replace(ends=ends.turned()))
        if message.latency_ns:
            seconds = message.latency_ns / 1e9
            self.http_durations.add(DurationKey(ends.turned(), message.method, reporter), seconds)
