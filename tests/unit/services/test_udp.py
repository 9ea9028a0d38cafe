"""What is done with the sockets that a Service sent to a backend which serves it no more."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable

import numpy as np
import pytest

from daemon.services import udp
from daemon.services.datagrams import BACKEND, flows
from daemon.services.udp import CANNOT_CLOSE, close_stale
from ebpf.addresses import pack
from ebpf.errors import UnsupportedError
from ebpf.sockdiag import SOCKET, Columns, cookies
from tests.unit.services.memory import MemoryMap


class Namespace:
    """Stands in for the kernel: one namespace's sockets, and an errno for each attempt to close one."""

    def __init__(self, *sockets: np.void, refusal: Callable[[int], int] = lambda attempt: 0) -> None:
        self.listed = list(sockets)
        self.refusal = refusal
        self.attempts = 0
        self.asked: list[int] = []

    def __call__(self) -> Namespace:
        return self

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def connected_udp(self, family: int, ports: range) -> Columns:
        self.asked.append(family)
        near = [one for one in self.listed if one["family"] == family and socket.ntohs(one["id"]["dport"]) in ports]
        return np.array(near, SOCKET)

    def destroy(self, sockets: Columns) -> Columns:
        results = []
        for one in sockets:
            results.append(self.refusal(self.attempts))
            self.attempts += 1
            if not results[-1]:
                self.listed = [other for other in self.listed if other["id"] != one["id"]]
        return np.array(results, np.int32)


def kept_flows(*found: tuple[int, str]) -> Columns:
    """Each: a Service's number and "address port" of a backend."""
    records = [pack(backend.split()[0]) + int(backend.split()[1]).to_bytes(2) for _, backend in found]
    return flows(np.array([number for number, _ in found], np.uint32), np.frombuffer(b"".join(records), BACKEND))


class Reverses(MemoryMap):
    """The map `reverses`, in memory."""

    def __init__(self, *known: tuple[int, str], service: int = 7) -> None:
        """Each: a socket's cookie and "address port" of the backend that the Service gave it."""
        super().__init__("reverses", "reverse_key", "reverse", 1024)
        for cookie, backend in known:
            key = np.zeros(1, self.key_dtype)
            address, port = backend.split()
            key["cookie"], key["port"] = cookie, socket.htons(int(port))
            key["backend"] = np.frombuffer(pack(address), np.uint32)
            value = np.zeros(1, self.value_dtype)
            value["service"] = service
            self.update(key, value)

    def lookup(self, key: Columns) -> Columns | None:
        found = self.rows.get(key.tobytes())
        return None if found is None else np.frombuffer(found, self.value_dtype)


def connected(cookie: int, remote: str, family: int = socket.AF_INET) -> np.void:
    """A connected socket, as listed."""
    head = np.zeros(1, SOCKET)
    address, port = remote.split()
    words = np.frombuffer(pack(address), np.uint32)
    head["family"] = family
    head["id"]["cookie"] = [cookie & 0xFFFFFFFF, cookie >> 32]
    head["id"]["dport"] = socket.htons(int(port))
    head["id"]["dst"] = [words[3], 0, 0, 0] if family == socket.AF_INET else words
    return head[0]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Namespace], None]:
    """Put a namespace in the place of all that this host has."""
    udp._say_once.cache_clear()
    monkeypatch.setattr(udp, "network_namespaces", lambda: iter([object()]))
    monkeypatch.setattr(udp, "enter", lambda namespace: None)
    return lambda made: monkeypatch.setattr(udp, "SocketDiag", made)


SERVICE = 7
STALE = "10.0.0.1 5353"
NOTHING = kept_flows()
KEPT = kept_flows((SERVICE, "10.0.0.2 5353"), (SERVICE, "10.0.0.1 5354"))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_only_sockets_that_a_service_sent_to_the_backend_are_closed(
    install: Callable[[Namespace], None], family: int
) -> None:
    through, direct, other, port = 1 << 32, 40002, 40003, 40004
    made = Namespace(
        connected(through, STALE, family),
        connected(direct, STALE, family),
        connected(other, "10.0.0.2 5353", family),
        connected(port, "10.0.0.1 5354", family),
    )
    install(made)
    reverses = Reverses((through, STALE), (direct, "10.0.0.2 5353"), (other, "10.0.0.2 5353"), (port, "10.0.0.1 5354"))
    assert close_stale(reverses, KEPT) == udp.Closed(1, 1, ())
    assert cookies(np.array(made.listed)).tolist() == [direct, other, port]


def test_backends_in_between_are_not_taken_for_those_at_the_ends(install: Callable[[Namespace], None]) -> None:
    places = [f"10.0.0.1 {port}" for port in (5353, 5354, 5355)]
    made = Namespace(*(connected(40000 + index, place) for index, place in enumerate(places)))
    install(made)
    reverses = Reverses(*((40000 + index, place) for index, place in enumerate(places)))
    assert close_stale(reverses, KEPT).closed == 2
    assert len(made.listed) == 1


def test_ipv4_sockets_are_not_asked_for_when_only_ipv6_backends_are_gone(install: Callable[[Namespace], None]) -> None:
    made = Namespace(connected(40001, "fd00::1 53", socket.AF_INET6))
    install(made)
    assert close_stale(Reverses((40001, "fd00::1 53")), NOTHING).closed == 1
    assert set(made.asked) == {socket.AF_INET6}


def test_no_namespace_is_entered_when_nothing_is_gone(install: Callable[[Namespace], None]) -> None:
    made = Namespace(connected(40001, STALE))
    install(made)
    assert close_stale(Reverses((40001, "10.0.0.2 5353")), KEPT) == udp.Closed(0, 0, ())
    assert not made.asked


def test_a_socket_behind_another_with_the_same_addresses_is_closed_in_the_next_round(
    install: Callable[[Namespace], None],
) -> None:
    made = Namespace(
        connected(40001, STALE),
        connected(40002, STALE),
        refusal=lambda attempt: errno.ENOENT if attempt == 1 else 0,
    )
    install(made)
    assert close_stale(Reverses((40001, STALE), (40002, STALE)), KEPT) == udp.Closed(2, 1, ())


def test_a_socket_that_withstands_every_round_is_told(install: Callable[[Namespace], None]) -> None:
    install(Namespace(connected(40001, STALE), refusal=lambda attempt: errno.ENOENT))
    result = close_stale(Reverses((40001, STALE)), KEPT)
    assert (result.closed, result.left) == (0, 1)
    assert "ENOENT" in result.failures[0]


def test_a_kernel_that_cannot_close_sockets_is_named_once_in_the_log_and_counted_each_time(
    install: Callable[[Namespace], None], caplog: pytest.LogCaptureFixture
) -> None:
    made = Namespace(connected(40001, STALE), connected(40002, STALE), refusal=lambda attempt: errno.EOPNOTSUPP)
    install(made)
    reverses = Reverses((40001, STALE), (40002, STALE))
    with caplog.at_level(logging.WARNING):
        results = [close_stale(reverses, KEPT) for _ in range(2)]
    assert [(result.closed, result.left) for result in results] == [(0, 2)] * 2
    assert all(CANNOT_CLOSE in result.failures[0] for result in results)
    assert caplog.messages == [CANNOT_CLOSE]


def test_a_kernel_that_cannot_list_sockets_is_a_failure_and_no_error(install: Callable[[Namespace], None]) -> None:
    class Blind(Namespace):
        def connected_udp(self, family: int, ports: range) -> Columns:
            raise UnsupportedError("the kernel cannot list UDP sockets")

    install(Blind())
    assert "the kernel cannot list UDP sockets" in close_stale(Reverses((40001, STALE)), KEPT).failures[0]


def test_a_namespace_that_fails_does_not_keep_the_others_from_being_looked_at(
    install: Callable[[Namespace], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def enter(namespace: str) -> None:
        if namespace == "bad":
            raise OSError(errno.EPERM, "no")

    install(Namespace(connected(40001, STALE)))
    monkeypatch.setattr(udp, "network_namespaces", lambda: iter(["bad", "good"]))
    monkeypatch.setattr(udp, "enter", enter)
    result = close_stale(Reverses((40001, STALE)), KEPT)
    assert (result.closed, result.namespaces) == (1, 2)
    assert len(result.failures) == 1


def test_a_backend_that_another_service_still_has_keeps_no_socket_of_this_one(
    install: Callable[[Namespace], None],
) -> None:
    both = kept_flows((SERVICE, "10.0.0.2 5353"), (SERVICE + 1, STALE))
    install(Namespace(connected(40001, STALE)))
    assert close_stale(Reverses((40001, STALE)), both).closed == 1
    install(Namespace(connected(40001, STALE)))
    assert close_stale(Reverses((40001, STALE), service=SERVICE + 1), both) == udp.Closed(0, 0, ())


def test_a_socket_that_went_to_another_service_meanwhile_stays(install: Callable[[Namespace], None]) -> None:
    made = Namespace(connected(40001, STALE), connected(40002, STALE))
    install(made)
    reverses = Reverses((40001, STALE))
    for key, value in Reverses((40002, STALE), service=SERVICE + 1).rows.items():
        reverses.rows[key] = value
    assert close_stale(reverses, kept_flows((SERVICE + 1, STALE))).closed == 1
    assert cookies(np.array(made.listed)).tolist() == [40002]
