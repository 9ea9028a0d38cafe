"""An HTTP proxy on loopback that makes tunnels by CONNECT, as they stand between networks; it may want a password."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support import apiserver_http as http


@dataclass
class Proxy:
    """`tunnels` are the targets that were asked for and reached."""

    password: str = ""
    scheme: str = "http"
    tunnels: list[str] = field(default_factory=list)
    port: int = 0
    _pumps: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{f'someone:{self.password}@' if self.password else ''}127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await http.read(reader)
        if not request or request.method != "CONNECT":
            return writer.close()
        wanted = base64.b64encode(f"someone:{self.password}".encode()).decode()
        if self.password and request.headers.get("proxy-authorization") != f"Basic {wanted}":
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return writer.close()
        host, _, port = request.target.rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        self.tunnels.append(request.target)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for source, sink in ((reader, back), (there, writer)):
            pump = asyncio.create_task(_pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)
        return None


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await source.read(1 << 16):
            sink.write(piece)
            await sink.drain()
    sink.close()


@asynccontextmanager
async def proxy(password: str = "", tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    made = Proxy(password, "https" if tls else "http")
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
