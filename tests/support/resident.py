"""A process that lives in a pod, on a node or outside, and does there what a test tells it: serve, ask, hold sockets.

A Python process for every request would cost fifty milliseconds each, so one stays in every place and takes orders, a
JSON document a line, on a unix socket: a path reaches into any network namespace. Run as `python resident.py PATH`.

A server answers each line of a TCP connection and each datagram with its name, whom it saw, how much came and the port.
"""

from __future__ import annotations

import errno
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

LARGEST = 65_536
SILENT = ["timeout"]
Address = tuple[str, int]


def main() -> None:
    path = Path(sys.argv[1])
    resident = Resident()
    with socket.socket(socket.AF_UNIX) as listener:
        waiting = path.with_suffix(".new")
        listener.bind(str(waiting))
        listener.listen(64)
        waiting.rename(path)  # who sees the path can connect
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=obey, args=(resident, connection), daemon=True).start()


def obey(resident: Resident, connection: socket.socket) -> None:
    """Carry out orders until the connection ends; an exception is told in the answer."""
    with connection, connection.makefile("rwb") as stream:
        for line in stream:
            order = json.loads(line)
            try:
                answer = {"told": getattr(resident, order.pop("do"))(**order)}
            except Exception as error:
                answer = {"failed": f"{type(error).__name__}: {error}"}
            stream.write(json.dumps(answer).encode() + b"\n")
            stream.flush()


class Resident:
    """What can be ordered. An answer is `[name, peer, bytes, port]`, a failure its errno's name, alone in a list."""

    def __init__(self) -> None:
        self.servers: dict[tuple[str, int], socket.socket] = {}
        self.held: dict[str, socket.socket] = {}
        self.loads: dict[str, Load] = {}

    def listen(self, protocol: str, port: int, name: str) -> None:
        """Serve a port under a name, on all addresses of both families."""
        kind, serve = (socket.SOCK_DGRAM, echo) if protocol == "UDP" else (socket.SOCK_STREAM, accept)
        server = socket.socket(socket.AF_INET6, kind)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("::", port))
        if protocol == "TCP":
            server.listen(1024)
        self.servers[protocol, port] = server
        threading.Thread(target=serve, args=(server, f"{name} {{}} {{}} {port}\n"), daemon=True).start()

    def release(self, protocol: str, port: int) -> None:
        """Serve a port no more."""
        server = self.servers.pop((protocol, port))
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits
        server.close()

    def ask(self, protocol: str, address: str, port: int, count: int, timeout: float, **options: Any) -> list[Any]:
        """So many questions one after the other, each from a socket of its own; two without answer are enough."""
        answers: list[Any] = []
        while len(answers) < count and answers.count(SILENT) < 2:
            answers.append(one(protocol, (address, port), timeout, **options))
        return answers

    def catch(self, key: str, number: int) -> None:
        """Take the packets of a transport protocol that the kernel need not know."""
        self.held[key] = socket.socket(socket.AF_INET, socket.SOCK_RAW, number)

    def caught(self, key: str, timeout: float) -> Any:
        """The next such packet's source; none within the time: its errno's name."""
        with self.held.pop(key) as raw:
            raw.settimeout(timeout)
            return attempt(lambda: [raw.recvfrom(LARGEST)[1][0]])

    def throw(self, number: int, address: str, payload: str) -> None:
        """Send a packet of a transport protocol, its content in hexadecimal digits."""
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, number) as raw:
            raw.sendto(bytes.fromhex(payload), (address, 0))

    def dial(self, key: str, protocol: str, address: str, port: int, timeout: float, source: int, loose: bool) -> Any:
        """Open a socket and keep it; `loose` leaves it unconnected, so that each question names the address."""
        try:
            self.held[key] = made = opened(protocol, address, timeout, source)
            if not loose:
                made.connect((address, port))
            return None
        except OSError as error:
            return word(error)

    def say(self, key: str, size: int, to: Address | None) -> Any:
        """A question and its answer on a socket that is kept."""
        return attempt(lambda: exchange(self.held[key], size, tuple(to) if to else None))

    def hang(self, key: str) -> None:
        """Close a socket that is kept."""
        self.held.pop(key).close()

    def load(self, key: str, protocol: str, address: str, port: int, interval: float, timeout: float) -> None:
        """Go on asking, each time from a socket of its own, until `unload`."""
        self.loads[key] = Load(protocol, (address, port), interval, timeout)

    def unload(self, key: str) -> list[Any]:
        """All answers since `load`."""
        return self.loads.pop(key).stop()

    def inject(self, source: str, destination: str, ports: list[int]) -> None:
        """Send a TCP segment that belongs to no window, as if it were of a connection that there is."""
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
            raw.sendto(stray(source, destination, ports), (destination, 0))


class Load:
    """A thread that asks and keeps the answers."""

    def __init__(self, protocol: str, address: Address, interval: float, timeout: float) -> None:
        self.answers: list[Any] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(protocol, address, interval, timeout), daemon=True)
        self.thread.start()

    def run(self, protocol: str, address: Address, interval: float, timeout: float) -> None:
        while not self.over.wait(interval):
            self.answers.append(one(protocol, address, timeout))

    def stop(self) -> list[Any]:
        self.over.set()
        self.thread.join()
        return self.answers


def accept(server: socket.socket, answer: str) -> None:
    while True:
        try:
            connection, peer = server.accept()
        except OSError:
            return
        threading.Thread(target=converse, args=(connection, answer, plain(peer[0])), daemon=True).start()


def converse(connection: socket.socket, answer: str, peer: str) -> None:
    try:
        with connection, connection.makefile("rb") as stream:
            for line in stream:
                connection.sendall(answer.format(peer, len(line)).encode())
    except OSError:
        return


def echo(server: socket.socket, answer: str) -> None:
    while True:
        try:
            data, peer = server.recvfrom(LARGEST)
            if data:
                server.sendto(answer.format(plain(peer[0]), len(data)).encode(), peer)
        except ConnectionError:
            continue  # somebody's earlier answer found nobody
        except OSError:
            return


def one(protocol: str, address: Address, timeout: float, size: int = 16, source: int = 0) -> Any:
    """One question from a fresh socket."""

    def conversation() -> Any:
        with opened(protocol, address[0], timeout, source) as made:
            made.connect(address)
            return exchange(made, size, None)

    return attempt(conversation)


def opened(protocol: str, address: str, timeout: float, source: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_STREAM)
    made.settimeout(timeout)
    if source:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("", source))
    return made


def exchange(made: socket.socket, size: int, to: Any) -> Any:
    question = b"x" * (size - 1) + b"\n"
    if to:
        made.sendto(question, to)
        data, peer = made.recvfrom(LARGEST)
        if plain(peer[0]) != to[0]:
            return [f"answered by {peer[0]}"]
    else:
        made.sendall(question)
        data = made.recv(LARGEST)
    return data.decode().split() or ["EOF"]


def attempt(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except OSError as error:
        return [word(error)]


def word(error: OSError) -> str:
    return "timeout" if isinstance(error, TimeoutError) else errno.errorcode.get(error.errno or 0, str(error))


def plain(address: str) -> str:
    return address.removeprefix("::ffff:")


def stray(source: str, destination: str, ports: list[int]) -> bytes:
    """A TCP segment with a payload and a sequence number out of the blue."""
    number = int(time.monotonic() * 1e6) & 0xFFFFFFFF
    head = ports[0].to_bytes(2) + ports[1].to_bytes(2) + number.to_bytes(4) + number.to_bytes(4) + b"\x50\x18\x20\x00"
    payload = b"boom"
    pseudo = socket.inet_aton(source) + socket.inet_aton(destination) + b"\x00\x06" + (20 + len(payload)).to_bytes(2)
    total = sum(int.from_bytes(each) for each in _words(pseudo + head + bytes(4) + payload))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head + (~total & 0xFFFF).to_bytes(2) + bytes(2) + payload


def _words(data: bytes) -> list[bytes]:
    return [data[index : index + 2] for index in range(0, len(data), 2)]


if __name__ == "__main__":
    main()
