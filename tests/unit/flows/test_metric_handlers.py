"""Handlers that are not in every configuration, and our own metrics of connections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daemon.flows.l7 import DnsMessage, HttpMessage
from daemon.flows.metrics import Decider, FlowMetrics
from daemon.flows.metrics.policy import PolicyOf
from daemon.flows.record import read_record
from daemon.flows.texts import FAILURES
from ebpf.constants import Direction, EventKind, Failure, Verdict
from tests.unit.flows.samples import BACKEND, FRONTEND, RESOLVER, WORLD, Bench, row, rows

TO_WORLD = "hubble_flows_to_world_total"
DROPPED = {"verdict": Verdict.DROPPED}
BETWEEN = {"source": "shop/frontend", "destination": "shop/backend"}


def _counted(entry: str, *records: dict[str, Any]) -> Bench:
    bench = Bench(metrics=[entry])
    bench.metrics.count(rows(*records))
    return bench


@pytest.mark.parametrize("by_port", [False, True], ids=["plain", "by port"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [("", 4), ("any-drop", 5), ("syn-only", 3), ("any-drop;syn-only", 4)],
)
def test_flows_to_the_world_are_counted_as_the_options_say(options: str, expected: int, by_port: bool) -> None:
    bench = _counted(
        f"flows-to-world:{options};{'port' if by_port else ''}",
        {"dst": WORLD},
        {"dst": WORLD, "tcp_flags": 0x10},
        {"dst": WORLD, "proto": 17, "dst_port": 53, "tcp_flags": 0},
        {"dst": WORLD, "reply": 1, "tcp_flags": 0x12},
        {"dst": WORLD, **DROPPED, "reason": 133, "reply": 1},
        {"dst": WORLD, **DROPPED, "reason": 158},
        {"dst": WORLD, "proto": 200},
        {},
    )
    assert bench.sample(TO_WORLD) == expected
    assert bench.sample(TO_WORLD, protocol="UDP", verdict="FORWARDED", **({"port": "53"} if by_port else {})) == 1


def test_a_request_to_the_world_is_counted_as_its_protocol() -> None:
    bench = Bench(metrics=["flows-to-world:port"])
    bench.metrics.count_message(read_record(row(dst=WORLD)), HttpMessage("GET", "http://x/", "HTTP/1.1"))
    bench.metrics.count_message(read_record(row(src=WORLD, dst=FRONTEND)), HttpMessage("", "", "HTTP/1.1", 200))
    assert bench.samples(TO_WORLD) == {
        frozenset({("protocol", "HTTP"), ("verdict", "FORWARDED"), ("port", "80")}): 1,
    }


@pytest.mark.parametrize(("chunk", "name"), [(1, "INIT"), (2, "INIT_ACK"), (6, "ABORT"), (14, "SHUTDOWN_COMPLETE")])
def test_sctp_chunks_that_open_or_close_are_counted(chunk: int, name: str) -> None:
    bench = _counted("sctp", {"proto": 132, "icmp_type": chunk}, {"proto": 132, "icmp_type": 0}, {"icmp_type": chunk})
    assert bench.samples("hubble_sctp_chunk_types_total") == {
        frozenset({("chunk_type", name), ("family", "IPv4")}): 1,
    }


def test_flags_of_dropped_and_audited_segments_do_not_count() -> None:
    bench = _counted("tcp", {}, {**DROPPED}, {"verdict": 4}, {"verdict": 5})
    assert bench.sample("hubble_tcp_flags_total", flag="SYN") == 2


def _with_rules(records: list[dict[str, Any]], rules: list[int]) -> np.ndarray[Any, Any]:
    """Records with the numbers of the rules that decided."""
    ruled = rows(*records)
    ruled["rule"] = rules
    return ruled


def _deciders() -> PolicyOf:
    return {7: Decider("NetworkPolicy/shop/allow-web", "l3-l4"), 9: Decider("NetworkPolicy/shop/deny", "l3-only")}.get


def test_verdicts_of_policy_are_counted_by_who_decided() -> None:
    bench = Bench(metrics=["policy:sourceContext=pod", "remora-policy"], policy_of=_deciders())
    egress = {"direction": Direction.EGRESS}
    records = [
        egress,
        egress | {"kind": EventKind.FLAGS},
        egress | DROPPED | {"reason": 133},
        egress | DROPPED | {"reason": 181},
        {"direction": Direction.INGRESS, "verdict": 4},
        egress | {},
        egress | DROPPED | {"reason": 158},
    ]
    bench.metrics.count(_with_rules(records, [7, 7, 0, 9, 9, 0, 0]))
    verdicts = "hubble_policy_verdicts_total"
    assert bench.sample(verdicts) == 4
    assert bench.sample(verdicts, direction="egress", match="l3-l4", action="forwarded", source="shop/frontend") == 1
    assert bench.sample(verdicts, direction="egress", match="none", action="dropped") == 1
    assert bench.sample(verdicts, direction="egress", match="l3-only", action="dropped") == 1
    assert bench.sample(verdicts, direction="ingress", match="l3-only", action="audit") == 1
    policy = {"policy": "NetworkPolicy/shop/deny"}
    assert bench.sample("remora_policy_verdicts_total", action="dropped", **policy) == 1
    assert bench.sample("remora_policy_verdicts_total", action="dropped") == 2


def test_without_rules_in_the_records_denials_still_count() -> None:
    bench = _counted("policy", DROPPED | {"reason": 133}, DROPPED | {"reason": 181}, {})
    assert bench.sample("hubble_policy_verdicts_total", match="none", action="dropped") == 1
    assert bench.sample("hubble_policy_verdicts_total", match="all", action="dropped") == 1


def test_the_host_is_not_asked_for_its_policy_and_messages_are_verdicts() -> None:
    bench = Bench(metrics=["policy"])
    bench.metrics.count(rows(DROPPED | {"reason": 133, "src_workload": 1}))
    query = DnsMessage(1, "a.", ("A",))
    bench.metrics.count_message(read_record(row(dst=RESOLVER)), query)
    assert list(bench.samples("hubble_policy_verdicts_total").values()) == [1]
    assert bench.sample("hubble_policy_verdicts_total", match="l7/dns", action="forwarded") == 1


def test_a_dropped_query_is_counted_as_denied() -> None:
    bench = Bench(metrics=["dns"])
    bench.metrics.count_message(read_record(row(dst=RESOLVER, **DROPPED)), DnsMessage(1, "a.", ("A",)))
    assert bench.sample("hubble_dns_queries_total", rcode="Policy denied") == 1


def test_queries_for_aaaa_alone_are_left_out_when_asked() -> None:
    bench = Bench(metrics=["dns:ignoreAAAA", "remora-dns"])
    record = read_record(row(src=RESOLVER, dst=FRONTEND, reply=1))
    for qtypes in (("A",), ("AAAA",), ("A", "AAAA")):
        bench.metrics.count_message(record, DnsMessage(1, "a.", qtypes, response=True, latency_ns=5))
    assert bench.sample("hubble_dns_responses_total") == 2
    assert bench.sample("remora_dns_answer_seconds_count") == 3


def test_hubbles_first_http_handler_alone_counts_requests_without_status() -> None:
    bench = Bench(metrics=["http"])
    bench.metrics.count_message(read_record(row()), HttpMessage("GET", "http://b/", "HTTP/1.1"))
    answer = HttpMessage("GET", "http://b/", "HTTP/1.1", 500, latency_ns=1)
    bench.metrics.count_message(read_record(row(src=BACKEND, dst=FRONTEND, reply=1)), answer)
    (requests,) = bench.samples("hubble_http_requests_total")
    assert set(dict(requests)) == {"method", "protocol", "reporter"}
    assert bench.sample("hubble_http_responses_total", status="500") == 1
    assert bench.sample("hubble_http_request_duration_seconds_count") == 1


def test_own_durations_tell_classes_of_status_apart() -> None:
    bench = Bench(metrics=["remora-http:sourceContext=workload"])
    record = read_record(row(src=BACKEND, dst=FRONTEND, reply=1))
    for code in (200, 204, 503):
        answer = HttpMessage("GET", "http://b/", "HTTP/1.1", code, latency_ns=2_000_000)
        bench.metrics.count_message(record, answer)
    name = "remora_http_answer_seconds"
    assert bench.sample(f"{name}_count", status="2xx", source="shop/frontend") == 2
    assert bench.sample(f"{name}_count", status="5xx") == 1
    assert bench.sample(f"{name}_bucket", status="2xx", le="0.001") == 0
    assert bench.sample(f"{name}_bucket", status="2xx", le="0.0025") == 2


def test_exemplars_stand_in_openmetrics_and_nowhere_else() -> None:
    bench = Bench(metrics=["httpV2:exemplars"])
    record = read_record(row(src=BACKEND, dst=FRONTEND, reply=1))
    answer = HttpMessage("GET", "http://b/", "HTTP/1.1", 200, latency_ns=20_000_000, trace_id="ab" * 16)
    bench.metrics.count_message(record, answer)
    lines = [line for line in bench.metrics.text(True).decode().splitlines() if "# {" in line]
    assert len(lines) == 2
    assert all(f'# {{traceID="{"ab" * 16}"}} ' in line for line in lines)
    assert any('le="0.025"' in line and "} 0.02 " in line for line in lines)
    assert b"traceID" not in bench.metrics.text()


FIRST_ACK = {"kind": EventKind.FLAGS, "tcp_flags": 0x10, "handshake": 150, "forward_packets": 2}


def test_a_handshake_is_measured_once_a_connection() -> None:
    bench = _counted(
        "remora-tcp:sourceContext=workload",
        {"kind": EventKind.NEW},
        FIRST_ACK,
        FIRST_ACK | {"tcp_flags": 0x18, "forward_packets": 3},
        FIRST_ACK | {"tcp_flags": 0x18, "reply": 1},
        FIRST_ACK | {"tcp_flags": 0x11, "forward_packets": 9},
        FIRST_ACK | {"kind": EventKind.INTERVAL},
        FIRST_ACK | {"kind": EventKind.END},
    )
    name = "remora_tcp_handshake_seconds"
    assert bench.sample(f"{name}_count", reporter="client", source="shop/frontend") == 1
    assert bench.sample(f"{name}_sum") == pytest.approx(150e-6)
    assert bench.sample(f"{name}_bucket", le="0.0001") == 0
    assert bench.sample(f"{name}_bucket", le="0.00025") == 1


def test_a_first_ack_that_carries_data_is_a_handshake_too() -> None:
    bench = _counted("remora-tcp", FIRST_ACK | {"tcp_flags": 0x18})
    assert bench.sample("remora_tcp_handshake_seconds_count") == 1


def test_a_socket_tells_the_handshake_with_its_first_record() -> None:
    bench = _counted("remora-tcp", {"kind": EventKind.NEW, "handshake": 900, "point": 7})
    assert bench.sample("remora_tcp_handshake_seconds_count", reporter="client") == 1


def test_flags_of_sockets_do_not_count_as_they_are_no_segments() -> None:
    bench = _counted("tcp", {"point": 7}, {"point": 2}, {"point": 3})
    assert bench.sample("hubble_tcp_flags_total", flag="SYN") == 1


def test_round_trips_are_taken_from_active_connections_and_from_ends() -> None:
    bench = _counted(
        "remora-tcp:sourceContext=workload;destinationContext=workload",
        {"srtt_us": 40_000, "kind": EventKind.INTERVAL},
        {"srtt_us": 40_000, "kind": EventKind.INTERVAL, "reply": 1},
        {"srtt_us": 2_000_000, "kind": EventKind.END, "reply": 1, "src": BACKEND, "dst": FRONTEND},
        {"srtt_us": 5, "kind": EventKind.FLAGS},
        {"kind": EventKind.END},
    )
    name = "remora_tcp_rtt_seconds"
    assert bench.sample(f"{name}_count", **BETWEEN) == 2
    assert bench.sample(f"{name}_bucket", le="0.05", **BETWEEN) == 1
    assert bench.sample(f"{name}_bucket", le="2.0", **BETWEEN) == 2
    assert bench.sample(f"{name}_sum") == pytest.approx(2.04)


def test_retransmits_add_up_to_what_each_connection_had() -> None:
    bench = Bench(metrics=["remora-tcp:sourceContext=workload"])
    back = {"src": BACKEND, "dst": FRONTEND, "src_port": 80, "dst_port": 40_000, "reply": 1}
    one, two = {"started": 10}, {"started": 10, "src_port": 40_001}
    bench.metrics.count(rows(one | {"retransmits": 2}, one | back | {"retransmits": 3}, two | {"retransmits": 5}))
    bench.metrics.count(rows(one | {"retransmits": 3}, one | {"retransmits": 7, "kind": EventKind.END}, one))
    assert bench.sample("remora_tcp_retransmits_total", source="shop/frontend", reporter="client") == 12


@pytest.mark.parametrize("failure", [one for one in Failure if one])
def test_failures_are_counted_by_reason_in_the_initiators_direction(failure: Failure) -> None:
    entry = "remora-tcp:sourceContext=workload;destinationContext=workload"
    answer = {"src": BACKEND, "dst": FRONTEND, "reply": 1, "failure": failure, "kind": EventKind.END}
    bench = _counted(entry, answer, {"failure": failure, "proto": 17}, {})
    name, reason = "remora_connections_failed_total", FAILURES[failure]
    assert bench.sample(name, reason=reason, protocol="TCP", **BETWEEN) == 1
    assert bench.sample(name, reason=reason, protocol="UDP", **BETWEEN) == 1
    assert bench.sample(name) == 2


def test_a_query_that_nobody_answered_is_a_failure_and_no_flow() -> None:
    bench = Bench(metrics=["remora-tcp:sourceContext=workload", "flow"])
    late = {"dst": RESOLVER, "proto": 17, "kind": EventKind.L7, "failure": Failure.NO_ANSWER}
    bench.metrics.count_failures(rows(late))
    assert bench.sample("remora_connections_failed_total", reason="no-answer", source="shop/frontend") == 1
    assert bench.sample("hubble_flows_processed_total") == 0


def test_trace_points_have_hubbles_names() -> None:
    bench = _counted("flow", {"point": 2}, {"point": 7}, {"point": 99})
    found = {dict(labels)["subtype"] for labels in bench.samples("hubble_flows_processed_total")}
    assert found == {"to-host", "from-host", "99"}


def test_nothing_is_counted_where_nothing_is_asked() -> None:
    bench = _counted("icmp", {}, {"dst": WORLD})
    assert isinstance(bench.metrics, FlowMetrics)
    told = {line.split("{")[0] for line in bench.metrics.text().decode().splitlines() if line[0] != "#"}
    always = {"hubble_lost_events_total", "remora_metric_series", "remora_metric_series_dropped_total"}
    assert told == always | {"remora_payloads_undecoded_total 0"}
