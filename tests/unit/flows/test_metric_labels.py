"""What labels say of the ends of a flow, for every context that can be chosen."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import numpy as np
import pytest

from daemon.flows.l7 import DnsMessage
from daemon.flows.metrics.ends import OTHER, EndTable
from daemon.model import Directory, Identity, Workload, WorkloadId
from ebpf import addresses
from ebpf.constants import Direction
from tests.unit.flows.samples import BACKEND, FRONTEND, RESOLVER, WORLD, Bench, rows

FLOWS = "hubble_flows_processed_total"


def _labels(entry: str, **record: object) -> dict[str, str]:
    """The labels of the only flow that is counted."""
    bench = Bench(metrics=[entry])
    bench.names.learn(addresses.pack(FRONTEND), DnsMessage(1, "api.example.", ips=(WORLD,), response=True))
    bench.metrics.count(rows(record))
    (labels,) = bench.samples(FLOWS)
    return dict(labels)


@pytest.mark.parametrize(
    ("context", "source", "destination"),
    [
        ("identity", "k8s:app=frontend,k8s:tier=web", "k8s:app=backend"),
        ("namespace", "shop", "shop"),
        ("pod", "shop/frontend", "shop/backend-7d-x1"),
        ("pod-name", "frontend", "backend-7d-x1"),
        ("ip", FRONTEND, BACKEND),
        ("workload", "shop/frontend", "shop/backend"),
        ("workload-name", "frontend", "backend"),
        ("app", "frontend", "backend"),
        ("reserved-identity", "", ""),
        ("reserved-identity|dns|ip", FRONTEND, BACKEND),
    ],
)
def test_a_pod_is_told_by_each_context(context: str, source: str, destination: str) -> None:
    labels = _labels(f"flow:sourceContext={context};destinationContext={context}")
    assert (labels.get("source", ""), labels.get("destination", "")) == (source, destination)


@pytest.mark.parametrize(
    ("context", "text"),
    [
        ("reserved-identity", "reserved:world"),
        ("identity", "reserved:world"),
        ("ip", WORLD),
        ("dns", "api.example"),
        ("pod|workload|dns|ip", "api.example"),
        ("pod", ""),
    ],
)
def test_the_world_is_told_by_each_context(context: str, text: str) -> None:
    assert _labels(f"flow:destinationContext={context}", dst=WORLD).get("destination", "") == text


def test_a_name_is_told_only_for_who_asked_for_it() -> None:
    assert _labels("flow:destinationContext=dns|ip", src=BACKEND, dst=WORLD)["destination"] == WORLD


@pytest.mark.parametrize(
    ("pod", "short"),
    [
        ("api-5d4f8c7b9d-x2x4z", "api"),
        ("agent-x2x4z", "agent"),
        ("db-0", "db-0"),
        ("plain", "plain"),
    ],
)
def test_a_short_name_goes_without_the_hashes_of_generated_names(pod: str, short: str) -> None:
    bench = Bench(metrics=["flow:sourceContext=pod-short"])
    bench.directory.update_workloads([replace(one, name=pod) for one in bench.directory.workloads()[:1]])
    bench.metrics.count(rows({}))
    assert bench.sample(FLOWS, source=f"shop/{short}") == 1


def test_contexts_of_a_direction_go_before_those_without() -> None:
    entry = "flow:sourceContext=namespace;sourceEgressContext=pod-name;destinationIngressContext=workload-name"
    assert _labels(entry, direction=Direction.EGRESS)["source"] == "frontend"
    ingress = _labels(entry, direction=Direction.INGRESS)
    assert (ingress["source"], ingress["destination"]) == ("shop", "backend")


def test_all_labels_of_the_labels_context_are_filled() -> None:
    names = (f"{side}_{what}" for side in ("source", "destination") for what in ("ip", "pod", "namespace", "workload"))
    listed = ",".join([*names, "destination_workload_kind", "destination_app", "traffic_direction"])
    labels = _labels(f"flow:labelsContext={listed}")
    assert {name: labels[name] for name in listed.split(",")} == {
        "source_ip": FRONTEND, "source_pod": "frontend", "source_namespace": "shop", "source_workload": "frontend",
        "destination_ip": BACKEND, "destination_pod": "backend-7d-x1", "destination_namespace": "shop",
        "destination_workload": "backend", "destination_workload_kind": "Deployment", "destination_app": "backend",
        "traffic_direction": "egress",
    }  # fmt: skip


def test_without_contexts_a_metric_has_its_own_labels_only() -> None:
    assert set(_labels("flow")) == {"protocol", "type", "subtype", "verdict"}


def test_values_with_quotes_and_newlines_arrive_as_they_are() -> None:
    odd = 'a"b\\c\nd'
    bench = Bench(metrics=["flow:sourceContext=pod-name"])
    bench.directory.update_workloads([replace(one, name=odd) for one in bench.directory.workloads()[:1]])
    bench.metrics.count(rows({}))
    assert bench.sample(FLOWS, source=odd) == 1


def test_addresses_are_told_apart_over_many_batches() -> None:
    bench = Bench(metrics=["flow:destinationContext=ip"])
    for start in range(0, 256, 64):
        bench.metrics.count(rows(*[{"dst": f"198.51.100.{start + host}"} for host in range(64)]))
    bench.metrics.count(rows(*[{"dst": f"198.51.100.{host}"} for host in range(256)]))
    assert set(bench.samples(FLOWS).values()) == {2}
    assert len(bench.samples(FLOWS)) == 256


def _many(count: int) -> Directory:
    found = Directory()
    found.update_workloads(
        Workload(
            WorkloadId(16 + number), Identity(256), "n", f"pod-{number}", (), (), (IPv4Address("10.0.0.0") + number,)
        )
        for number in range(count)
    )
    return found


def test_ends_beyond_those_that_can_be_numbered_are_one() -> None:
    table = EndTable(_many(33_000), frozenset({"pod", "reserved"}))
    numbers = [table.number(16 + number, addresses.pack(RESOLVER)) for number in range(33_000)]
    assert len(set(numbers[:32_000])) == 32_000
    assert table.end(numbers[-1]) == OTHER


def test_records_of_random_bytes_are_counted_with_addresses_as_well() -> None:
    bench = Bench(metrics=["flow:sourceContext=ip|pod", "flows-to-world:port;destinationContext=dns|ip", "remora-tcp"])
    generator = np.random.default_rng(9)
    batch = np.frombuffer(generator.bytes(2_000 * rows({}).itemsize), rows({}).dtype).copy()
    batch["dst_workload"] = 0
    bench.metrics.count(batch)
    assert bench.sample(FLOWS) == 2_000
