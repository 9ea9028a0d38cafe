"""Messages that span packets: joined, bounded, told once."""

from __future__ import annotations

import random

import pytest

from daemon.flows.l7 import Assembler, PayloadRecord
from daemon.flows.l7.assembly import BYTES, CAPACITY, PATIENCE_NS
from ebpf.constants import PayloadKind
from tests.unit.flows.hellos import client_hello
from tests.unit.flows.samples import row

KEY = b"connection"
HEAD = b"GET /a/long/way HTTP/1.1\r\nHost: api.example\r\nX-Trace: 1\r\n\r\n"
NEXT = PayloadKind.CONTINUED


def payload(kind: int, data: bytes, sequence: int = 0, length: int = 0) -> PayloadRecord:
    return PayloadRecord(row(), kind, data, False, length or len(data), sequence % 2**32)


def pieces(kind: int, data: bytes, size: int, start: int = 0) -> list[PayloadRecord]:
    cuts = range(0, len(data), size)
    return [payload(NEXT if at and kind != PayloadKind.DNS else kind, data[at : at + size], start + at) for at in cuts]


def told(records: list[PayloadRecord], assembler: Assembler | None = None) -> list[bytes]:
    assembler = assembler or Assembler()
    return [whole.data for record in records for whole in assembler.add(KEY, 0, record)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(HEAD) - 1, len(HEAD)])
@pytest.mark.parametrize("start", [5, 2**32 - 9])
def test_a_head_in_pieces_is_told_once_and_whole(size: int, start: int) -> None:
    assert told(pieces(PayloadKind.HTTP_REQUEST, HEAD, size, start)) == [HEAD]


@pytest.mark.parametrize("size", [1, 100, 300])
def test_a_hello_in_pieces_is_told_once_and_whole(size: int) -> None:
    hello = client_hello("api.example")
    assert told(pieces(PayloadKind.TLS_CLIENT, hello, size)) == [hello]


def test_packets_that_come_twice_or_in_another_order_change_nothing() -> None:
    first, *rest = pieces(PayloadKind.HTTP_REQUEST, HEAD, 12)
    rest += rest[1:3]
    random.Random(1).shuffle(rest)
    assert told([first, *rest]) == [HEAD]


def test_what_follows_a_whole_head_is_left_alone() -> None:
    assert told([payload(PayloadKind.HTTP_REQUEST, HEAD), payload(NEXT, b"the body", len(HEAD))]) == [HEAD]


def test_a_head_that_was_cut_is_told_as_it_is() -> None:
    assert told([payload(PayloadKind.HTTP_REQUEST, HEAD[:20], length=5_000)]) == [HEAD[:20]]


def dns(*messages: bytes) -> bytes:
    return b"".join(len(one).to_bytes(2, "big") + one for one in messages)


@pytest.mark.parametrize("size", [1, 2, 3, 11, 1_000])
def test_messages_of_dns_over_tcp_are_cut_out_of_their_stream(size: int) -> None:
    messages = [b"q" * 40, b"r" * 300, b"s" * 12]
    assert told(pieces(PayloadKind.DNS, dns(*messages), size)) == messages


def test_a_dns_message_that_was_cut_is_told_as_far_as_it_goes_and_the_next_one_is_found() -> None:
    assembler = Assembler()
    long = dns(b"x" * 4_000)
    assert told([payload(PayloadKind.DNS, long[:2_048], 0, len(long))], assembler) == [b"x" * 2_046]
    assert told([payload(PayloadKind.DNS, dns(b"next"), len(long))], assembler) == [b"next"]


def test_what_is_never_finished_is_given_up_and_told_as_far_as_it_goes() -> None:
    assembler = Assembler()
    assembler.add(KEY, 10, payload(PayloadKind.HTTP_REQUEST, HEAD[:30]))
    assert assembler.expire(10 + PATIENCE_NS) == []
    assert [one.data for one in assembler.expire(11 + PATIENCE_NS)] == [HEAD[:30]]
    assert len(assembler) == 0


def test_endless_heads_and_many_connections_are_bounded() -> None:
    assembler = Assembler()
    for connection in range(3 * CAPACITY):
        assembler.add(b"%d" % connection, 0, payload(PayloadKind.HTTP_REQUEST, b"GET /"))
    assert len(assembler) == CAPACITY
    endless = pieces(PayloadKind.HTTP_REQUEST, b"GET /" + b"a" * 3 * BYTES, 1_000)
    (cut,) = told(endless, assembler)
    assert len(cut) < BYTES + 1_000
