"""Who talks to whom."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from daemon.flows.summary import OTHERS, Pair, TrafficSummary, duration_text, render
from daemon.proto import flow_pb2

FRONTEND = {"namespace": "shop", "pod_name": "frontend"}
BACKEND = {"namespace": "shop", "pod_name": "backend-1"}
MS = 1_000_000


def _flow(**fields: Any) -> flow_pb2.Flow:
    base = {"source": FRONTEND, "destination": BACKEND, "is_reply": False, "traffic_direction": "EGRESS"}
    return json_format.ParseDict(base | fields, flow_pb2.Flow())


def _answer(code: int = 200, latency: int = 5 * MS, direction: str = "EGRESS") -> flow_pb2.Flow:
    return _flow(
        source=BACKEND,
        destination=FRONTEND,
        is_reply=True,
        Type="L7",
        l4={"TCP": {}},
        l7={"type": "RESPONSE", "latency_ns": str(latency), "http": {"code": code}},
        traffic_direction=direction,
    )


def _packet(reply: bool = False, reason: str = "NEW", **flags: bool) -> flow_pb2.Flow:
    ends = {"source": BACKEND, "destination": FRONTEND} if reply else {}
    return _flow(**ends, is_reply=reply, l4={"TCP": {"flags": flags}}, trace_reason=reason, Type="L3_L4")


def _summed(*flows: flow_pb2.Flow) -> TrafficSummary:
    summary = TrafficSummary()
    for flow in flows:
        summary.add(flow)
    return summary


def test_answers_are_counted_under_client_and_server_with_errors_and_latency() -> None:
    (only,) = _summed(*[_answer(latency=number * MS) for number in range(1, 100)], _answer(404, 325 * MS)).pairs()
    assert only.pair == Pair("shop/frontend", "shop/backend-1", "HTTP")
    assert (only.requests, only.errors, only.p50, only.p99) == (100, 1, 50 * MS, 99 * MS)


def test_requests_and_answers_are_not_both_counted() -> None:
    request = _flow(Type="L7", l7={"type": "REQUEST", "http": {"method": "GET"}})
    assert [pair.requests for pair in _summed(request, _answer()).pairs()] == [1]


def test_what_both_ends_saw_counts_once() -> None:
    flows = [_answer(direction=direction) for direction in ("EGRESS", "INGRESS") for _ in range(5)]
    assert [pair.requests for pair in _summed(*flows).pairs()] == [5]


def test_a_refused_connection_is_an_attempt_and_an_error() -> None:
    (only,) = _summed(_packet(SYN=True), _packet(True, "REPLY", RST=True, ACK=True)).pairs()
    assert (only.pair, only.requests, only.errors, only.p50) == (
        Pair("shop/frontend", "shop/backend-1", "TCP"), 1, 1, None,
    )  # fmt: skip


def test_the_transport_of_messages_is_left_out_unless_it_failed() -> None:
    assert [pair.pair.protocol for pair in _summed(_packet(SYN=True), _answer()).pairs()] == ["HTTP"]
    failed = _summed(_packet(SYN=True), _packet(True, "REPLY", RST=True), _answer()).pairs()
    assert sorted(pair.pair.protocol for pair in failed) == ["HTTP", "TCP"]


def test_drops_and_failed_lookups_are_errors() -> None:
    drop = _flow(verdict="DROPPED", Type="L3_L4", l4={"UDP": {}})
    failed = _flow(Type="L7", is_reply=True, l7={"type": "RESPONSE", "dns": {"rcode": 3}})
    assert sorted((pair.pair.protocol, pair.errors) for pair in _summed(drop, failed).pairs()) == [
        ("DNS", 1),
        ("UDP", 1),
    ]


def test_an_end_without_pod_is_told_by_name_or_address() -> None:
    world = _flow(destination={}, destination_names=["example.com"], l4={"UDP": {}}, trace_reason="NEW")
    bare = _flow(destination={}, IP={"destination": "192.0.2.7"}, l4={"UDP": {}}, trace_reason="NEW")
    assert {pair.pair.server for pair in _summed(world, bare).pairs()} == {"example.com", "192.0.2.7"}


def test_packets_in_the_middle_of_a_connection_are_not_requests() -> None:
    assert _summed(_packet(reason="ESTABLISHED", ACK=True), _packet(True, "REPLY", SYN=True, ACK=True)).pairs() == ()


def test_pairs_beyond_the_limit_are_told_as_one() -> None:
    flows = [
        _flow(destination={}, IP={"destination": f"192.0.{n // 256}.{n % 256}"}, l4={"UDP": {}}, trace_reason="NEW")
        for n in range(5_000)
    ]
    pairs = _summed(*flows).pairs()
    assert len(pairs) == 4_097
    assert pairs[0].pair == OTHERS
    assert sum(pair.requests for pair in pairs) == 5_000


def test_latencies_beyond_the_sample_still_count_towards_the_quantiles() -> None:
    (only,) = _summed(*[_answer(latency=(1 + number % 100) * MS) for number in range(10_000)]).pairs()
    assert only.p50 is not None
    assert abs(only.p50 - 50 * MS) <= 4 * MS


def test_the_table_fits_and_cuts_long_names_in_the_middle() -> None:
    long = {"namespace": "a-namespace-with-a-long-name", "pod_name": "deployment-with-a-long-name-7d5b6c9f8-x2x7k"}
    text = render(_summed(_answer(), _flow(source=long, destination=long, l4={"UDP": {}}, trace_reason="NEW")).pairs())
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= 100
    assert lines[0].split() == ["CLIENT", "SERVER", "PROTOCOL", "REQUESTS", "ERRORS", "P50", "P99"]
    assert any("…" in line and "x2x7k" in line for line in lines)
    assert any(
        line.split() == ["shop/frontend", "shop/backend-1", "HTTP", "1", "0", "5.0ms", "5.0ms"] for line in lines
    )


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(None, "-"), (80_000, "80µs"), (5_250_000, "5.2ms"), (325 * MS, "325ms"), (1_250 * MS, "1.2s")],
)
def test_durations_are_told_in_a_fitting_unit(nanoseconds: int | None, text: str) -> None:
    assert duration_text(nanoseconds) == text
