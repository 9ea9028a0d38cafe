"""The Prometheus endpoint: what everybody has to tell, in the format that the scraper asks for.

A scrape runs on a thread of its own. The flow metrics, which may be many thousand series, come as text that was mostly
written before; the agent's own few hundred go through Prometheus' client.
"""

from __future__ import annotations

import gzip
import logging
import socket
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socketserver import TCPServer
from threading import Thread

from prometheus_client import CollectorRegistry, disable_created_metrics, exposition
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from ebpf.errors import RemoraError

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # s that a scraper may take to ask and to read
_EOF = b"# EOF\n"
_OPENMETRICS = "application/openmetrics-text"
_PLAIN_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS_TYPE = f"{_OPENMETRICS}; version=1.0.0; charset=utf-8"

Text = Callable[[bool], bytes]
"""Tells metrics as text; the argument: in OpenMetrics."""


class Exposition:
    """All metrics of the agent as one text."""

    def __init__(self, texts: Sequence[Text], collectors: Sequence[Collector]) -> None:
        self._texts = texts
        disable_created_metrics()  # type: ignore[no-untyped-call]  # series that Prometheus has no use for
        self._registry = CollectorRegistry()
        for collector in collectors:
            self._registry.register(collector)

    def text(self, as_openmetrics: bool) -> bytes:
        """Everything, ready to be sent."""
        if not as_openmetrics:
            return b"".join((*(text(False) for text in self._texts), exposition.generate_latest(self._registry)))
        own = _openmetrics(self._registry).removesuffix(_EOF)
        return b"".join((*(text(True) for text in self._texts), own, _EOF))


def _openmetrics(registry: CollectorRegistry) -> bytes:
    text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
    return text


def serve(address: str, told: Exposition) -> Callable[[], None]:
    """Serve /metrics on `host:port`, on all addresses where no host is named; the returned function ends it.

    Raises RemoraError where the port is taken.
    """
    host, _, port = address.rpartition(":")
    try:
        server = _Server((host.strip("[]"), int(port)), told)
    except (OSError, ValueError, OverflowError) as error:
        hint = "free it, or name another with metrics_address in the settings"
        raise RemoraError(f"cannot serve metrics on {address}: {error}", hint) from error
    thread = Thread(target=server.serve_forever, name="remora-metrics", daemon=True)
    thread.start()

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], told: Exposition) -> None:
        self.told = told
        self.address_family = _family(address[0])
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without the name of this host, for which the library's own would ask a name server that may be away."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, bool(self.server_address[0]))
        TCPServer.server_bind(self)


def _family(host: str) -> socket.AddressFamily:
    if not host:
        return socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        return socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return socket.AF_INET


class _Handler(BaseHTTPRequestHandler):
    timeout = TIMEOUT
    server: _Server

    def do_GET(self) -> None:
        """One scrape."""
        if self.path.partition("?")[0] not in ("/", "/metrics"):
            self.send_error(404, "metrics are at /metrics")
            return
        as_openmetrics = _OPENMETRICS in self.headers.get("Accept", "")
        self._send(self.server.told.text(as_openmetrics), _OPENMETRICS_TYPE if as_openmetrics else _PLAIN_TYPE)

    def _send(self, body: bytes, kind: str) -> None:
        packed = "gzip" in self.headers.get("Accept-Encoding", "")
        if packed:
            body = gzip.compress(body, compresslevel=1)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Scrapes are no news."""
        log.debug(format, *arguments)
