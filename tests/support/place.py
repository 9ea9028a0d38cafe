"""A place in a test's cluster, a pod, a node or somebody outside, and the orders that its resident takes.

What a client is told is a `Reply`: who answered, whom the server saw, how much came and at which port; or the failure.
"""

from __future__ import annotations

import itertools
import json
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.netns import TestNode

RESIDENT = Path(__file__).with_name("resident.py")
FAMILIES = ("IPv4", "IPv6")
PATIENCE = 2.0  # s for an answer that has to come; a lost SYN is repeated after one
SILENCE = 0.6  # s without an answer where none may come
_START = 20.0  # s until a resident has moved in
_keys = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, or with `error` the reason why there is none: an errno's name, "timeout" or what was wrong."""

    name: str = ""
    peer: str = ""
    size: int = 0
    port: int = 0
    error: str = ""

    @classmethod
    def of(cls, told: list[str]) -> Reply:
        if len(told) != 4:
            return cls(error=" ".join(told))
        return cls(told[0], told[1], int(told[2]), int(told[3]))


@dataclass(frozen=True, slots=True)
class Target:
    """Where a question goes."""

    address: str
    port: int
    protocol: str = "TCP"


@dataclass
class Place:
    """One network namespace with a resident; `node` is the name of the Kubernetes node, "" outside."""

    name: str
    node: str
    addresses: dict[str, str]
    home: TestNode
    workload: str
    control: Path
    _stream: Any = field(default=None, repr=False)

    def settle(self, watched: bool = True) -> None:
        """Start the resident; returns at once. `watched`: the agent's socket programs see it."""
        argv = [sys.executable, "-S", str(RESIDENT), str(self.control)]
        self.home.popen(argv, self.workload, cgroup=self.home.cgroup if watched else self.home.cgroup.parent)

    def order(self, do: str, **options: Any) -> Any:
        """Let the resident do something; what it tells. Raises AssertionError where it could not."""
        stream = self._connected()
        stream.write(json.dumps({"do": do, **options}).encode() + b"\n")
        stream.flush()
        answer = json.loads(stream.readline())
        assert "told" in answer, f"{self.name}: {do} {options}: {answer.get('failed')}"
        return answer["told"]

    def listen(self, port: int, *protocols: str, name: str = "") -> None:
        """Serve a port."""
        for protocol in protocols or ("TCP", "UDP"):
            self.order("listen", protocol=protocol, port=port, name=name or self.name)

    def release(self, port: int, *protocols: str) -> None:
        """Serve a port no more."""
        for protocol in protocols or ("TCP", "UDP"):
            self.order("release", protocol=protocol, port=port)

    def ask(self, target: Target, timeout: float = PATIENCE, **options: Any) -> Reply:
        """One question from a fresh socket."""
        return self.ask_often(target, 1, timeout, **options)[0]

    def ask_often(self, target: Target, count: int, timeout: float = PATIENCE, **options: Any) -> list[Reply]:
        """Questions one after the other, each from a fresh socket. `size` in bytes, `source` a port of one's own."""
        place = {"protocol": target.protocol, "address": target.address, "port": target.port}
        return [Reply.of(each) for each in self.order("ask", **place, count=count, timeout=timeout, **options)]

    def names(self, target: Target, count: int = 40) -> set[str]:
        """Who answers; errors in capitals among them."""
        return {reply.name or reply.error for reply in self.ask_often(target, count)}

    def error(self, target: Target, timeout: float = SILENCE) -> str:
        """Why there is no answer; "" where there is one."""
        return self.ask(target, timeout).error

    def dial(self, target: Target, source: int = 0, loose: bool = False) -> Held:
        """A socket that is kept; `loose`: not connected, it names the address with every question (UDP)."""
        key = f"socket-{next(_keys)}"
        place = {"protocol": target.protocol, "address": target.address, "port": target.port}
        error = self.order("dial", key=key, **place, timeout=SILENCE, source=source, loose=loose)
        return Held(self, key, target if loose else None, error or "")

    def load(self, target: Target, interval: float = 0.005) -> Load:
        """Questions that go on until `stop`."""
        key = f"load-{next(_keys)}"
        place = {"protocol": target.protocol, "address": target.address, "port": target.port}
        self.order("load", key=key, **place, interval=interval, timeout=PATIENCE)
        return Load(self, key)

    def _connected(self) -> Any:
        if self._stream is None:
            until(self.control.exists, _START)
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(self.control))
            self._stream = connection.makefile("rwb")
        return self._stream


@dataclass(frozen=True, slots=True)
class Held:
    """A socket that a resident keeps."""

    place: Place
    key: str
    loose_to: Target | None
    error: str

    def say(self, size: int = 16) -> Reply:
        """A question on it."""
        to = (self.loose_to.address, self.loose_to.port) if self.loose_to else None
        return Reply.of(self.place.order("say", key=self.key, size=size, to=to))

    def hang(self) -> None:
        """Close it."""
        self.place.order("hang", key=self.key)


@dataclass(frozen=True, slots=True)
class Load:
    """Questions that a resident goes on asking."""

    place: Place
    key: str

    def stop(self) -> list[Reply]:
        """All answers."""
        return [Reply.of(each) for each in self.place.order("unload", key=self.key)]


def until(condition: Callable[[], Any], timeout: float = 10.0, step: float = 0.02) -> Any:
    """The first true result of a condition; AssertionError with the last one when there is none in time."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not true within {timeout} s: {condition}, {result!r}"
        time.sleep(step)
    return result


def errors(replies: Iterable[Reply]) -> list[str]:
    """The failures among replies."""
    return [reply.error for reply in replies if reply.error]
