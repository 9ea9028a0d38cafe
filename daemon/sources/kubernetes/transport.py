"""TLS to the API server with certificates that are renewed while the agent runs.

A service account's CA and a kubelet's client certificate are files that somebody replaces before they expire. They are
looked at before each request, of which there are few; where one has changed, what is asked from then on goes over new
connections, and what is under way ends on the old ones. A certificate that is not accepted is told with what to do, in
place of the words of the TLS library alone.
"""

from __future__ import annotations

import logging
import socket
import ssl
from pathlib import Path

import httpx2
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import User

from daemon.sources.kubernetes.wire import ApiError
from ebpf.errors import RemoraError

log = logging.getLogger(__name__)

_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),  # ms
)
"""A peer that is gone without a word is found out in half a minute."""

_ADVICE = {
    9: "it is not valid yet: is this node's clock right?",
    10: "it has expired: renew it, or correct this node's clock",
    62: "it is not for this name: set `api_server` to one of its names",
    64: "it is not for this address: set `api_server` to one of its addresses",
}
"""by the numbers of X509_V_ERR in OpenSSL's x509_vfy.h"""
_OTHER = "its authority is not the one in the kubeconfig or service account: is this the server of another cluster?"

Stamp = tuple[tuple[int, int], ...]


def certificates(config: SingleConfig) -> tuple[Path, ...]:
    """The files that the configuration names: the authority, the client's certificate and its key."""
    user = config.user or User()
    names = (config.cluster.certificate_auth, user.client_cert, user.client_key)
    return tuple(Path(config.abs_file(name)) for name in names if name)


class Transport(httpx2.AsyncBaseTransport):
    """Connections to one server. Raises RemoraError where certificates cannot be read at the start."""

    def __init__(self, config: SingleConfig) -> None:
        self._config = config
        self._files = certificates(config)
        try:
            self._stamp = self._look()
            self._inner = self._open()
        except OSError as error:  # ssl.SSLError is one
            names = ", ".join(map(str, self._files)) or "the certificates in the kubeconfig"
            raise RemoraError(
                f"{names}: {error}", hint="they must be PEM files, and the key the certificate's"
            ) from error
        self._before: httpx2.AsyncBaseTransport | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Ask over a connection that was made with today's certificates."""
        await self._renew()
        try:
            return await self._inner.handle_async_request(request)
        except httpx2.TransportError as error:
            told = _told(error, str(request.url.copy_with(raw_path=b"/")))
            if told is None:
                raise
            raise told from error

    async def aclose(self) -> None:
        """Close all connections."""
        for one in filter(None, (self._before, self._inner)):
            await one.aclose()

    async def _renew(self) -> None:
        """New connections where a file is another one; what cannot be read, as while it is written, changes nothing."""
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            opened = self._open()
        except OSError as error:
            log.warning("renewed certificates cannot be read (%s); the old ones serve on", error)
            return
        old, self._before, self._inner, self._stamp = self._before, self._inner, opened, stamp
        log.info("certificates were renewed; what is asked from now on goes over new connections")
        if old:
            await old.aclose()

    def _look(self) -> Stamp:
        return tuple((found.st_ino, found.st_mtime_ns) for found in (path.stat() for path in self._files))

    def _open(self) -> httpx2.AsyncBaseTransport:
        config = self._config
        verify = verify_cluster(config.cluster, config.user or User(), config.abs_file)
        return httpx2.AsyncHTTPTransport(verify=verify, socket_options=_KEEPALIVE)


def _told(error: BaseException, server: str) -> ApiError | None:
    """What a certificate that is not accepted means; None for any other failure."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, ssl.SSLCertVerificationError):
        found = found.__cause__ or found.__context__
    if found is None:
        return None
    advice = _ADVICE.get(found.verify_code, _OTHER)
    return ApiError(f"the certificate of {server} is not accepted ({found.verify_message}); {advice}")
