"""Connections to the API server, with certificates that are renewed while the agent runs.

A service account's CA and a kubelet's client certificate are files that somebody replaces before they expire, and a
plugin gives another certificate now and then. They are looked at before each request, of which there are few; where one
has changed, what is asked from then on goes over new connections, and what is under way ends on the old ones. A
certificate that is not accepted is told with what to do, in place of the words of the TLS library alone; a proxy that
stands in between is named where it may be what does not answer.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable

import httpx2
import msgspec
from lightkube.config.kubeconfig import SingleConfig

from daemon.sources.kubernetes import tls
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
    62: "it is not for this name: set `api_server`, or the kubeconfig's tls-server-name, to one of its names",
    64: "it is not for this address: set `api_server` to one of its addresses, or the kubeconfig's tls-server-name",
}
"""by the numbers of X509_V_ERR in OpenSSL's x509_vfy.h"""
_OTHER = "its authority is not the one in the kubeconfig or service account: is this the server of another cluster?"

Stamp = tuple[tuple[tuple[int, int], ...], tls.Pair | None]


class Way(msgspec.Struct, frozen=True):
    """What a kubeconfig says of the way to its server."""

    name: str = msgspec.field(name="tls-server-name", default="")
    """in the server's certificate, where it is another than in the address"""
    proxy: str = msgspec.field(name="proxy-url", default="")
    """may hold a password"""


DIRECT = Way()


class Transport(httpx2.AsyncBaseTransport):
    """Connections to one server. `given` tells a plugin's certificate. Raises RemoraError where one cannot be read."""

    def __init__(self, config: SingleConfig, way: Way, given: Callable[[], tls.Pair | None]) -> None:
        self._config, self._given = config, given
        self._files = tls.files(config)
        self._extensions = {"sni_hostname": way.name} if way.name else {}
        self._proxy = httpx2.Proxy(way.proxy) if way.proxy else None
        try:
            self._stamp = self._look()
            self._inner = self._open()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            names = ", ".join(map(str, self._files)) or "the certificates in the kubeconfig"
            raise RemoraError(
                f"{names}: {error}", hint="they must be PEM files, and the key the certificate's, without a password"
            ) from error
        self._before: httpx2.AsyncBaseTransport | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Ask over a connection that was made with today's certificates."""
        await self._renew()
        request.extensions = {**request.extensions, **self._extensions}
        try:
            return await self._inner.handle_async_request(request)
        except httpx2.TransportError as error:
            told = _told(error, self._whose(request)) or self._by_proxy(error)
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
        found = (path.stat() for path in self._files)
        return tuple((one.st_ino, one.st_mtime_ns) for one in found), self._given()

    def _open(self) -> httpx2.AsyncBaseTransport:
        verify = tls.context(self._config, self._given())
        return httpx2.AsyncHTTPTransport(verify=verify, proxy=self._proxy, socket_options=_KEEPALIVE)

    def _whose(self, request: httpx2.Request) -> str:
        """Who may have shown a certificate that is not accepted."""
        server = str(request.url.copy_with(raw_path=b"/"))
        return (
            f"{server}, or of the proxy {self._proxy.url},"
            if self._proxy and self._proxy.url.scheme == "https"
            else server
        )

    def _by_proxy(self, error: httpx2.TransportError) -> ApiError | None:
        """A connection that did not come about where a proxy is in between; its password is no part of its URL here."""
        if self._proxy and isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
            return ApiError(f"no way through the proxy {self._proxy.url}: {error or type(error).__name__}")
        return None


def _told(error: BaseException, server: str) -> ApiError | None:
    """What a certificate that is not accepted means; None for any other failure."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, ssl.SSLCertVerificationError):
        found = found.__cause__ or found.__context__
    if found is None:
        return None
    advice = _ADVICE.get(found.verify_code, _OTHER)
    return ApiError(f"the certificate of {server} is not accepted ({found.verify_message}); {advice}")
