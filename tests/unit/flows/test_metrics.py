"""What Prometheus sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daemon.flows.l7 import DnsMessage, HttpMessage
from daemon.flows.metrics import LostSource
from daemon.flows.metrics.catalogue import HTTP_DURATIONS, Spec
from daemon.flows.metrics.columns import (
    DISTRIBUTION,
    TO_WORLD,
    PortKey,
    Shape,
    ports,
    shapes,
    talks,
    unpack_port,
    unpack_shape,
)
from daemon.flows.metrics.series import counters, histograms
from daemon.flows.record import read_record
from ebpf.constants import Direction, Point, Verdict
from tests.unit.flows.samples import BACKEND, FRONTEND, RESOLVER, WORLD, Bench, renamed, row, rows

ENDS = {
    "source": "shop/frontend",
    "destination": "shop/backend",
    "source_namespace": "shop",
    "destination_namespace": "shop",
}
BACK = {"source": "shop/backend", "destination": "shop/frontend"}


def _counted(*records: dict[str, Any], limit: int = 2_000) -> Bench:
    bench = Bench(limit)
    bench.metrics.count(rows(*records))
    return bench


def test_flows_are_counted_by_protocol_type_subtype_verdict_and_ends() -> None:
    bench = _counted({}, {}, {"point": Point.TO_ENDPOINT}, {"verdict": Verdict.DROPPED, "reason": 133})
    name, tcp = "hubble_flows_processed_total", {"protocol": "TCP", **ENDS}
    assert bench.sample(name, type="Trace", subtype="to-stack", verdict="FORWARDED", **tcp) == 2
    assert bench.sample(name, type="Trace", subtype="to-endpoint", verdict="FORWARDED", **tcp) == 1
    assert bench.sample(name, type="Drop", verdict="DROPPED", **tcp) == 1


def test_an_end_outside_is_the_world_and_an_owner_stands_for_its_pods() -> None:
    bench = _counted({"dst": WORLD}, {"src": BACKEND, "dst": RESOLVER})
    assert bench.sample("hubble_flows_processed_total", destination="reserved:world") == 1
    labels = {"source": "shop/backend", "destination": "kube-system/dns"}
    assert bench.sample("hubble_flows_processed_total", **labels) == 1


def test_drops_are_counted_by_reason() -> None:
    bench = _counted(*[{"verdict": Verdict.DROPPED, "reason": reason} for reason in (133, 133, 181, 250)])
    assert bench.sample("hubble_drop_total", reason="POLICY_DENIED", protocol="TCP", **ENDS) == 2
    assert bench.sample("hubble_drop_total", reason="POLICY_DENY") == 1
    assert bench.sample("hubble_drop_total", reason="250") == 1


@pytest.mark.parametrize(
    ("bits", "flags"),
    [(0x02, ["SYN"]), (0x12, ["SYN-ACK"]), (0x11, ["FIN"]), (0x14, ["RST"]), (0x18, []), (0x03, ["FIN", "SYN"])],
)
def test_tcp_flags_are_counted_with_syn_ack_as_a_flag_of_its_own(bits: int, flags: list[str]) -> None:
    bench = _counted({"tcp_flags": bits}, {"tcp_flags": bits, "verdict": Verdict.DROPPED})
    found = {dict(labels)["flag"]: value for labels, value in bench.samples("hubble_tcp_flags_total").items()}
    assert found == dict.fromkeys(flags, 1)


def test_replies_keep_their_own_source_and_destination() -> None:
    bench = _counted({"src": BACKEND, "dst": FRONTEND, "reply": 1, "tcp_flags": 0x12})
    assert bench.sample("hubble_tcp_flags_total", flag="SYN-ACK", family="IPv4", **BACK) == 1


def test_icmp_is_counted_by_type_and_the_right_family() -> None:
    six = {"src": "fd00::1", "dst": "fd00::2", "proto": 58, "icmp_type": 128}
    bench = _counted({"proto": 1, "icmp_type": 8}, {"proto": 1, "icmp_type": 3, "icmp_code": 3}, six)
    assert bench.sample("hubble_icmp_total", family="IPv4", type="EchoRequest") == 1
    assert bench.sample("hubble_icmp_total", family="IPv4", type="DestinationUnreachable(Port)") == 1
    assert bench.sample("hubble_icmp_total", family="IPv6", type="EchoRequest") == 1


def test_ports_are_counted_for_forwarded_packets_of_the_initiator_only() -> None:
    bench = _counted({}, {"reply": 1, "dst_port": 40_000}, {"verdict": Verdict.DROPPED}, {"proto": 1, "dst_port": 0})
    assert bench.sample("hubble_port_distribution_total") == 2
    assert bench.sample("hubble_port_distribution_total", protocol="TCP", port="80", **ENDS) == 1
    assert bench.sample("hubble_port_distribution_total", protocol="ICMPv4", port="0") == 1


def test_counts_go_on_over_batches_and_scrapes() -> None:
    bench = Bench()
    for _ in range(5):
        bench.metrics.count(rows(*[{}] * 10))
        assert bench.sample("hubble_flows_processed_total") % 10 == 0
    assert bench.sample("hubble_flows_processed_total") == 50


def test_a_batch_larger_than_the_stage_is_counted_whole() -> None:
    bench = Bench()
    bench.metrics.count(np.repeat(rows({}), 100_000))
    assert bench.sample("hubble_flows_processed_total") == 100_000


def test_columns_count_what_a_loop_over_the_records_counts() -> None:
    generator = np.random.default_rng(3)
    batch = np.repeat(rows({}), 5_000)
    for field, low, high in (("src_workload", 14, 22), ("dst_workload", 14, 22), ("verdict", 0, 3), ("reply", 0, 2)):
        batch[field] = generator.integers(low, high, len(batch))
    batch["tcp_flags"] = generator.integers(0, 256, len(batch))
    batch["dst_port"] = generator.integers(1, 9, len(batch))
    bench = Bench()
    bench.metrics.count(batch)
    forwarded = batch[batch["verdict"] == 1]
    assert bench.sample("hubble_flows_processed_total") == 5_000
    assert bench.sample("hubble_drop_total") == (batch["verdict"] == 2).sum()
    opening = (batch["tcp_flags"] & 0x12 == 0x02) & (batch["verdict"] == 1)
    assert bench.sample("hubble_tcp_flags_total", flag="SYN") == opening.sum()
    between = forwarded[
        (forwarded["src_workload"] == 16) & (forwarded["dst_workload"] == 17) & (forwarded["reply"] == 0)
    ]
    for port in range(1, 9):
        expected = (between["dst_port"] == port).sum()
        assert bench.sample("hubble_port_distribution_total", port=str(port), **ENDS) == expected


def test_a_workload_that_gets_a_name_later_is_counted_under_it_from_then_on() -> None:
    bench = Bench()
    batch = rows({"src_workload": 99})
    bench.metrics.count(batch)
    late = renamed(bench.directory.workloads()[0], "late", 99)
    bench.directory.update_workloads([late])
    bench.metrics.count(batch)
    assert bench.sample("hubble_flows_processed_total", source="reserved:unknown") == 1
    assert bench.sample("hubble_flows_processed_total", source="shop/late") == 1


def test_a_workload_that_changes_its_name_is_counted_under_the_new_one_soon() -> None:
    bench = Bench()
    bench.metrics.count(rows({}))
    bench.directory.update_workloads([renamed(workload, "new") for workload in bench.directory.workloads()[:1]])
    bench.now += 3 * 10**9
    bench.metrics.count(rows({}))
    assert bench.sample("hubble_flows_processed_total", source="shop/frontend") == 1
    assert bench.sample("hubble_flows_processed_total", source="shop/new") == 1


def test_a_metric_stops_growing_at_its_limit_and_counts_what_it_left_out() -> None:
    bench = _counted(*[{"dst_port": port} for port in range(1, 31)], limit=10)
    assert len(bench.samples("hubble_port_distribution_total")) == 10
    assert bench.sample("remora_metric_series_dropped_total", metric="hubble_port_distribution_total") == 20
    bench.metrics.count(rows({"dst_port": 1}))
    assert bench.sample("hubble_port_distribution_total", port="1") == 2


def test_protocols_without_a_name_are_one_series() -> None:
    bench = _counted({"proto": 200}, {"proto": 201})
    assert list(bench.samples("hubble_flows_processed_total").values()) == [2]


def test_losses_are_there_from_the_start_and_add_up() -> None:
    bench = Bench()
    assert bench.samples("hubble_lost_events_total")[frozenset({("source", "hubble_ring_buffer")})] == 0
    bench.metrics.lost(LostSource.KERNEL, 3)
    bench.metrics.lost(LostSource.KERNEL, 4)
    assert bench.sample("hubble_lost_events_total", source="perf_event_ring_buffer") == 7


def test_dns_is_counted_with_query_types_and_code() -> None:
    bench = Bench()
    query = DnsMessage(1, "a.example.", ("A",))
    bench.metrics.count_message(read_record(row(dst=RESOLVER)), query)
    answer = DnsMessage(1, "a.example.", ("A",), ("192.0.2.1", "192.0.2.2"), rrtypes=("A", "A"), response=True)
    back = read_record(row(src=RESOLVER, dst=FRONTEND, reply=1))
    bench.metrics.count_message(back, answer)
    bench.metrics.count_message(back, DnsMessage(2, "b.example.", ("A",), rcode=3, response=True))
    asked = {"query": "a.example.", "qtypes": "A", "source": "shop/frontend"}
    assert bench.sample("hubble_dns_queries_total", ips_returned="0", **asked) == 1
    assert bench.sample("hubble_dns_responses_total", rcode="No Error", ips_returned="2", query="a.example.") == 1
    assert bench.sample("hubble_dns_responses_total", rcode="Non-Existent Domain", source="kube-system/dns") == 1
    assert bench.sample("hubble_dns_response_types_total", type="A") == 2
    assert bench.sample("hubble_flows_processed_total", type="L7", subtype="DNS", protocol="DNS") == 3


@pytest.mark.parametrize(("direction", "reporter"), [(1, "server"), (2, "client"), (0, "unknown"), (9, "unknown")])
def test_http_is_counted_in_the_request_s_direction_with_status_and_duration(direction: int, reporter: str) -> None:
    bench = Bench()
    back = read_record(row(src=BACKEND, dst=FRONTEND, reply=1, direction=direction))
    answer = HttpMessage("GET", "http://b/", "HTTP/1.1", 200, latency_ns=325_000_000)
    bench.metrics.count_message(back, answer)
    own = {"method": "GET", "reporter": reporter}
    status = {"protocol": "HTTP/1.1", "status": "200"}
    workloads = {"source_workload": "frontend", "destination_workload": "backend"}
    assert bench.sample("hubble_http_requests_total", **own, **status, **ENDS, **workloads) == 1
    assert bench.sample("hubble_http_responses_total", **own, **status, **BACK) == 1
    assert bench.sample("hubble_http_request_duration_seconds_sum", **own, **ENDS) == pytest.approx(0.325)
    assert bench.sample("hubble_http_request_duration_seconds_bucket", le="0.25", **own) == 0
    assert bench.sample("hubble_http_request_duration_seconds_bucket", le="0.5", **own) == 1
    assert bench.sample("hubble_http_request_duration_seconds_count", **own) == 1


def test_a_request_is_counted_as_a_flow_and_an_unpaired_answer_has_no_duration() -> None:
    bench = Bench()
    record = read_record(row(direction=Direction.EGRESS))
    bench.metrics.count_message(record, HttpMessage("GET", "http://b/", "HTTP/1.1"))
    bench.metrics.count_message(record, HttpMessage("", "", "HTTP/1.1", 200))
    assert bench.sample("hubble_flows_processed_total", subtype="HTTP") == 2
    assert bench.sample("hubble_http_responses_total") == 1
    assert bench.sample("hubble_http_request_duration_seconds_count") == 0


def test_the_exposition_has_no_sample_twice() -> None:
    bench = Bench()
    generator = np.random.default_rng(1)
    batch = np.frombuffer(generator.bytes(4_000 * rows({}).itemsize), rows({}).dtype).copy()
    batch["src_workload"] = 16
    bench.metrics.count(batch)
    lines = [line.rpartition(" ")[0] for line in bench.metrics.text().decode().splitlines() if line[0] != "#"]
    assert len(lines) == len(set(lines)) > 1_000


def test_shapes_and_ports_are_unpacked_into_what_was_packed() -> None:
    record = {
        "proto": 1, "verdict": 2, "reason": 133, "icmp_type": 0x9A, "icmp_code": 12, "reply": 1, "direction": 2,
    }  # fmt: skip
    batch = rows(record, {"proto": 17, "dst_port": 65_535, "direction": 1})
    talking = talks(np.array([0x7ABC, 1], np.uint64), np.array([0x1234, 0x7FFF], np.uint64), batch["direction"])
    assert unpack_shape(int(shapes(batch, talking)[0])) == Shape(0x7ABC, 0x1234, 2, 1, 133, 0x9A, 12, 2, 1, 0)
    packed = ports(batch, talking, np.array([True, False]))
    assert [unpack_port(int(one)) for one in packed] == [
        PortKey(0x7ABC, 0x1234, 2, 1, 2, TO_WORLD, 80),
        PortKey(1, 0x7FFF, 1, 17, 1, DISTRIBUTION, 65_535),
    ]


def test_counters_and_histograms_keep_to_their_limit() -> None:
    counter, histogram = counters(Spec("a_total", "", ("x",)), (), 2), histograms(HTTP_DURATIONS, (), 2)
    for key in ("1", "2", "3", "1"):
        counter.cell((key,)).value += 5
        histogram.cell((key, "")).observe(0.02)
    assert (len(counter), counter.dropped) == (2, 5)
    assert (len(histogram), histogram.dropped) == (2, 1)
