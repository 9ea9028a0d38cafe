"""A process that serves and asks in many network namespaces at once, to see within a moment who reaches whom.

A process for each question would take minutes for a table of five hundred cells. Sockets stay in the namespace in which
they were made, so one process can have them everywhere: it waits for all of them together, and a whole table takes
little longer than the silence that it takes to know that nobody answers.

SCTP goes by raw sockets, since not every kernel has it: an INIT is sent, and who gets one answers INIT ACK. Orders are
JSON documents, a line each, on standard input; see `main`.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

SILENT, ANSWERED = "silent", "answered"
SCTP = 132
_NEW_NET = 0x40000000  # CLONE_NEWNET
_INIT, _INIT_ACK = 1, 2
_KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_RESET = struct.pack("ii", 1, 0)
_FIRST_PORT, _PORTS = 32_768, 28_000
_libc = ctypes.CDLL(None, use_errno=True)


class Question(NamedTuple):
    """`wanted`: an answer is waited for with patience; without, no longer than the silence lasts."""

    place: str
    address: str
    protocol: str
    port: int
    wanted: bool


def main() -> None:
    """The first order is {place: path of its namespace} and the ports; the others are questions."""
    first = json.loads(sys.stdin.readline())
    prober = Prober(first["places"], first["ports"])
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        asked = [Question(*one) for one in order.pop("questions")]
        print(json.dumps(prober.ask(asked, **order)), flush=True)


class Prober:
    """Serves ports in all places from the beginning."""

    def __init__(self, places: dict[str, str], ports: Iterable[tuple[str, int]]) -> None:
        self._selector = selectors.DefaultSelector()
        self._namespaces = {name: os.open(path, os.O_RDONLY) for name, path in places.items()}
        self._raw: dict[tuple[str, int], socket.socket] = {}
        self._numbers = itertools.count()
        self._round: Round | None = None
        for place in places:
            self._enter(place)
            for protocol, port in ports:
                if protocol != "SCTP":
                    self._serve(protocol, port)
            for family in _FAMILIES:
                self._raw[place, family] = self._listen_raw(place, family)

    def ask(self, questions: list[Question], silence: float, patience: float) -> list[str]:
        """What becomes of each question: answered, silent, or the name of an errno."""
        self._round = current = Round(questions, silence, patience)
        for number in sorted(range(len(questions)), key=lambda one: questions[one].place):
            self._put(number, current)
        current.sent()
        while (left := current.left()) > 0:
            for key, _ in self._selector.select(left):
                key.data()
        for made in current.sockets:
            if made.fileno() >= 0:
                self._close(made)
        self._round = None
        return [current.answers.get(number, SILENT) for number in range(len(questions))]

    def _enter(self, place: str) -> None:
        if _libc.setns(self._namespaces[place], _NEW_NET):
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace of {place}")

    def _serve(self, protocol: str, port: int) -> None:
        server = socket.socket(socket.AF_INET6, _KINDS[protocol])
        server.setblocking(False)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", port))
        if protocol == "TCP":
            server.listen(1024)
        work = accept if protocol == "TCP" else echo
        self._selector.register(server, selectors.EVENT_READ, lambda: drained(server, work))

    def _listen_raw(self, place: str, family: int) -> socket.socket:
        raw = socket.socket(family, socket.SOCK_RAW, SCTP)
        raw.setblocking(False)
        self._selector.register(raw, selectors.EVENT_READ, lambda: drained(raw, lambda one: self._chunk(place, one)))
        return raw

    def _chunk(self, place: str, raw: socket.socket) -> None:
        """Answer an INIT; take an INIT ACK as the answer to the question of its port."""
        packet, peer = raw.recvfrom(256)
        packet = packet[(packet[0] & 15) * 4 :] if raw.family == socket.AF_INET else packet
        source, target = struct.unpack_from("!HH", packet)
        if packet[12] == _INIT:
            raw.sendto(chunk(target, source, _INIT_ACK), (peer[0], 0))
        elif packet[12] == _INIT_ACK and self._round:
            self._round.associated(place, target)

    def _put(self, number: int, current: Round) -> None:
        asked = current.questions[number]
        self._enter(asked.place)
        family = socket.AF_INET6 if ":" in asked.address else socket.AF_INET
        try:
            if asked.protocol == "SCTP":
                source = _FIRST_PORT + next(self._numbers) % _PORTS
                current.associations[asked.place, source] = number
                self._raw[asked.place, family].sendto(chunk(source, asked.port, _INIT), (asked.address, 0))
            else:
                self._open(number, socket.socket(family, _KINDS[asked.protocol]), current)
        except OSError as error:
            current.answer(number, word(error.errno))

    def _open(self, number: int, made: socket.socket, current: Round) -> None:
        asked = current.questions[number]
        current.sockets.append(made)
        made.setblocking(False)
        failed = made.connect_ex((asked.address, asked.port))
        if failed not in (0, errno.EINPROGRESS):
            current.answer(number, word(failed))
            return
        if asked.protocol == "UDP":
            made.send(b"?")
        event = selectors.EVENT_WRITE if asked.protocol == "TCP" else selectors.EVENT_READ
        self._selector.register(made, event, lambda: self._answered(number, made, current))

    def _answered(self, number: int, made: socket.socket, current: Round) -> None:
        failed = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        current.answer(number, word(failed) if failed else ANSWERED)
        self._close(made)

    def _close(self, made: socket.socket) -> None:
        if made in self._selector.get_map():
            self._selector.unregister(made)
        if made.type == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        made.close()


class Round:
    """Questions under way."""

    def __init__(self, questions: list[Question], silence: float, patience: float) -> None:
        self.questions, self.answers = questions, dict[int, str]()
        self.sockets: list[socket.socket] = []
        self.associations: dict[tuple[str, int], int] = {}
        self._silence = silence
        self._deadline = time.monotonic() + patience
        self._missing = {number for number, one in enumerate(questions) if one.wanted}
        self._denied = len(questions) - len(self._missing)
        self._quiet_since = 0.0

    def sent(self) -> None:
        """All questions were put: from now on it may be silent."""
        self._quiet_since = time.monotonic()

    def answer(self, number: int, what: str) -> None:
        self.answers[number] = what
        if number in self._missing:
            self._missing.discard(number)
            self._quiet_since = time.monotonic()

    def associated(self, place: str, port: int) -> None:
        if (place, port) in self.associations:
            self.answer(self.associations[place, port], ANSWERED)

    def left(self) -> float:
        """Seconds until nothing more is waited for."""
        if self._missing:
            return self._deadline - time.monotonic()
        return self._quiet_since + self._silence - time.monotonic() if self._denied else 0.0


def accept(server: socket.socket) -> None:
    server.accept()[0].close()


def echo(server: socket.socket) -> None:
    data, peer = server.recvfrom(64)
    server.sendto(data, peer)


def drained(server: socket.socket, work: Callable[[socket.socket], Any]) -> None:
    """Work until there is nothing to do; a failure concerns one peer and is its own to see."""
    while True:
        try:
            work(server)
        except BlockingIOError:
            return
        except OSError:
            continue


def chunk(source: int, target: int, kind: int) -> bytes:
    """An SCTP packet with an INIT or its acknowledgement; nobody looks at the checksum."""
    head = struct.pack("!HHII", source, target, 0 if kind == _INIT else 1, 0)
    return head + struct.pack("!BBHIIHHI", kind, 0, 20, 1, 65_536, 1, 1, 1)


def word(number: int | None) -> str:
    return errno.errorcode.get(number or 0, str(number))


if __name__ == "__main__":
    main()
