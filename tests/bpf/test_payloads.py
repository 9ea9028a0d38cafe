"""Which packets give their payload's head to the second ring buffer."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from ebpf import addresses, testrun
from ebpf.constants import Counter, PayloadKind
from tests.bpf.conftest import Wire

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = IP(src="10.0.0.1", dst="10.0.0.2")
METHODS = ("GET", "PUT", "POST", "HEAD", "PATCH", "TRACE", "DELETE", "OPTIONS", "CONNECT")


@pytest.fixture(autouse=True)
def fresh_budget() -> None:
    """The budget for HTTP heads is one of time: wait until a window begins that no test has used."""
    time.sleep(0.15)


def tcp(payload: bytes, port: int = 8080, network: Packet = V4) -> Packet:
    return ETHER / network / TCP(sport=40000, dport=port, flags="PA") / Raw(payload)


@pytest.mark.parametrize("method", METHODS)
def test_a_request_line_on_any_port_is_copied(wire: Wire, method: str) -> None:
    head = f"{method} /api HTTP/1.1\r\nHost: shop\r\n\r\n".encode()
    wire.sends(tcp(head, port=31337))
    ((flow, payload),) = wire.messages()
    assert payload == head
    assert int(flow["dst_port"]) == 31337


def test_a_response_is_copied_with_the_flow_that_carried_it(wire: Wire) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    wire.sends(tcp(b"GET / HTTP/1.1\r\n\r\n"))
    wire.receives(ETHER / IP(src="10.0.0.2", dst="10.0.0.1") / TCP(sport=8080, dport=40000, flags="PA") / Raw(head))
    _, (flow, payload) = wire.messages()
    assert payload == head
    assert flow["reply"] == 1


@pytest.mark.parametrize(
    "data",
    [
        b"GETAWAY /x",
        b"POSTED / HTTP",
        b"HTTP/2.0 200",
        b"get / HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x0b\x00\x01",
        b"QUIT",
    ],
)
def test_other_data_on_a_tcp_port_stays_where_it_is(wire: Wire, data: bytes) -> None:
    wire.sends(tcp(data))
    assert wire.messages() == []


@pytest.mark.parametrize("transport", [UDP(sport=40000, dport=53), TCP(sport=40000, dport=53, flags="PA")])
@pytest.mark.parametrize("network", [V4, IPv6(src="fd00::1", dst="fd00::2")])
def test_whatever_goes_to_port_53_is_copied(wire: Wire, transport: Packet, network: Packet) -> None:
    wire.sends(ETHER / network / transport / Raw(b"\x12\x34anything"))
    ((_, payload),) = wire.messages()
    assert payload == b"\x12\x34anything"


@pytest.mark.parametrize("length", [1, 2, 2047, 2048, 2049, 2400])
def test_heads_are_cut_at_the_limit_and_not_before(wire: Wire, length: int) -> None:
    wire.sends(ETHER / V4 / UDP(sport=40000, dport=53) / Raw(b"q" * length))
    ((_, payload),) = wire.messages()
    assert payload == b"q" * min(length, 2048)


def test_ethernet_padding_is_not_payload(wire: Wire) -> None:
    wire.sends(bytes(ETHER / V4 / UDP(sport=40000, dport=53) / Raw(b"abc")) + bytes(15))
    ((_, payload),) = wire.messages()
    assert payload == b"abc"


def test_the_server_of_a_local_client_leaves_copying_to_the_client_device(wire: Wire) -> None:
    table = wire.datapath.maps["addresses"]
    keys, values = np.zeros(1, table.key_dtype), np.zeros(1, table.value_dtype)
    keys["addr"][0] = np.frombuffer(addresses.pack("10.0.0.1"), np.uint32)
    values["workload"], values["ifindex"] = 7, 5
    table.update(keys, values)
    wire.receives(tcp(b"GET / HTTP/1.1\r\n\r\n"))
    assert wire.messages() == []


def test_the_server_of_a_remote_client_copies(wire: Wire) -> None:
    wire.receives(tcp(b"GET / HTTP/1.1\r\n\r\n"))
    assert len(wire.messages()) == 1


def spend_budget(wire: Wire) -> None:
    """More requests in one call to the kernel than a window of time allows; what it copies of them is thrown away."""
    testrun.run(wire.datapath.program("from_endpoint"), bytes(tcp(b"GET / HTTP/1.1\r\n\r\n")), repeat=200)
    wire.messages()


def test_requests_over_the_budget_are_counted_and_neither_they_nor_their_responses_are_copied(wire: Wire) -> None:
    ports = range(2000, 2050)
    skipped, copied = 0, []
    for port in ports:
        spend_budget(wire)
        before = wire.counter(Counter.PAYLOAD_SKIPPED)
        wire.sends(ETHER / V4 / TCP(sport=port, dport=8080, flags="PA") / Raw(b"GET / HTTP/1.1\r\n\r\n"))
        skipped += wire.counter(Counter.PAYLOAD_SKIPPED) - before
        copied += [int(flow["src_port"]) for flow, _ in wire.messages()]
    assert skipped > 0
    assert len(copied) + skipped == len(ports)
    for port in ports:
        answer = TCP(sport=8080, dport=port, flags="PA") / Raw(b"HTTP/1.1 200 OK\r\n\r\n")
        wire.receives(ETHER / IP(src="10.0.0.2", dst="10.0.0.1") / answer)
    assert sorted(int(flow["dst_port"]) for flow, _ in wire.messages()) == sorted(copied)


def test_pipelined_requests_and_their_responses_are_copied_all_or_none(wire: Wire) -> None:
    for _ in range(3):
        wire.sends(tcp(b"GET / HTTP/1.1\r\n\r\n"))
    sent = len(wire.messages())
    for _ in range(3):
        answer = TCP(sport=8080, dport=40000, flags="PA") / Raw(b"HTTP/1.1 200 OK\r\n\r\n")
        wire.receives(ETHER / IP(src="10.0.0.2", dst="10.0.0.1") / answer)
    assert sent == 3
    assert len(wire.messages()) == sent


def test_a_request_says_whether_another_is_open(wire: Wire) -> None:
    alone = wire.datapath.payload_dtype.fields["alone"][1]
    answer = ETHER / IP(src="10.0.0.2", dst="10.0.0.1") / TCP(sport=8080, dport=40000, flags="PA")

    def told() -> list[int]:
        return [record[alone] for record in wire.payloads.records(100)]

    wire.sends(tcp(b"GET /1 HTTP/1.1\r\n\r\n"))
    wire.sends(tcp(b"GET /2 HTTP/1.1\r\n\r\n"))
    assert told() == [1, 0]
    for _ in range(2):
        wire.receives(answer / Raw(b"HTTP/1.1 200 OK\r\n\r\n"))
    told()
    wire.sends(tcp(b"GET /3 HTTP/1.1\r\n\r\n"))
    assert told() == [1]


def kinds(wire: Wire) -> list[tuple[int, bytes]]:
    """Kinds of the payload records that were written, and their bytes."""
    dtype = wire.datapath.payload_dtype
    assert dtype.fields
    at, start = dtype.fields["kind"][1], dtype.fields["data"][1]
    return [(record[at], record[start:]) for record in wire.payloads.records(1 << 20)]


def test_what_follows_an_unfinished_head_is_copied_until_its_end(wire: Wire) -> None:
    for data in (b"GET /a HTTP/1.1\r\nHo", b"st: x\r\n", b"\r\n", b"not of the head"):
        wire.sends(tcp(data))
    found = [PayloadKind.HTTP_REQUEST, PayloadKind.CONTINUED, PayloadKind.CONTINUED]
    assert [kind for kind, _ in kinds(wire)] == found


def test_a_head_that_comes_byte_by_byte_is_copied(wire: Wire) -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    for number in range(len(head)):
        wire.sends(tcp(head[number : number + 1]))
    assert b"".join(data for _, data in kinds(wire)) == head


def test_of_a_body_no_more_than_a_few_packets_are_copied(wire: Wire) -> None:
    wire.sends(tcp(b"POST / HTTP/1.1\r\nContent-Length: 90000\r\n\r\n" + b"b" * 500))
    for _ in range(60):
        wire.sends(tcp(b"b" * 1_400))
    assert len(kinds(wire)) < 10


def test_a_tls_hello_is_copied_with_the_packets_that_hold_the_rest_of_it(wire: Wire) -> None:
    hello = b"\x16\x03\x01\x0b\xb8\x01" + b"h" * (3_000 - 1)
    for at in range(0, len(hello), 1_200):
        wire.sends(tcp(hello[at : at + 1_200]))
    wire.sends(tcp(b"\x17\x03\x03\x00\x20" + b"s" * 32))
    found = kinds(wire)
    assert [kind for kind, _ in found] == [PayloadKind.TLS_CLIENT, PayloadKind.CONTINUED, PayloadKind.CONTINUED]
    assert b"".join(data for _, data in found) == hello
