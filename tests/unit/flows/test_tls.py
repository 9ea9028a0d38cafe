"""Hellos as OpenSSL makes them, cut ones, and garbage."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.flows.l7 import TlsMessage, decode_tls
from tests.unit.flows.hellos import client_hello

SERVER_HELLO = bytes.fromhex(
    "160303003e0200003a0303" + "11" * 32 + "00" + "1301" + "00" + "0012" + "002b00020304" + "0010000500030268" + "32"
)


def test_a_client_says_whom_it_wants_and_what_it_speaks() -> None:
    assert decode_tls(client_hello("api.example")) == TlsMessage("api.example", ("h2", "http/1.1"), "TLS 1.3")


def test_the_highest_version_that_is_offered_is_told() -> None:
    hello = decode_tls(client_hello("old.example", ssl.TLSVersion.TLSv1_2))
    assert hello is not None
    assert hello.version == "TLS 1.2"


def test_a_server_says_what_was_chosen() -> None:
    assert decode_tls(SERVER_HELLO) == TlsMessage("", ("h2",), "TLS 1.3", response=True)


def test_a_cut_hello_tells_what_lies_before_the_cut() -> None:
    whole = client_hello("cut.example")
    told = [hello for length in range(len(whole)) if (hello := decode_tls(whole[:length]))]
    assert told
    assert {hello.server_name for hello in told} <= {"", "cut.example"}


@pytest.mark.parametrize("data", [b"", b"\x16", b"GET / HTTP/1.1\r\n\r\n", b"\x17\x03\x03\x00\x05hello" + bytes(60)])
def test_what_is_no_hello_gives_nothing(data: bytes) -> None:
    assert decode_tls(data) is None


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 600), st.binary(min_size=1, max_size=20))
def test_a_hello_with_other_bytes_in_it_is_survived(at: int, noise: bytes) -> None:
    whole = client_hello("api.example")
    decode_tls(whole[:at] + noise + whole[at + len(noise) :])
