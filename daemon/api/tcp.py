"""The API over TCP, for aggregators and clients of other hosts: TLS 1.3, with client certificates where asked for.

Certificates come from files and are renewed under the running agent, so files are looked at for every handshake and
read again when they changed. A file that is not there yet, as on a fresh node whose certificate is still being issued,
keeps the port closed and the agent running.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from ebpf.errors import RemoraError

log = logging.getLogger(__name__)

DEFAULT_PORT = 4244

_LOOK = 1.0  # s between two looks for files that are missing
_COMPLAIN = 30  # looks after which the log says so
_GRACE = 1.0

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: what the server shows, and by which authorities a client must be vouched for (none: any client)."""

    certificate: Path
    key: Path
    client_authorities: tuple[Path, ...] = ()

    @property
    def all(self) -> tuple[Path, ...]:
        """All files."""
        return (self.certificate, self.key, *self.client_authorities)


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen, `host:port` or `:port`; without `tls` in plain text."""

    address: str
    tls: TlsFiles | None = None

    @property
    def host(self) -> str:
        """The host alone, "" for all."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port; raises ValueError where it is no number."""
        return int(self.address.rpartition(":")[2] or DEFAULT_PORT)


class Certificates:
    """The certificates in force; asked by gRPC before each handshake, from its own threads."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp: Stamp | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """What a port is secured with; raises OSError while a file is missing."""
        return grpc.dynamic_ssl_server_credentials(
            self._load(), self.renewed, require_client_authentication=bool(self._files.client_authorities)
        )

    def renewed(self) -> Any | None:
        """The configuration anew when a file has changed; None keeps what is in force, also when files are broken."""
        try:
            return self._load() if self._look() != self._stamp else None
        except (OSError, ValueError) as error:
            log.warning("the changed certificate cannot be used, the one before stays: %s", error)
            return None

    def _load(self) -> Any:
        stamp = self._look()
        chain, key = self._files.certificate.read_bytes(), self._files.key.read_bytes()
        if b"-----BEGIN" not in chain or b"-----BEGIN" not in key:
            raise ValueError(f"{self._files.certificate} and {self._files.key} must be PEM")
        authorities = b"\n".join(path.read_bytes() for path in self._files.client_authorities) or None
        made = grpc.ssl_server_certificate_configuration([(key, chain)], authorities)
        self._stamp = stamp
        return made

    def _look(self) -> Stamp:
        found = [path.stat() for path in self._files.all]
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)


class TcpServer:
    """Serves on a `Listener`; `make` gives a server with all services."""

    def __init__(self, listener: Listener, make: Callable[[], grpc.Server]) -> None:
        self.port = 0
        """what it listens on; 0 as long as it does not"""
        self._listener = listener
        self._make = make
        self._server: grpc.Server | None = None
        self._waiting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, now or when the certificate is there. Raises RemoraError where the address cannot be had."""
        if self._missing():
            self._waiting = asyncio.create_task(self._wait(), name="api-certificates")
        else:
            await self._listen()

    async def stop(self) -> None:
        """End all streams."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._server is not None:
            await asyncio.to_thread(self._server.stop(_GRACE).wait)

    def _missing(self) -> list[Path]:
        return [path for path in self._listener.tls.all if not path.exists()] if self._listener.tls else []

    async def _wait(self) -> None:
        looks = 0
        while missing := self._missing():
            looks += 1
            if looks == _COMPLAIN:
                log.warning("the API is not on TCP yet: %s is missing", ", ".join(map(str, missing)))
            await asyncio.sleep(_LOOK)
        try:
            await self._listen()
        except RemoraError as error:
            log.error("%s", error)

    async def _listen(self) -> None:
        server, tls = self._make(), self._listener.tls
        address = f"{_bracketed(self._listener.host) or '[::]'}:{self._listener.port}"
        try:
            if tls is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, Certificates(tls).credentials())
        except (RuntimeError, OSError, ValueError) as error:
            raise RemoraError(f"the API cannot listen on {address}: {error}", "see listen_address and tls_…") from error
        server.start()
        self._server = server


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
