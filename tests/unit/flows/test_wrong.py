"""What counts as an error, wherever flows are looked at: filters, summaries, live views."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from daemon.flows import wrong
from daemon.flows.filters.own import accepts_own, mask_own
from daemon.flows.l7 import DnsMessage, HttpMessage, L7Message, TlsMessage
from daemon.flows.summary import pair_of, weigh
from daemon.flows.traffic import Grouping, Traffic
from daemon.proto import flow_pb2, remora_pb2
from ebpf.constants import DropReason, EventKind, Failure, Verdict
from tests.unit.flows.samples import Bench, rows

FAILED = remora_pb2.FlowOptions(failed=True)
URL = "http://b/; Failed: refused"
L7 = {"kind": EventKind.L7}

CASES: list[tuple[dict[str, Any], L7Message | None, str]] = [
    ({}, None, ""),
    ({"failure": Failure.REFUSED, "tcp_flags": 0x14, "reply": 1}, None, "refused"),
    ({"failure": Failure.TIMED_OUT}, None, "timed-out"),
    ({"failure": Failure.NO_ROUTE, "tcp_flags": 0}, None, "no-route"),
    ({"failure": Failure.UNREACHABLE, "detail": 3 << 8}, None, "unreachable"),
    ({"failure": 250}, None, "250"),
    ({"tcp_flags": 0x14, "reply": 1}, None, ""),  # of an idle connection: docs/failures.md
    ({"verdict": Verdict.DROPPED, "reason": DropReason.POLICY_DENIED}, None, "POLICY_DENIED"),
    ({"verdict": Verdict.AUDIT}, None, ""),
    (L7, DnsMessage(1, "a.", ("A",)), ""),
    ({**L7, "proto": 17, "failure": Failure.NO_ANSWER}, DnsMessage(1, "a.", ("A",), unanswered=True), "no-answer"),
    ({**L7, "proto": 17, "reply": 1}, DnsMessage(1, "a.", rcode=3, response=True), "DNS Non-Existent Domain"),
    ({**L7, "reply": 1}, HttpMessage("GET", URL, "HTTP/1.1", 200), ""),
    (L7, HttpMessage("GET", URL, "HTTP/1.1"), ""),
    ({**L7, "reply": 1}, HttpMessage("GET", "/", "HTTP/1.1", 503), "HTTP 503"),
    ({**L7, "reply": 1}, TlsMessage("api.example", response=True, latency_ns=5), ""),
]


@pytest.mark.parametrize(("record", "message", "reason"), CASES)
def test_filters_summaries_and_live_views_agree_on_what_is_wrong(
    record: dict[str, Any], message: L7Message | None, reason: str
) -> None:
    bench, made = Bench(), rows(record)
    flow, extra = bench.builder.build(made[0], 0, message), bench.builder.extra(made[0], message)
    assert wrong.reason(flow) == reason
    assert accepts_own(FAILED, flow, extra) is bool(reason)
    assert bool(mask_own(FAILED)(made)[0]) >= bool(reason)
    assert weigh(flow)[1] is bool(reason)
    traffic = Traffic()
    traffic.add(flow, extra)
    assert [line.reason for line in traffic.lines(Grouping.ERRORS, 0)] == ([reason] if reason else [])


def test_a_query_without_an_answer_is_a_request_that_failed() -> None:
    record = rows({"kind": EventKind.L7, "proto": 17, "failure": Failure.NO_ANSWER})[0]
    assert weigh(Bench().builder.build(record, 0, DnsMessage(1, "a.", ("A",), unanswered=True))) == (1, True)


def test_a_tls_hello_is_told_as_tls_and_not_as_a_second_connection() -> None:
    for response in (False, True):
        record = rows({"kind": EventKind.L7, "reply": response})[0]
        flow = Bench().builder.build(record, 0, TlsMessage("api.example", ("h2",), "TLS 1.3", response, 2_000_000))
        assert pair_of(flow).protocol == "TLS"
        assert weigh(flow) == (int(response), False)


def test_a_reset_of_another_server_counts_since_it_tells_no_failures() -> None:
    flow = json_format.ParseDict(
        {"is_reply": True, "l4": {"TCP": {"flags": {"RST": True}}}, "Summary": "TCP Flags: RST"}, flow_pb2.Flow()
    )
    assert wrong.reason(flow) == "reset"
