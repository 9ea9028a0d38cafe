"""Records, names and messages that the tests of the flow side share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from daemon.flows.builder import FlowBuilder
from daemon.flows.clock import Clock
from daemon.flows.metrics import FlowMetrics, PolicyOf, parse
from daemon.flows.metrics.policy import unknown_policy
from daemon.flows.names import DnsNames
from daemon.flows.pipeline import FlowPipeline
from daemon.flows.record import Row, RowArray
from daemon.flows.store import FlowStore
from daemon.model import Directory, Frontend, Identity, Owner, ServiceName, Workload, WorkloadId
from ebpf import addresses
from ebpf.constants import Direction, EventKind, Point, Verdict
from tests.support.layouts import flow_dtype

FRONTEND, BACKEND, RESOLVER, WORLD = "10.0.0.1", "10.0.0.2", "10.0.0.53", "192.0.2.7"
FRONTEND_ID, BACKEND_ID, RESOLVER_ID = 16, 17, 18
NUMBERS = {FRONTEND: FRONTEND_ID, BACKEND: BACKEND_ID, RESOLVER: RESOLVER_ID}

_BYTES = ("src", "dst")


def rows(*records: dict[str, Any]) -> RowArray:
    """An array of records; fields that are not named are those of a forwarded TCP packet, frontend to backend:80."""
    array = np.zeros(len(records), flow_dtype())
    for index, record in enumerate(records):
        for field, value in (_defaults(record) | record).items():
            array[field][index] = np.frombuffer(addresses.pack(value), np.uint32) if field in _BYTES else value
    return array


def row(**record: Any) -> Row:
    only: Row = rows(record)[0]
    return only


def _defaults(record: dict[str, Any]) -> dict[str, Any]:
    source, destination = record.get("src", FRONTEND), record.get("dst", BACKEND)
    return {
        "time": 1_000,
        "src": source,
        "dst": destination,
        "src_workload": NUMBERS.get(source, 0),
        "dst_workload": NUMBERS.get(destination, 0),
        "src_port": 40_000,
        "dst_port": 80,
        "family": ip_address(source).version,
        "proto": 6,
        "kind": EventKind.NEW,
        "verdict": Verdict.FORWARDED,
        "point": Point.TO_STACK,
        "direction": Direction.EGRESS,
        "tcp_flags": 2,
        "ifindex": 7,
    }


def directory() -> Directory:
    """A shop: a frontend on this node, a backend of a Deployment, a resolver; a Service with the number 5."""
    found = Directory()
    found.update_workloads(
        [
            _workload(FRONTEND_ID, "shop", "frontend", FRONTEND, ("k8s:app=frontend", "k8s:tier=web"), device="veth0"),
            _workload(BACKEND_ID, "shop", "backend-7d-x1", BACKEND, ("k8s:app=backend",), owner="backend"),
            _workload(RESOLVER_ID, "kube-system", "dns", RESOLVER, ("k8s:k8s-app=kube-dns",)),
        ]
    )
    vip = Frontend(addresses.pack("10.96.0.9"), 80, 6)
    found.update_services({5: ServiceName("shop", "backend", "http")}, {vip: ServiceName("shop", "backend", "http")})
    return found


def renamed(workload: Workload, name: str, number: int | None = None) -> Workload:
    """The same workload under another name, and another number if one is given."""
    return replace(workload, name=name, id=WorkloadId(number or workload.id))


def _workload(
    number: int, namespace: str, name: str, address: str, labels: tuple[str, ...], device: str = "", owner: str = ""
) -> Workload:
    return Workload(
        id=WorkloadId(number),
        identity=Identity(240 + number),
        namespace=namespace,
        name=name,
        labels=labels,
        owners=(Owner(owner, "Deployment"),) if owner else (),
        addresses=(IPv4Address(address),),
        ifindex=7 if device else 0,
        device=device,
    )


class Bench:
    """The whole flow side, wired up."""

    def __init__(
        self, limit: int = 2_000, metrics: Sequence[str] | None = None, policy_of: PolicyOf = unknown_policy
    ) -> None:
        self.now = 0  # ns, CLOCK_MONOTONIC
        self.directory = directory()
        self.store = FlowStore(flow_dtype(), 1_024)
        self.names = DnsNames()
        configs = parse(metrics)
        self.metrics = FlowMetrics(self.directory, configs, limit, self.names, policy_of, now=lambda: self.now)
        self.pipeline = FlowPipeline(self.store, self.metrics, self.names, now=lambda: self.now)
        clock = Clock(monotonic=lambda: 0, wall=lambda: 1_700_000_000_000_000_000)
        self.builder = FlowBuilder(self.directory, "default/n1", clock, self.names, version="v1.2.3")

    def flows(self) -> list[Any]:
        """All stored records, told."""
        read = self.store.read(0, self.store.head)
        return [
            self.builder.build(record, read.start + index, self.store.message(int(record["l7"])))
            for index, record in enumerate(read.rows)
        ]

    def samples(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        """Samples of one metric by their labels, without those that are empty."""
        return {
            frozenset((key, value) for key, value in sample.labels.items() if value): sample.value
            for family in text_string_to_metric_families(self.metrics.text().decode())
            for sample in family.samples
            if sample.name == name
        }

    def sample(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        wanted = set(labels.items())
        return sum(value for found, value in self.samples(name).items() if wanted <= found)


def dns_query(name: str = "api.shop.svc.", qtype: str = "A", number: int = 77) -> bytes:
    query = dns.message.make_query(name, qtype)
    query.id = number
    return query.to_wire()


def dns_answer(
    name: str = "api.shop.svc.", ips: tuple[str, ...] = ("10.0.0.2",), rcode: int = 0, number: int = 77
) -> bytes:
    answer = dns.message.make_response(dns.message.from_wire(dns_query(name, number=number)))
    if ips:
        answer.answer.append(dns.rrset.from_text(name, 30, "IN", "A", *ips))
    answer.set_rcode(dns.rcode.Rcode(rcode))
    return answer.to_wire()
