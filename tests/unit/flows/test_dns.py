"""DNS heads."""

from __future__ import annotations

import random
import sys

import dns.message
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.flows.l7 import DnsMessage
from daemon.flows.l7.dns import decode_dns
from tests.unit.flows.samples import dns_answer, dns_query


def test_a_query_is_decoded() -> None:
    assert decode_dns(dns_query("API.shop.svc.", "AAAA")) == DnsMessage(77, "api.shop.svc.", ("AAAA",))


def test_an_answer_carries_addresses_aliases_types_and_the_smallest_ttl() -> None:
    answer = dns.message.make_response(dns.message.from_wire(dns_query("www.example.org.")))
    answer.answer.append(dns.rrset.from_text("www.example.org.", 300, "IN", "CNAME", "cdn.example.net."))
    answer.answer.append(dns.rrset.from_text("cdn.example.net.", 20, "IN", "A", "192.0.2.1", "192.0.2.2"))
    message = decode_dns(answer.to_wire())
    assert message is not None
    assert sorted(message.ips) == ["192.0.2.1", "192.0.2.2"]  # the encoder shuffles
    assert message.cnames == ("cdn.example.net.",)
    assert (message.ttl, message.rrtypes, message.rcode) == (20, ("CNAME", "A", "A"), 0)
    assert message.response


def test_a_failed_answer_carries_its_code() -> None:
    message = decode_dns(dns_answer(ips=(), rcode=3))
    assert message is not None
    assert (message.rcode, message.ttl, message.ips) == (3, 0, ())


def test_an_answer_that_was_cut_off_gives_the_records_that_are_whole() -> None:
    whole = dns_answer(ips=tuple(f"192.0.2.{number}" for number in range(20)))
    message = decode_dns(whole[: len(whole) - 40])
    assert message is not None
    assert len(message.ips) == 17


def test_records_of_other_types_are_told_as_zone_files_write_them() -> None:
    answer = dns.message.make_response(dns.message.make_query("_http._tcp.shop.", "SRV"))
    answer.answer.append(dns.rrset.from_text("_http._tcp.shop.", 30, "IN", "SRV", "0 5 8080 web.shop."))
    message = decode_dns(answer.to_wire())
    assert message is not None
    assert (message.rrtypes, message.data, message.ips) == (("SRV",), ("SRV 0 5 8080 web.shop.",), ())


def test_equal_messages_keep_their_own_ids() -> None:
    assert [m.id for m in map(decode_dns, (dns_query(number=1), dns_query(number=2))) if m] == [1, 2]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 11,
        b"\x00" * 12,
        b"GET / HTTP/1.1\r\n\r\n",
        dns_query()[:14],
        b"\x00\x4d\x28\x00" + dns_query()[4:],  # opcode UPDATE
        b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01",  # name that points at itself
    ],
)
def test_what_is_no_query_or_answer_gives_nothing(data: bytes) -> None:
    assert decode_dns(data) is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=1_100))
def test_any_bytes_are_survived(data: bytes) -> None:
    message = decode_dns(data)
    assert message is None or isinstance(message, DnsMessage)


def steps(data: bytes) -> int:
    """Calls that decoding takes: a measure of work that does not depend on what else the machine does."""
    counted = 0

    def count(*_: object) -> None:
        nonlocal counted
        counted += 1

    sys.setprofile(count)
    try:
        decode_dns(data)
    finally:
        sys.setprofile(None)
    return counted


def test_mutated_answers_are_survived_with_bounded_work_and_give_bounded_messages() -> None:
    random_ = random.Random(7)
    seed = dns_answer(ips=tuple(f"192.0.2.{number}" for number in range(30)))
    for _ in range(3_000):
        data = bytearray(seed)
        for _ in range(random_.randrange(1, 12)):
            data[random_.randrange(len(data))] = random_.randrange(256)
        assert steps(bytes(data)) < 100_000
        message = decode_dns(bytes(data))
        assert message is None or (len(message.ips) <= 32 and len(message.rrtypes) <= 32 and len(message.qtypes) <= 32)


def test_a_message_made_to_hurt_is_read_with_bounded_work() -> None:
    header = b"\x00\x01\x81\x80\xff\xff\xff\xff\xff\xff\xff\xff"
    labels = b"\x01a" * 120 + b"\x00"
    pointers = b"\xc0\x0c\x00\x01\x00\x01" * 2_000
    assert steps(header + labels + b"\x00\x01\x00\x01" + pointers) < 5_000_000
