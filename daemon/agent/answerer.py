"""The least of an HTTP server: one small answer a connection, from the event loop.

Load balancers and kubelets ask for health many times a second on ports that may be open to the world. So a
request's head is bounded in size and time, nothing of it but method and path is used, every connection is closed after
its answer, and beyond a number of connections at once new ones are closed unheard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

HEAD_LIMIT = 8_192  # bytes of a request's head
TIMEOUT = 5.0  # s that a client has for its request, and for taking the answer
CONNECTIONS = 256  # at once, on one port


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back; `headers` go beside those of every answer."""

    body: str
    status: HTTPStatus = HTTPStatus.OK
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def encoded(self, with_body: bool) -> bytes:
        """The bytes of the answer; a HEAD request gets no body."""
        body = self.body.encode()
        head = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.kind}",
            f"Content-Length: {len(body)}",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join([*head, "", ""]).encode() + (body if with_body else b"")


NOT_FOUND = Answer("404 page not found\n", HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8")
_BAD_REQUEST = Answer("400 Bad Request\n", HTTPStatus.BAD_REQUEST, "text/plain; charset=utf-8")
_BAD_METHOD = Answer("405 Method Not Allowed\n", HTTPStatus.METHOD_NOT_ALLOWED, "text/plain; charset=utf-8")


class Answerer:
    """Listens on one port from `start` to `stop`. `answer` is called with the path, without its query."""

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self, host: str | None, port: int) -> None:
        """Listen; None: on all addresses of both families. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_LIMIT)

    async def stop(self) -> None:
        """Stop listening and close what is open."""
        if self._server is None:
            return
        self._server.close()
        for writer in self._open:
            writer.close()
        await self._server.wait_closed()
        self._server = None

    @property
    def ports(self) -> list[int]:
        """The ports that are listened on."""
        return [made.getsockname()[1] for made in self._server.sockets] if self._server else []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= CONNECTIONS:
            writer.close()
            return
        self._open.add(writer)
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(TIMEOUT):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._reply(head))
                    await writer.drain()
        finally:
            self._open.discard(writer)
            writer.close()

    def _reply(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
            return _BAD_REQUEST.encoded(with_body=True)
        if words[0] not in ("GET", "HEAD"):
            return _BAD_METHOD.encoded(with_body=True)
        return self._answer(words[1].partition("?")[0]).encoded(with_body=words[0] == "GET")
