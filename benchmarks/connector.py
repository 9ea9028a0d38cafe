"""Connects, asks and closes, at one address and at another in turn, and takes the time of each.

A program of its own (`python -m benchmarks.connector COUNT HOST:PORT HOST:PORT`), because it has to run in the
client's namespace and cgroup. Prints two JSON arrays of nanoseconds, from before socket() until after close().
"""

from __future__ import annotations

import json
import socket
import sys
from time import perf_counter_ns

REQUEST = b"GET / HTTP/1.0\r\nHost: web.bench\r\n\r\n"
WARM_UP = 200  # exchanges with each address that are not told


def exchange(address: tuple[str, int]) -> int:
    """Nanoseconds of one connection with one request and its whole answer; raises OSError, ValueError."""
    began = perf_counter_ns()
    with socket.socket() as connection:
        connection.connect(address)
        connection.sendall(REQUEST)
        answer = connection.recv(4096)
        while connection.recv(4096):
            pass
    took = perf_counter_ns() - began
    if b" 200 " not in answer[:16]:
        raise ValueError(f"{address} answered {answer[:40]!r}")
    return took


def alternate(count: int, addresses: list[tuple[str, int]]) -> list[list[int]]:
    """`count` exchanges with each address; who begins changes each time."""
    for address in addresses * WARM_UP:
        exchange(address)
    times: list[list[int]] = [[] for _ in addresses]
    for turn in range(count):
        for index in range(len(addresses)):
            which = (turn + index) % len(addresses)
            times[which].append(exchange(addresses[which]))
    return times


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    json.dump(alternate(int(sys.argv[1]), [_address(one) for one in sys.argv[2:]]), sys.stdout)
