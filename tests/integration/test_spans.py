"""Messages that their senders spread over packets, on live traffic: told once and whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.truth import Range, shooting_range
from tests.unit.flows.hellos import client_hello

ECHO, DNS, TLS = 8080, 53, 8443

SERVERS = f"""
import socket, threading, time
import dns.message, dns.rrset
def slowly(connection, data, size):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(0, len(data), size):
        connection.sendall(data[at : at + size])
        time.sleep(0.004)
def http():
    listener = socket.create_server(("0.0.0.0", {ECHO}))
    while True:
        connection, _ = listener.accept()
        seen = b""
        while b"\\r\\n\\r\\n" not in seen:
            seen += connection.recv(4000)
        slowly(connection, b"HTTP/1.1 418 Teapot\\r\\nX-Long: " + b"y" * 50 + b"\\r\\nContent-Length: 0\\r\\n\\r\\n", 9)
        connection.close()
def names():
    listener = socket.create_server(("0.0.0.0", {DNS}))
    while True:
        connection, _ = listener.accept()
        seen = b""
        while len(seen) < 2 or len(seen) < 2 + int.from_bytes(seen[:2], "big"):
            seen += connection.recv(4000)
        query = dns.message.from_wire(seen[2:])
        answer = dns.message.make_response(query)
        answer.answer.append(dns.rrset.from_text(query.question[0].name, 30, "IN", "A", "192.0.2.99"))
        wire = answer.to_wire()
        slowly(connection, len(wire).to_bytes(2, "big") + wire, 7)
        connection.close()
def sink():
    listener = socket.create_server(("0.0.0.0", {TLS}))
    while True:
        connection, _ = listener.accept()
        while connection.recv(4000):
            pass
        connection.close()
for work in (http, names, sink):
    threading.Thread(target=work, daemon=True).start()
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.fixture(scope="module")
def spanned(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Range]:
    with shooting_range(tmp_path_factory.mktemp("agent")) as built:
        built.serve(SERVERS, "server")
        yield built


def send(server: str, port: int, data: bytes, size: int) -> str:
    """A client that sends in small pieces, then reads to the end."""
    return f"""
import socket, time
s = socket.create_connection(({server!r}, {port}))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
data = {data!r}
for at in range(0, len(data), {size}):
    s.sendall(data[at : at + {size}])
    time.sleep(0.004)
s.shutdown(socket.SHUT_WR)
while s.recv(4000):
    pass
"""


def flows(spanned: Range, protocol: str, count: int) -> list[dict[str, Any]]:
    return spanned.agent.until(
        lambda: (found := spanned.agent.flows("--all", "--protocol", protocol))[count - 1 :] and found
    )


def test_http_heads_in_pieces_are_told_once_with_their_answer(spanned: Range) -> None:
    request = b"GET /in/pieces HTTP/1.1\r\nHost: api.example\r\n\r\n"
    spanned.run(send(spanned.address("server"), ECHO, request, 1))
    found = flows(spanned, "http", 2)
    assert [(flow["l7"]["http"]["url"], flow["l7"]["http"].get("code", 0)) for flow in found] == [
        ("http://api.example/in/pieces", 0),
        ("http://api.example/in/pieces", 418),
    ]


def test_dns_over_tcp_in_pieces_is_told_once_with_its_answer(spanned: Range) -> None:
    query = bytes.fromhex("00 2a 01 00 00 01 00 00 00 00 00 00") + b"\x03api\x07example\x00\x00\x01\x00\x01"
    spanned.run(send(spanned.address("server"), DNS, len(query).to_bytes(2, "big") + query, 5))
    question, answer = flows(spanned, "dns", 2)
    assert question["l7"]["dns"]["query"] == answer["l7"]["dns"]["query"] == "api.example."
    assert answer["l7"]["dns"]["ips"] == ["192.0.2.99"]
    assert int(answer["l7"]["latency_ns"]) > 0


def test_a_hello_in_pieces_says_whom_the_client_wants(spanned: Range) -> None:
    spanned.run(send(spanned.address("server"), TLS, client_hello("secret.example"), 200))
    told = spanned.agent.until(
        lambda: [one["extra"]["tls"] for one in spanned.records() if one.get("extra", {}).get("tls")]
    )
    assert told == [{"server_name": "secret.example", "protocols": ["h2", "http/1.1"], "version": "TLS 1.3"}]
