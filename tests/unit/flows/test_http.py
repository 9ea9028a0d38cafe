"""HTTP heads."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.flows.l7 import REDACTED, HttpMessage, decode_http, redact_url

GET = b"GET /api/users?page=2 HTTP/1.1\r\nHost: backend\r\nUser-Agent: curl/8\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def test_a_request_is_decoded() -> None:
    (message,) = decode_http(GET, response=False)
    assert message == HttpMessage(
        "GET", "/api/users?page=2", "HTTP/1.1", 0, (("Host", "backend"), ("User-Agent", "curl/8")), "backend"
    )


def test_a_response_is_decoded() -> None:
    (message,) = decode_http(OK, response=True)
    assert (message.code, message.protocol, message.response) == (200, "HTTP/1.1", True)


def test_header_names_are_spelled_alike_and_sorted() -> None:
    (message,) = decode_http(b"GET / HTTP/1.0\r\nx-b: 1\r\nACCEPT: */*\r\n\r\n", response=False)
    assert message.headers == (("Accept", "*/*"), ("X-B", "1"))


def test_pipelined_requests_in_one_segment_are_all_told() -> None:
    messages = decode_http(GET + b"HEAD /b HTTP/1.1\r\nHost: x\r\n\r\n", response=False)
    assert [(message.method, message.url) for message in messages] == [("GET", "/api/users?page=2"), ("HEAD", "/b")]


def test_pipelined_responses_behind_a_body_are_all_told() -> None:
    assert [m.code for m in decode_http(OK + b"HTTP/1.1 404 Not Found\r\n\r\n", response=True)] == [200, 404]


def test_a_head_that_is_cut_off_gives_what_is_there() -> None:
    (message,) = decode_http(GET[:-12], response=False)
    assert (message.url, message.host, message.protocol) == ("/api/users?page=2", "backend", "HTTP/1.1")


def test_a_target_that_is_cut_off_gives_its_beginning() -> None:
    (message,) = decode_http(b"GET /" + b"a" * 1_000, response=False)
    assert (len(message.url), message.protocol) == (1_001, "HTTP/1")


def test_an_interim_answer_is_left_out_and_the_final_one_told() -> None:
    assert [m.code for m in decode_http(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, response=True)] == [200]


def test_a_switch_of_protocols_is_told() -> None:
    data = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"
    assert [message.code for message in decode_http(data, response=True)] == [101]


@pytest.mark.parametrize("header", [b"Authorization", b"cookie", b"SET-COOKIE", b"Proxy-Authorization"])
def test_secrets_in_headers_are_replaced(header: bytes) -> None:
    (message,) = decode_http(b"GET / HTTP/1.1\r\n" + header + b": s3cret\r\n\r\n", response=False)
    assert [value for _, value in message.headers] == [REDACTED]


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("http://user:pw@host/a", f"http://user:{REDACTED}@host/a"),
        ("user:pw@host:443", f"user:{REDACTED}@host:443"),
        ("/path:a@b", "/path:a@b"),
        ("http://host/a:b@c", "http://host/a:b@c"),
        ("http://user@host/", "http://user@host/"),
    ],
)
def test_passwords_in_urls_are_replaced(url: str, redacted: str) -> None:
    assert redact_url(url) == redacted


def test_headers_are_limited_in_number_and_length() -> None:
    head = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 400) for number in range(9)) + b"X: 1\r\n" * 40
    (message,) = decode_http(b"GET / HTTP/1.1\r\n" + head + b"\r\n", response=False)
    assert len(message.headers) == 16
    assert max(len(value) for _, value in message.headers) == 256


@pytest.mark.parametrize("response", [True, False])
@pytest.mark.parametrize(
    "data", [b"", b"\x16\x03\x01\x02", b"GE", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 20", b"GET / garbage\r\n"]
)
def test_what_is_no_head_gives_nothing(data: bytes, response: bool) -> None:
    assert decode_http(data, response) == ()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=1_100), st.booleans())
def test_any_bytes_are_survived(data: bytes, response: bool) -> None:
    assert len(decode_http(data, response)) <= 16


def test_mutated_heads_are_survived_and_give_bounded_text() -> None:
    random_ = random.Random(11)
    for _ in range(5_000):
        data = bytearray(random_.choice((GET * 3, OK * 3)))
        for _ in range(random_.randrange(1, 10)):
            data[random_.randrange(len(data))] = random_.randrange(256)
        for message in decode_http(bytes(data), response=random_.random() < 0.5):
            assert len(message.url) <= 4_096
            message.url.encode()


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"00-{TRACE}-{SPAN}-01", TRACE),
        (f"01-{TRACE}-{SPAN}-01-what-comes-later", TRACE),
        (f"00-{TRACE}-{SPAN}-01-nothing", ""),
        (f"01-{TRACE}-{SPAN}-01nothing", ""),
        (f"ff-{TRACE}-{SPAN}-01", ""),
        (f"00-{'0' * 32}-{SPAN}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        ("nonsense", ""),
    ],
)
def test_the_trace_of_a_request_is_taken_from_its_header(header: str, trace: str) -> None:
    (message,) = decode_http(f"GET / HTTP/1.1\r\ntraceparent: {header}\r\n\r\n".encode(), response=False)
    assert message.trace_id == trace
