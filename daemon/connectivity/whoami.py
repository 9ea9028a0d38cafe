"""The servers of the connectivity test: `python -m daemon.connectivity.whoami NAME PORT`.

Answers every request with its name and closes, over IPv4 and IPv6. Prints a line when it serves.
"""

from __future__ import annotations

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Whoami(BaseHTTPRequestHandler):
    """One connection."""

    server_version, sys_version = "whoami", ""
    wbufsize = -1
    name = b""

    def do_GET(self) -> None:
        """The name."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.name)))
        self.end_headers()
        self.wfile.write(self.name)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """On all addresses of both families, where the host has both."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    daemon_threads = True

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


if __name__ == "__main__":
    with Server(("", int(sys.argv[2])), type("Named", (Whoami,), {"name": sys.argv[1].encode()})) as server:
        print("serving", flush=True)
        server.serve_forever()
