"""Requests and answers."""

from __future__ import annotations

from daemon.flows.l7 import DnsMessage, HttpMessage, Pairing
from daemon.flows.l7.pairing import DNS_TIMEOUT_NS, HTTP_TIMEOUT_NS, PIPELINE, RETRANSMIT_NS, UNANSWERED

MS = 1_000_000
CONN, OTHER = b"connection one", b"connection two"
OK = HttpMessage("", "", "HTTP/1.1", 200)


def _get(url: str) -> HttpMessage:
    return HttpMessage("GET", url, "HTTP/1.1", host="backend")


def test_an_answer_gets_the_method_url_and_latency_of_its_request() -> None:
    pairing = Pairing()
    assert pairing.http(CONN, 100 * MS, _get("/a")) == _get("/a")
    answer = pairing.http(CONN, 425 * MS, OK)
    assert (answer.method, answer.url, answer.host, answer.code) == ("GET", "/a", "backend", 200)
    assert answer.latency_ns == 325 * MS


def test_pipelined_requests_are_answered_in_their_order() -> None:
    pairing = Pairing()
    for number in range(3):
        pairing.http(CONN, number, _get(f"/{number}"))
    answers = [pairing.http(CONN, 10, OK) for _ in range(3)]
    assert [(answer.url, answer.latency_ns) for answer in answers] == [("/0", 10), ("/1", 9), ("/2", 8)]


def test_connections_do_not_mix() -> None:
    pairing = Pairing()
    pairing.http(CONN, 0, _get("/one"))
    pairing.http(OTHER, 0, _get("/two"))
    assert pairing.http(OTHER, 1, OK).url == "/two"


def test_an_answer_without_request_stays_as_it_is_and_is_counted() -> None:
    pairing = Pairing()
    assert pairing.http(CONN, 5, OK) == OK
    assert pairing.stats.orphans == 1


def test_a_segment_that_tcp_sent_again_is_one_request() -> None:
    pairing = Pairing()
    pairing.http(CONN, 0, _get("/a"))
    pairing.http(CONN, RETRANSMIT_NS, _get("/a"))
    assert pairing.http(CONN, RETRANSMIT_NS + 5, OK).latency_ns == RETRANSMIT_NS + 5
    assert pairing.stats.pending == 0


def test_equal_requests_in_quick_succession_are_two() -> None:
    pairing = Pairing()
    pairing.http(CONN, 0, _get("/a"))
    pairing.http(CONN, 1, _get("/a"))
    assert pairing.stats.pending == 2


def test_a_dns_answer_is_paired_by_conversation_and_id() -> None:
    pairing = Pairing()
    pairing.dns(CONN, 10, DnsMessage(1, "a.", ("A",)))
    pairing.dns(CONN, 20, DnsMessage(2, "b.", ("A",)))
    answer = pairing.dns(CONN, 50, DnsMessage(1, "a.", ("A",), response=True))
    assert answer.latency_ns == 40
    assert pairing.dns(OTHER, 60, DnsMessage(2, "b.", ("A",), response=True)).latency_ns == 0


def test_a_repeated_query_counts_from_the_first_attempt() -> None:
    pairing = Pairing()
    pairing.dns(CONN, 10, DnsMessage(1, "a."))
    pairing.dns(CONN, 500, DnsMessage(1, "a."))
    assert pairing.dns(CONN, 510, DnsMessage(1, "a.", response=True)).latency_ns == 500


def test_an_answer_without_question_takes_that_of_its_query() -> None:
    pairing = Pairing()
    pairing.dns(CONN, 1, DnsMessage(9, "a.", ("AAAA",)))
    answer = pairing.dns(CONN, 2, DnsMessage(9, "", rcode=1, response=True))
    assert (answer.query, answer.qtypes) == ("a.", ("AAAA",))


def test_queries_without_answer_can_be_read_out() -> None:
    pairing = Pairing()
    pairing.dns(CONN, 10, DnsMessage(1, "gone."))
    pairing.expire(10 + DNS_TIMEOUT_NS)
    assert pairing.unanswered() == ()
    pairing.expire(11 + DNS_TIMEOUT_NS)
    assert [(query.time, query.message.query) for query in pairing.unanswered()] == [(10, "gone.")]
    assert pairing.stats.expired == 1


def test_http_requests_without_answer_expire() -> None:
    pairing = Pairing()
    pairing.http(CONN, 0, _get("/a"))
    pairing.expire(HTTP_TIMEOUT_NS + 1)
    assert (pairing.stats.pending, pairing.stats.expired) == (0, 1)
    assert pairing.http(CONN, HTTP_TIMEOUT_NS + 2, OK).latency_ns == 0


def test_the_tables_are_limited_and_the_oldest_leave_first() -> None:
    pairing = Pairing(capacity=100)
    for number in range(500):
        pairing.http(b"%d" % number, number, _get("/a"))
        pairing.dns(b"%d" % number, number, DnsMessage(1, "a."))
    assert pairing.stats.pending == 200
    assert pairing.stats.evicted == 800
    assert pairing.http(b"499", 1_000, OK).latency_ns == 501
    assert pairing.http(b"0", 1_000, OK).latency_ns == 0
    assert len(pairing.unanswered()) <= UNANSWERED


def test_one_connection_cannot_fill_the_table() -> None:
    pairing = Pairing()
    for number in range(10 * PIPELINE):
        pairing.http(CONN, number, _get(f"/{number}"))
    assert pairing.stats.pending == PIPELINE


def test_a_request_whose_answer_was_lost_does_not_take_the_next_one() -> None:
    pairing = Pairing()
    pairing.http(CONN, 0, _get("/lost"))
    pairing.http(CONN, 1_000 * MS, _get("/next"), alone=True)
    answer = pairing.http(CONN, 1_005 * MS, OK)
    assert (answer.url, answer.latency_ns) == ("/next", 5 * MS)
    assert pairing.stats.expired == 1


def test_requests_that_were_pipelined_in_one_segment_are_kept() -> None:
    pairing = Pairing()
    for number in range(3):
        pairing.http(CONN, number, _get(f"/{number}"), alone=number == 0)
    pairing.http(CONN, 5, OK)
    pairing.http(CONN, 6, _get("/later"), alone=True)
    assert [pairing.http(CONN, 10, OK).url for _ in range(3)] == ["/1", "/2", "/later"]
