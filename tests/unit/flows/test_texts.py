"""The words in parentheses."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.flows.l7 import DnsMessage, HttpMessage, L7Message
from daemon.flows.record import read_record
from daemon.flows.texts import icmp_text, rcode_text, summary
from tests.unit.flows.samples import row

HTTP = HttpMessage("GET", "http://api.shop/v1", "HTTP/1.1")
DNS = DnsMessage(1, "api.shop.svc.cluster.local.", ("A", "AAAA"))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"tcp_flags": 0x02}, "TCP Flags: SYN"),
        ({"tcp_flags": 0x12}, "TCP Flags: SYN, ACK"),
        ({"tcp_flags": 0x19}, "TCP Flags: ACK, FIN, PSH"),
        ({"tcp_flags": 0xFF}, "TCP Flags: SYN, ACK, RST, FIN, PSH, URG, ECE, CWR"),
        ({"proto": 17}, "UDP"),
        ({"proto": 132}, "SCTP"),
        ({"proto": 1, "icmp_type": 8}, "ICMPv4 EchoRequest"),
        ({"proto": 1, "icmp_type": 3, "icmp_code": 3}, "ICMPv4 DestinationUnreachable(Port)"),
        ({"proto": 58, "icmp_type": 129, "src": "fd00::1", "dst": "fd00::2"}, "ICMPv6 EchoReply"),
        ({"proto": 47}, "IPv4"),
        ({"proto": 50, "src": "fd00::1", "dst": "fd00::2"}, "IPv6"),
    ],
)
def test_a_packet_is_summed_up_as_hubble_does(record: dict[str, Any], expected: str) -> None:
    assert summary(read_record(row(**record)), None) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (HTTP, "HTTP/1.1 GET http://api.shop/v1"),
        (
            HttpMessage("GET", "http://api.shop/v1", "HTTP/1.1", 200, latency_ns=2_999_999),
            "HTTP/1.1 200 2ms (GET http://api.shop/v1)",
        ),
        (DNS, "DNS Query api.shop.svc.cluster.local. A,AAAA"),
        (
            DnsMessage(1, "a.", ("A",), ("10.0.0.2", "10.0.0.3"), ("b.", "c."), 30, response=True),
            'DNS Answer "10.0.0.2,10.0.0.3" CNAMEs: "b.,c." TTL: 30 (Query a. A)',
        ),
        (
            DnsMessage(1, "a.", ("A",), rcode=3, response=True),
            "DNS Answer RCode: Non-Existent Domain TTL: 0 (Query a. A)",
        ),
    ],
)
def test_a_message_is_summed_up_as_hubble_does(message: L7Message, expected: str) -> None:
    assert summary(read_record(row()), message) == expected


@pytest.mark.parametrize(
    ("protocol", "kind", "code", "expected"),
    [
        (1, 0, 0, "EchoReply"),
        (1, 8, 3, "EchoRequest(Code: 3)"),
        (1, 3, 99, "DestinationUnreachable(Code: 99)"),
        (1, 11, 0, "TimeExceeded(TTLExceeded)"),
        (1, 77, 1, "77(1)"),
        (58, 1, 4, "DestinationUnreachable(PortUnreachable)"),
        (58, 133, 0, "RouterSolicitation"),
        (58, 135, 0, "NeighborSolicitation"),
    ],
)
def test_icmp_types_have_names_where_there_are_any(protocol: int, kind: int, code: int, expected: str) -> None:
    assert icmp_text(protocol, kind, code) == expected


def test_response_codes_without_a_name_are_told_by_number() -> None:
    assert (rcode_text(0), rcode_text(2), rcode_text(4_000)) == ("No Error", "Server Failure", "4000")
