"""A client that waits for questions: `python -m daemon.connectivity.asked PORT` in a pod of the connectivity test.

A pod that was made for one question would ask it before every agent has heard of its address. So clients live as long
as the test and are asked over HTTP, `/ask?a=http&a=ADDRESS&a=PORT&a=COUNT`, by who may talk to pods: the API server.
The answer is what `daemon.connectivity.probe` prints.
"""

from __future__ import annotations

import json
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from daemon.connectivity.probe import told
from daemon.connectivity.whoami import Server


class Asked(BaseHTTPRequestHandler):
    """One question."""

    server_version, sys_version = "asked", ""
    wbufsize = -1

    def do_GET(self) -> None:
        """Ask, and tell."""
        arguments = parse_qs(urlsplit(self.path).query).get("a", [])
        body = json.dumps(told(arguments)).encode() if arguments else b"[]"
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    with Server(("", int(sys.argv[1])), Asked) as server:
        print("serving", flush=True)
        server.serve_forever()
