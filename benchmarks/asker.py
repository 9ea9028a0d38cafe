"""A client that stays: asks a set of addresses in turn and tells how long each answer took.

A program of its own (`python -m benchmarks.asker`), because it has to run in a client's namespace and cgroup, and one
that waits, so that several take turns without starting anew. Each line of its input is a JSON object with `kind`,
`count` and `addresses` ("10.96.0.1:80"); each is answered by a line with a JSON array of nanoseconds. Kind `connect`
is a connection with one request, its answer and the close; kind `request` is a request and its answer on a connection
that stays open.
"""

from __future__ import annotations

import json
import socket
import sys
from functools import cache
from itertools import cycle, islice
from time import perf_counter_ns

from benchmarks.connector import exchange

_LENGTH = b"Content-Length: "
_REQUEST = b"GET / HTTP/1.1\r\nHost: web.bench\r\n\r\n"


def request(address: tuple[str, int]) -> int:
    """Nanoseconds of a request and its whole answer on the address's open connection; raises OSError, ValueError."""
    connection = opened(address)
    began = perf_counter_ns()
    connection.sendall(_REQUEST)
    answer = connection.recv(4096)
    while len(answer) < _whole(answer):
        more = connection.recv(4096)
        if not more:
            raise ValueError(f"{address} closed in the middle of an answer")
        answer += more
    return perf_counter_ns() - began


def _whole(answer: bytes) -> int:
    """Bytes that an answer has which begins so; raises ValueError where it is none."""
    end, length = answer.find(b"\r\n\r\n"), answer.find(_LENGTH)
    if b" 200 " not in answer[:16] or end < 0 or length < 0:
        raise ValueError(f"the answer is {answer[:200]!r}")
    return end + 4 + int(answer[length + len(_LENGTH) : answer.index(b"\r", length)])


@cache
def opened(address: tuple[str, int]) -> socket.socket:
    """The connection that stays open."""
    connection = socket.create_connection(address, 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def main() -> None:
    """Answer until the input ends."""
    kinds = {"connect": exchange, "request": request}
    for line in sys.stdin:
        order = json.loads(line)
        places = [(host, int(port)) for host, _, port in (one.rpartition(":") for one in order["addresses"])]
        times = [kinds[order["kind"]](place) for place in islice(cycle(places), order["count"])]
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
