"""HTTP as the tests' API server speaks it: a request read, an answer of JSON, a connection ended in either way."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

COMPRESSED = 128 << 10  # bytes from which on an answer is


@dataclass(frozen=True)
class Request:
    """What a client asks; names of headers in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


async def read(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None at the end of the connection."""
    line = await reader.readline()
    headers = {}
    while (field_line := await reader.readline()).strip():
        name, _, value = field_line.decode().partition(":")
        headers[name.lower()] = value.strip()
    if not line.strip():
        return None
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, target, _ = line.decode().split()
    return Request(method, target, headers, body)


async def answer(
    writer: asyncio.StreamWriter,
    code: int,
    body: Mapping[str, Any] | str,
    headers: Mapping[str, str] | None = None,
    pack: bool = False,
) -> bool:
    """Whether it was compressed, as what is long is for whoever takes it so. Text is no JSON."""
    written = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
    raw, more = written.encode(), dict(headers or {})
    if packed := pack and len(raw) > COMPRESSED:
        raw, more["Content-Encoding"] = gzip.compress(raw, 4), "gzip"
    kind = "text/plain" if isinstance(body, str) else "application/json"
    told = "".join(f"{key}: {value}\r\n" for key, value in more.items())
    head = f"HTTP/1.1 {code} X\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n{told}\r\n"
    writer.write(head.encode() + raw)
    await writer.drain()
    return packed


def status(code: int, message: str = "", **more: Any) -> dict[str, Any]:
    """The API's words for a failure."""
    told = message or f"made to fail: {code}"
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": told,
        "code": code,
    } | more


def end(writer: asyncio.StreamWriter, reset: bool) -> None:
    """By RST, or in good order."""
    sock = writer.get_extra_info("socket")
    if reset and sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort() if reset else writer.close()
