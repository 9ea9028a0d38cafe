"""Connections from outside end when their time is over, both directions together, and leave backends that are gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daemon.services import Applied, translations
from daemon.services.datagrams import keepable, lost_datagrams
from daemon.services.translations import (
    ASSOCIATIONS,
    DATAGRAMS,
    DIRECT_CLOSED,
    ENDED,
    ESTABLISHED,
    HALF_CLOSED,
    OPENING,
    SECOND,
)
from ebpf.addresses import pack
from ebpf.constants import TranslationMark
from tests.unit.services.build import compiled, service, slice_
from tests.unit.services.memory import MemoryMap

NOW = 100_000 * SECOND
SYN, ACK, FIN, RST = 2, 16, 1, 4
CLIENT, VIP, NODE, BACKEND = "198.51.100.1", "203.0.113.1", "192.0.2.1", "10.0.0.1"


@pytest.fixture
def table() -> MemoryMap:
    return MemoryMap("translations", "translation_key", "translation", 1 << 10)


def end(address: str) -> np.ndarray:
    return np.frombuffer(pack(address), np.uint32)


def half(table: MemoryMap, reply: bool, idle: int, flags: int, proto: int, port: int, **value: Any) -> None:
    keys, values = np.zeros(1, table.key_dtype), np.zeros(1, table.value_dtype)
    there = ((CLIENT, port), (VIP, 80)), ((NODE, 20000), (value.get("backend", BACKEND), 8080))
    back = (there[1][1], there[1][0]), (there[0][1], there[0][0])
    seen, written = back if reply else there
    for rows, ends in ((keys, seen), (values, written)):
        for side, (address, number) in zip(("src", "dst"), ends, strict=True):
            rows[side], rows[f"{side}_port"] = end(address), number
    keys["proto"] = proto
    values["last"], values["flags"], values["service"] = NOW - idle, flags, value.get("service", 7)
    values["marks"] = TranslationMark.REPLY if reply else 0
    values["packets"] = 2 if reply else 5
    table.update(keys, values)


def pair(table: MemoryMap, idle: tuple[int, int], flags: tuple[int, int], proto: int = 6, **value: Any) -> None:
    for reply in (False, True):
        half(table, reply, idle[reply], flags[reply], proto, 40000, **value)


@pytest.mark.parametrize(
    ("flags", "proto", "limit"),
    [
        ((SYN, 0), 6, OPENING),
        ((SYN, SYN | ACK), 6, OPENING),
        ((SYN | ACK, SYN | ACK), 6, ESTABLISHED),
        ((SYN | ACK | FIN, SYN | ACK), 6, HALF_CLOSED),
        ((SYN | ACK | FIN, SYN | ACK | FIN), 6, ENDED),
        ((SYN | ACK, SYN | ACK | RST), 6, ENDED),
        ((0, 0), 17, DATAGRAMS),
        ((0, 0), 132, ASSOCIATIONS),
    ],
)
def test_a_connection_ends_when_it_was_silent_for_as_long_as_its_kind_may_be(
    table: MemoryMap, flags: tuple[int, int], proto: int, limit: int
) -> None:
    pair(table, (limit, limit + 9 * SECOND), flags, proto)
    assert told(table) == []
    assert len(table.rows) == 2, "one of its directions was not silent that long"
    pair(table, (limit + 1, limit + 1), flags, proto)
    assert told(table) == [(5, 2)]
    assert table.rows == {}


def told(table: MemoryMap) -> list[tuple[int, int]]:
    """Packets of both directions of each connection that ended now."""
    return [
        (int(there["packets"]), int(back["packets"]))
        for _, values, answers in translations.ended(table, NOW)
        for there, back in zip(values, answers, strict=True)
    ]


def test_half_of_a_connection_ends_by_what_it_has_seen_itself(table: MemoryMap) -> None:
    half(table, True, OPENING + 1, 0, 6, 40000)
    assert told(table) == []
    assert table.rows == {}


def world(*backends: str, **fields: Any) -> Any:
    ports = [{"port": 8080, "protocol": "UDP"}]
    made = service("dns", "10.96.0.1", {"port": 80, "protocol": "UDP"})
    return compiled(made, slice_("dns", " ".join(backends) or "10.9.9.9", ports=ports, **fields))


def kept(table: Any) -> Any:
    return keepable(Applied(7, entry) for entry in table.entries)


def test_datagrams_leave_a_backend_that_their_service_has_no_more(table: MemoryMap) -> None:
    pair(table, (0, 0), (0, 0), 17)
    assert translations.cut_stale(table, kept(world(BACKEND))) == 0
    assert len(table.rows) == 2
    assert translations.cut_stale(table, kept(world("10.0.0.2"))) == 1
    assert table.rows == {}


def test_tcp_stays_with_any_backend(table: MemoryMap) -> None:
    pair(table, (0, 0), (SYN, SYN), 6)
    assert translations.cut_stale(table, kept(world("10.0.0.2"))) == 0


def test_a_gain_of_backends_cuts_nothing() -> None:
    assert not lost_datagrams(world(BACKEND), world(BACKEND, "10.0.0.2"))


@pytest.mark.parametrize(
    ("flags", "proto", "limit"),
    [
        (SYN, 6, OPENING),
        (SYN | ACK, 6, ESTABLISHED),
        (SYN | ACK | FIN, 6, DIRECT_CLOSED),
        (SYN | ACK | FIN | RST, 6, ENDED),
        (0, 17, DATAGRAMS),
    ],
)
def test_of_a_connection_that_is_answered_directly_the_clients_side_alone_decides(
    table: MemoryMap, flags: int, proto: int, limit: int
) -> None:
    for over in (False, True):
        half(table, False, limit + (SECOND if over else -SECOND), flags, proto, 40000)
        keys, values = table.items()
        values = values.copy()
        values["marks"] = TranslationMark.ROUTE | TranslationMark.DIRECT
        table.update(keys, values)
        gone = sum(len(keys) for keys, _, _ in translations.ended(table, NOW))
        assert gone == over


def test_datagrams_that_another_node_sent_here_are_not_cut_for_want_of_their_service(table: MemoryMap) -> None:
    pair(table, (0, 0), (0, 0), 17, service=0)
    assert translations.cut_stale(table, kept(compiled())) == 0
    assert len(table.items()[0]) == 2
