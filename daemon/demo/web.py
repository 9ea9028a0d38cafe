"""An HTTP server as the shop's pods run it: `python -m daemon.demo.web PORT DELAY`.

It speaks HTTP/1.1 with connections that stay open, over IPv4 and IPv6, and answers `/api/users` after DELAY seconds.
Prints a line when it serves.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USERS = [{"id": 1, "name": "ada"}, {"id": 2, "name": "grace"}]


class Shop(BaseHTTPRequestHandler):
    """One connection; a response leaves in one write."""

    protocol_version = "HTTP/1.1"
    server_version = "shop"
    sys_version = ""
    wbufsize = -1
    disable_nagle_algorithm = True
    delay = 0.0

    def do_GET(self) -> None:
        """Users, or 404."""
        if self.path != "/api/users":
            self._answer(404, {"error": "no such page"})
            return
        time.sleep(self.delay)
        self._answer(200, USERS)

    def do_POST(self) -> None:
        """Whatever is charged is accepted."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(self.delay)
        self._answer(201, {"charged": True})

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: who is served is remora's to tell."""

    def _answer(self, code: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """On all addresses of both families."""

    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 1024

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def make(port: int, delay: float) -> Server:
    """A server that listens, port 0 for any; `delay` in seconds."""
    return Server(("::", port), type("DelayedShop", (Shop,), {"delay": delay}))


if __name__ == "__main__":
    with make(int(sys.argv[1]), float(sys.argv[2])) as server:
        print("serving", flush=True)
        server.serve_forever()
