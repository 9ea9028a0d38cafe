"""HTTP/1.x heads from payload heads, by httptools (llhttp).

A segment may end in the middle of a head and may hold several pipelined ones. Every head whose first line is there is
told; fields that were cut off are missing. Values that let their holder in (cookies, credentials) are replaced where
they are decoded, so that they are in no store, log or answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import httptools

from daemon.flows.l7.messages import REDACTED, HttpMessage

_LONGEST = 4096  # bytes that are read of one segment
_HEADS = 16  # pipelined heads that are read of one segment
_HEADERS = 16  # header fields that are kept of one head
_NAME = 64  # characters of a header's name that are kept
_VALUE = 256  # characters of a header's value that are kept
_SECRET = frozenset({"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "X-Auth-Token"})
_REMEMBERED = 1024  # segments whose heads are remembered: clients and servers repeat themselves
_remembered: dict[bytes, tuple[HttpMessage, ...]] = {}  # by digest, so that no secret stays in memory
# W3C Trace Context, 3.2: version ff is none, and only later versions than 00 may say more behind another dash
_TRACEPARENT = re.compile(
    r"(?!ff|00-.{53})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)
_USERINFO = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)?([^/?#@:]*):([^/?#@]*)@")


def decode_http(data: bytes, response: bool) -> tuple[HttpMessage, ...]:
    """The heads in a segment that begins with one, in their order; () for anything else. Targets stay as sent.

    Interim answers (1xx, RFC 9110 section 15.2) are left out, except 101, which is the last one of its connection.
    """
    key = blake2b(data, digest_size=16, person=b"response" if response else b"request").digest()
    known = _remembered.get(key)
    if known is None:
        if len(_remembered) >= _REMEMBERED:
            _remembered.clear()
        known = _remembered[key] = _decode(data, response)
    return known


def _decode(data: bytes, response: bool) -> tuple[HttpMessage, ...]:
    collector = _Collector(response)
    try:
        collector.parser.feed_data(data[:_LONGEST])
    except httptools.HttpParserUpgrade:
        pass  # the head was complete
    except Exception:
        collector.broken = True
    return tuple(message for message in collector.messages() if message.code // 100 != 1 or message.code == 101)


def redact_url(url: str) -> str:
    """A URL or authority without the password in its user information."""
    return _USERINFO.sub(lambda match: f"{match[1] or ''}{match[2]}:{REDACTED}@", url, count=1)


class _Collector:
    """Gathers what the parser calls out; its method names are those of httptools' protocol."""

    def __init__(self, response: bool) -> None:
        self.parser: Any = httptools.HttpResponseParser(self) if response else httptools.HttpRequestParser(self)
        self.broken = False
        self._response = response
        self._done: list[HttpMessage] = []
        self._begun = False
        self._url = b""
        self._headers: list[tuple[str, str]] = []

    def messages(self) -> Iterator[HttpMessage]:
        yield from self._done
        cut = self._message() if self._begun and len(self._done) < _HEADS else None
        if cut is not None:
            yield cut

    def on_message_begin(self) -> None:
        self._begun, self._url, self._headers = False, b"", []

    def on_url(self, url: bytes) -> None:
        self._begun = True
        self._url += url

    def on_status(self, _reason: bytes) -> None:
        self._begun = True

    def on_header(self, name: bytes, value: bytes | None) -> None:
        self._begun = True
        self._headers.append((_canonical(name), _text(value or b"")))

    def on_headers_complete(self) -> None:
        self._begun = False
        message = self._message()
        if message is not None and len(self._done) < _HEADS:
            self._done.append(message)

    def _message(self) -> HttpMessage | None:
        """The head as far as it was read; None when its first line is no HTTP/1.x."""
        protocol = self._protocol()
        if protocol is None:
            return None
        code = self.parser.get_status_code() if self._response else 0
        method = "" if self._response else self.parser.get_method().decode("ascii", "replace")
        if self._response and code < 100:
            return None
        url, host = redact_url(_text(self._url)), self._value("Host")[:_VALUE]
        trace = _TRACEPARENT.fullmatch(self._value("Traceparent"))
        return HttpMessage(method, url, protocol, code, self._kept(), host, trace_id=trace[1] if trace else "")

    def _value(self, field: str) -> str:
        """The first value of a field, "" where it is missing."""
        return next((value for name, value in self._headers if name == field), "")

    def _protocol(self) -> str | None:
        """`HTTP/1.1`; `HTTP/1` when the segment ended inside the request target; None for what is not HTTP/1.x."""
        version = self.parser.get_http_version()
        if version == "0.0":
            return None if self.broken else "HTTP/1"
        return f"HTTP/{version}" if version.startswith("1.") else None

    def _kept(self) -> tuple[tuple[str, str], ...]:
        kept = ((name, REDACTED if name in _SECRET else value[:_VALUE]) for name, value in self._headers[:_HEADERS])
        return tuple(sorted(kept))


def _canonical(name: bytes) -> str:
    """A field name in the usual spelling, `content-type` as `Content-Type`, so that filters need not guess."""
    return "-".join(part.capitalize() for part in _text(name)[:_NAME].split("-"))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
