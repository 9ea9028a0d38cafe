"""Series that go, and what a scrape costs."""

from __future__ import annotations

from dataclasses import replace

from daemon.flows.l7 import DnsMessage
from daemon.flows.metrics.series import IDLE_ROUNDS
from daemon.flows.record import read_record
from daemon.model import Owner
from tests.unit.flows.samples import RESOLVER, WORLD, Bench, row, rows

FLOWS = "hubble_flows_processed_total"
SECOND = 10**9


def _pass(bench: Bench, seconds: int) -> None:
    """Let time go by, with a look every ten seconds as an agent with traffic has."""
    for _ in range(seconds // 10):
        bench.now += 10 * SECOND
        bench.metrics.count(rows())


def test_series_of_a_workload_go_a_minute_after_it_is_gone() -> None:
    bench = Bench()
    bench.metrics.count(rows({}, {"dst": RESOLVER}, {"dst": WORLD}))
    bench.directory.update_workloads([one for one in bench.directory.workloads() if one.name != "backend-7d-x1"])
    _pass(bench, 50)
    assert bench.sample(FLOWS, destination="shop/backend") == 1
    _pass(bench, 30)
    assert bench.sample(FLOWS, destination="shop/backend") == 0
    assert bench.sample(FLOWS, destination="kube-system/dns") == 1
    assert bench.sample(FLOWS, destination="reserved:world") == 1


def test_a_workload_that_comes_back_in_time_keeps_its_series() -> None:
    bench = Bench()
    bench.metrics.count(rows({}))
    before = bench.directory.workloads()
    bench.directory.update_workloads(before[:1])
    _pass(bench, 40)
    bench.directory.update_workloads(before)
    _pass(bench, 90)
    bench.metrics.count(rows({}))
    assert bench.sample(FLOWS, destination="shop/backend") == 2


def test_series_stay_as_long_as_one_pod_of_a_deployment_does() -> None:
    bench = Bench()
    frontend, backend, resolver = bench.directory.workloads()
    twin = replace(resolver, namespace="shop", name="backend-7d-x2", owners=(Owner("backend", "Deployment"),))
    bench.directory.update_workloads([frontend, backend, twin])
    bench.metrics.count(rows({}, {"dst": RESOLVER}))
    bench.directory.update_workloads([frontend, twin])
    _pass(bench, 120)
    assert bench.sample(FLOWS, destination="shop/backend") == 2


def test_a_late_record_of_a_workload_that_is_gone_goes_too() -> None:
    bench = Bench()
    bench.directory.update_workloads(bench.directory.workloads()[:1])
    _pass(bench, 120)
    bench.metrics.count(rows({}))
    assert bench.sample(FLOWS, destination="shop/backend") == 1
    _pass(bench, 120)
    assert bench.sample(FLOWS, destination="shop/backend") == 0


def test_numbers_of_gone_workloads_serve_new_ones() -> None:
    bench = Bench()
    first, *others = bench.directory.workloads()
    for generation in range(30):
        renewed = [replace(first, name=f"job-{generation}"), *others]
        bench.directory.update_workloads(renewed)
        bench.metrics.count(rows({}))
        _pass(bench, 90)
        assert len(bench.samples(FLOWS)) == 1
    assert bench.sample(FLOWS, source="shop/job-29") == 1


def test_messages_of_a_gone_workload_go_and_start_anew() -> None:
    bench = Bench()
    before = bench.directory.workloads()
    query = DnsMessage(1, "a.", ("A",))
    bench.metrics.count_message(read_record(row(dst=RESOLVER)), query)
    bench.directory.update_workloads(before[:1])
    _pass(bench, 90)
    assert bench.sample("hubble_dns_queries_total") == 0
    bench.directory.update_workloads(before)
    bench.metrics.count_message(read_record(row(dst=RESOLVER)), query)
    assert bench.sample("hubble_dns_queries_total") == 1


def test_a_full_metric_gives_up_what_was_idle_for_long() -> None:
    bench = Bench(limit=10, metrics=["port-distribution"])
    bench.metrics.count(rows(*[{"dst_port": port} for port in range(1, 11)]))
    for _ in range(IDLE_ROUNDS + 1):
        bench.metrics.count(rows({"dst_port": 1}, {"dst_port": 99}))
        _pass(bench, 10)
    dropped = bench.metrics.dropped()["hubble_port_distribution_total"]
    assert dropped >= IDLE_ROUNDS
    bench.metrics.count(rows({"dst_port": 99}))
    assert bench.sample("hubble_port_distribution_total", port="99") >= 1
    assert bench.sample("hubble_port_distribution_total", port="1") == IDLE_ROUNDS + 2
    assert bench.metrics.dropped()["hubble_port_distribution_total"] == dropped


def test_ten_thousand_series_are_told() -> None:
    bench = Bench(limit=20_000, metrics=["flows-to-world:port", "port-distribution:sourceContext=pod"])
    bench.metrics.count(rows(*[{"dst": WORLD, "dst_port": port} for port in range(1, 5_001)]))
    assert bench.metrics.text(True).count(b"\n") > 10_000
