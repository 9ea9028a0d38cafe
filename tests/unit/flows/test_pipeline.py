"""From records and payload heads to the store."""

from __future__ import annotations

import random

import numpy as np
import pytest

from daemon.flows.l7 import DnsMessage, HttpMessage, PayloadRecord
from daemon.flows.pipeline import absolute_url
from daemon.flows.record import read_record
from ebpf import addresses
from ebpf.constants import EventKind, Failure, PayloadKind
from tests.support.layouts import flow_dtype
from tests.unit.flows.hellos import client_hello
from tests.unit.flows.samples import BACKEND, FRONTEND, RESOLVER, Bench, dns_answer, dns_query, row, rows

GET = b"GET /api/users HTTP/1.1\r\nHost: backend.shop\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n\r\n"
MS = 1_000_000


def _request(time: int, data: bytes = GET) -> PayloadRecord:
    return PayloadRecord(row(time=time), PayloadKind.HTTP_REQUEST, data)


def _response(time: int, data: bytes = OK) -> PayloadRecord:
    carrier = row(time=time, src=BACKEND, dst=FRONTEND, src_port=80, dst_port=40_000, reply=1)
    return PayloadRecord(carrier, PayloadKind.HTTP_RESPONSE, data)


def test_plain_records_are_stored_as_they_are() -> None:
    bench = Bench()
    batch = rows({"time": 1}, {"time": 2}, {"time": 3})
    bench.pipeline.ingest(batch)
    assert (bench.store.read(0, 3).rows == batch).all()


def test_a_request_and_its_answer_become_records_of_their_own_with_latency() -> None:
    bench = Bench()
    bench.pipeline.ingest(rows(), [_request(100 * MS)])
    bench.pipeline.ingest(rows(), [_response(425 * MS)])
    stored = bench.store.read(0, 9).rows
    assert stored["kind"].tolist() == [EventKind.L7, EventKind.L7]
    assert stored["reply"].tolist() == [0, 1]
    answer = bench.store.message(int(stored["l7"][1]))
    assert isinstance(answer, HttpMessage)
    assert (answer.method, answer.url, answer.code) == ("GET", "http://backend.shop/api/users", 200)
    assert answer.latency_ns == 325 * MS


def test_a_response_that_comes_before_its_request_in_one_batch_is_still_paired_by_time() -> None:
    bench = Bench()
    bench.pipeline.ingest(rows(), [_response(9 * MS), _request(2 * MS)])
    assert bench.pipeline.stats.pairing.paired == 1


def test_messages_are_merged_into_the_batch_by_time() -> None:
    bench = Bench()
    bench.pipeline.ingest(rows({"time": 1 * MS}, {"time": 3 * MS}), [_request(2 * MS), _response(4 * MS)])
    stored = bench.store.read(0, 9).rows
    assert stored["time"].tolist() == [1 * MS, 2 * MS, 3 * MS, 4 * MS]
    assert stored["kind"].tolist() == [1, 5, 1, 5]
    assert (stored["src_port"][:3] == 40_000).all()


def test_the_two_ends_of_one_connection_on_one_host_are_paired_apart() -> None:
    bench = Bench()
    client = [_request(0), _response(10 * MS)]
    server = [
        PayloadRecord(payload.row.copy(), payload.kind, payload.data)
        for payload in (_request(2 * MS), _response(8 * MS))
    ]
    for payload in server:
        payload.row["ifindex"] = 9
    bench.pipeline.ingest(rows(), client + server)
    stored = bench.store.read(0, 9).rows
    answers = [bench.store.message(int(record["l7"])) for record in stored if record["reply"]]
    assert sorted(answer.latency_ns for answer in answers if answer) == [6 * MS, 10 * MS]


@pytest.mark.parametrize("proto", [6, 17])
def test_dns_over_udp_and_tcp_is_decoded_and_teaches_names(proto: int) -> None:
    bench = Bench()
    prefix = (lambda data: len(data).to_bytes(2, "big") + data) if proto == 6 else bytes
    to = row(time=5, dst=RESOLVER, dst_port=53, proto=proto)
    back = row(time=9, src=RESOLVER, dst=FRONTEND, src_port=53, dst_port=40_000, proto=proto, reply=1)
    bench.pipeline.ingest(
        rows(),
        [
            PayloadRecord(to, PayloadKind.DNS, prefix(dns_query())),
            PayloadRecord(back, PayloadKind.DNS, prefix(dns_answer(ips=("192.0.2.7",)))),
        ],
    )
    answer = bench.store.message(2)
    assert isinstance(answer, DnsMessage)
    assert answer.latency_ns == 4
    assert bench.names.names(addresses.pack(FRONTEND), addresses.pack("192.0.2.7")) == ("api.shop.svc",)
    assert bench.names.names(addresses.pack(BACKEND), addresses.pack("192.0.2.7")) == ()


def test_a_payload_that_is_no_message_is_counted_and_leaves_no_record() -> None:
    bench = Bench()
    garbage = PayloadRecord(row(time=2), PayloadKind.HTTP_REQUEST, b"\x00\x01\r\n\r\n")
    bench.pipeline.ingest(rows({"time": 1}), [garbage, PayloadRecord(row(), 99, b"x")])
    assert len(bench.store) == 1
    assert bench.pipeline.stats.undecoded == 2
    assert bench.sample("remora_payloads_undecoded_total") == 2


def test_any_payload_bytes_are_survived() -> None:
    bench, random_ = Bench(), random.Random(3)
    for _ in range(300):
        payloads = [
            PayloadRecord(
                row(time=random_.randrange(10**9)), random_.randrange(5), random_.randbytes(random_.randrange(200))
            )
            for _ in range(10)
        ]
        bench.pipeline.ingest(rows({}), payloads)
    assert bench.store.seen >= 300


def test_records_of_random_bytes_are_stored_counted_and_told() -> None:
    bench = Bench()
    generator = np.random.default_rng(5)
    for _ in range(20):
        batch = np.frombuffer(generator.bytes(64 * flow_dtype().itemsize), flow_dtype()).copy()
        bench.pipeline.ingest(batch)
    assert len(bench.flows()) == 1_024
    assert bench.sample("hubble_flows_processed_total") > 0


def test_unanswered_queries_are_read_out_after_a_while() -> None:
    bench = Bench()
    bench.pipeline.ingest(rows(), [PayloadRecord(row(time=1, dst=RESOLVER, proto=17), PayloadKind.DNS, dns_query())])
    bench.now = 60 * 10**9
    bench.pipeline.ingest(rows({}))
    assert [query.message.query for query in bench.pipeline.unanswered()] == ["api.shop.svc."]


@pytest.mark.parametrize(
    ("message", "url"),
    [
        (HttpMessage("GET", "/a", "HTTP/1.1", host="backend:8080"), "http://backend:8080/a"),
        (HttpMessage("GET", "/a?u=http://x", "HTTP/1.1", host="h"), "http://h/a?u=http://x"),
        (HttpMessage("GET", "/a", "HTTP/1.0"), "http://10.0.0.2:80/a"),
        (HttpMessage("GET", "http://proxy.example/x", "HTTP/1.1", host="h"), "http://proxy.example/x"),
        (HttpMessage("CONNECT", "db:5432", "HTTP/1.1", host="h"), "http://db:5432"),
        (HttpMessage("OPTIONS", "*", "HTTP/1.1", host="h"), "http://h/*"),
    ],
)
def test_a_target_becomes_an_absolute_url(message: HttpMessage, url: str) -> None:
    assert absolute_url(message, read_record(row())) == url


def test_without_a_host_field_an_ipv6_destination_is_put_in_brackets() -> None:
    record = read_record(row(src="fd00::1", dst="fd00::2"))
    assert absolute_url(HttpMessage("GET", "/", "HTTP/1.0"), record) == "http://[fd00::2]:80/"


def _dns(time: int, data: bytes, **fields: object) -> PayloadRecord:
    return PayloadRecord(row(time=time, dst=RESOLVER, dst_port=53, proto=17, **fields), PayloadKind.DNS, data)


def test_a_query_without_answer_is_told_once_when_its_time_is_over() -> None:
    bench = Bench()
    bench.pipeline.ingest(rows(), [_dns(100, dns_query("gone.example."))])
    bench.pipeline.ingest(rows(), [_dns(900, dns_query("gone.example."))])
    for second in range(1, 12):
        bench.now = second * 10**9 + 200
        bench.pipeline.tick()
    stored = bench.store.read(0, 9).rows
    assert stored["failure"].tolist() == [0, 0, Failure.NO_ANSWER]
    late = bench.flows()[-1]
    assert late.Summary == "DNS Query gone.example. A; Failed: no-answer"
    assert late.source.pod_name == "frontend"


def test_a_head_whose_rest_stays_away_is_told_as_far_as_it_goes() -> None:
    bench = Bench()
    bench.pipeline.ingest(rows(), [_request(1, b"GET /begun HTTP/1.1\r\nHost: x\r\nUser-")])
    assert len(bench.store) == 0
    bench.now = 4 * 10**9
    bench.pipeline.tick()
    (flow,) = bench.flows()
    assert flow.l7.http.url == "http://x/begun"


def test_a_hello_is_told_with_the_name_that_its_client_wants() -> None:
    bench = Bench()
    bench.pipeline.ingest(rows(), [PayloadRecord(row(time=1), PayloadKind.TLS_CLIENT, client_hello("api.example"))])
    (flow,) = bench.flows()
    assert flow.Summary == "TLS ClientHello api.example (TLS 1.3, ALPN: h2,http/1.1)"
    record = bench.store.read(0, 1).rows[0]
    tls = bench.builder.extra(record, bench.store.message(int(record["l7"]))).tls
    assert (tls.server_name, tls.version, list(tls.protocols)) == ("api.example", "TLS 1.3", ["h2", "http/1.1"])
