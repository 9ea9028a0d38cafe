"""What was said: one DNS or HTTP message or TLS hello, small enough to keep sixty thousand of them.

They are msgspec structs because the message ring keeps them encoded; a Python object for each would cost more memory
than all flow records together.
"""

from __future__ import annotations

from msgspec import Struct

REDACTED = "HUBBLE_REDACTED"
"""What stands in place of a secret; the word that Hubble's users search for."""


class DnsMessage(Struct, frozen=True, tag=1, array_like=True, gc=False):
    """A DNS query or answer (RFC 1035). `query` is lower case with a trailing dot; `ttl` is the smallest, seconds.

    `rrtypes` has one entry per answer record; `data` has the records that are neither addresses nor CNAMEs, as zone
    files write them, behind their type. `latency_ns` is 0 on queries and on answers whose query was not seen.
    `unanswered` is told of a query for which no answer came.
    """

    id: int
    query: str
    qtypes: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    cnames: tuple[str, ...] = ()
    ttl: int = 0
    rcode: int = 0
    rrtypes: tuple[str, ...] = ()
    response: bool = False
    latency_ns: int = 0
    data: tuple[str, ...] = ()
    unanswered: bool = False


class HttpMessage(Struct, frozen=True, tag=2, array_like=True, gc=False):
    """A head of HTTP/1.x (RFC 9112); requests have `code` 0.

    A response carries the method, URL, host and trace of its request once the two were paired. `url` is the request
    target as sent until the pipeline makes it absolute. `trace_id` is that of W3C's trace context, "" without one.
    """

    method: str
    url: str
    protocol: str
    code: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    host: str = ""
    latency_ns: int = 0
    trace_id: str = ""

    @property
    def response(self) -> bool:
        return self.code != 0


class TlsMessage(Struct, frozen=True, tag=3, array_like=True, gc=False):
    """A ClientHello or ServerHello. `protocols` are those of ALPN: offered, or the one chosen where it is in the clear
    (up to TLS 1.2). `version` is the highest offered, or the one chosen. A ServerHello carries the name that was asked
    for once the two were paired.
    """

    server_name: str
    protocols: tuple[str, ...] = ()
    version: str = ""
    response: bool = False
    latency_ns: int = 0


L7Message = DnsMessage | HttpMessage | TlsMessage
