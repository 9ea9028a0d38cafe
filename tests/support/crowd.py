"""Many servers in one process: each answers TCP and UDP in a workload's namespace, and is opened and closed on command.

Run as `python -m tests.support.crowd PORT`; commands come as lines: `open NAME NAMESPACE-PATH`, `close NAME`, each
answered by a line. A TCP connection is answered when its request is there, so nothing is ever closed with unread bytes.
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from daemon.demo.topology import in_namespace

_SO_RCVBUFFORCE = 33  # of asm-generic/socket.h
_BUFFER = 1 << 20  # bytes of a UDP socket; no datagram is to be lost because this process was busy


class Crowd:
    """All servers that are open, behind one epoll."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._epoll = select.epoll()
        self._ready: dict[int, Callable[[], None]] = {}
        self._sockets: dict[str, tuple[socket.socket, socket.socket]] = {}

    def run(self) -> None:
        """Serve until the input ends."""
        self._watch(sys.stdin.fileno(), self._command)
        with suppress(EOFError):
            while True:
                for fd, _ in self._epoll.poll():
                    self._ready.get(fd, _nothing)()

    def open(self, name: str, namespace: str) -> None:
        """Begin to serve in a namespace."""
        tcp, udp = in_namespace(Path(namespace), _listen, self.port)
        self._sockets[name] = tcp, udp
        self._watch(tcp.fileno(), lambda: _answer_connections(tcp, name.encode()))
        self._watch(udp.fileno(), lambda: _answer_datagrams(udp))

    def close(self, name: str) -> None:
        """End a server as a process that exits does."""
        for one in self._sockets.pop(name):
            del self._ready[one.fileno()]
            one.close()

    def _watch(self, fd: int, work: Callable[[], None]) -> None:
        self._ready[fd] = work
        self._epoll.register(fd, select.EPOLLIN)

    def _command(self) -> None:
        words = sys.stdin.readline().split()
        if not words:
            raise EOFError
        {"open": self.open, "close": self.close}[words[0]](*words[1:])
        print("done", flush=True)


def _nothing() -> None:
    """For an event of a server that was closed in the same round."""


def _listen(port: int) -> tuple[socket.socket, socket.socket]:
    tcp = socket.create_server(("0.0.0.0", port), backlog=1024)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
    tcp.setblocking(False)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    udp.bind(("0.0.0.0", port))
    udp.setblocking(False)
    return tcp, udp


def _answer_connections(tcp: socket.socket, name: bytes) -> None:
    with suppress(BlockingIOError):
        while True:
            connection, _ = tcp.accept()
            with connection, suppress(OSError):
                connection.settimeout(1)
                connection.recv(64)
                connection.sendall(name)


def _answer_datagrams(udp: socket.socket) -> None:
    with suppress(BlockingIOError):
        while True:
            data, peer = udp.recvfrom(64)
            udp.sendto(data, peer)


if __name__ == "__main__":
    Crowd(int(sys.argv[1])).run()
