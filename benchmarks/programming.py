"""The control plane at 10,000 Services of ten endpoints: first sync, one change, memory of the kernel's maps.

In this process and on maps of the default sizes, from objects as a source hands them over to the maps that the programs
read. A change is one EndpointSlice that is new; a third of them have an endpoint less, a third another one, and a third
are as they were at first. Between two changes slots that nothing counts are collected, as the agent does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from benchmarks.fleet import Fleet, Member
from benchmarks.report import Figure, at_most
from benchmarks.stand import BenchmarkError, bare_datapath
from daemon.model.objects import AddressType, Endpoint, EndpointPort, EndpointSlice, ObjectMeta, Service, ServicePort
from daemon.model.objects import ServiceSpec as Spec
from daemon.model.snapshot import Snapshot
from daemon.model.workload import Node
from daemon.services import ServiceReconciler, ServiceTable, compile_services
from daemon.services.datagrams import lost_datagrams
from ebpf.grace import wait_for_readers
from ebpf.maps import HashMap

SERVICES, WIDTH = 10_000, 10
CHANGES = 1_500
COLLECT_EVERY = 5  # changes
NODE = Node("bench", "a")


def measure() -> Iterator[Figure]:
    """First sync, changes, memory."""
    fleet = Fleet(SERVICES, WIDTH)
    services = tuple(_service(member) for member in fleet.members())
    slices = [_slice(member) for member in fleet.members()]
    with bare_datapath() as datapath:
        maps = datapath.maps["services"], datapath.maps["backends"]
        reconciler = ServiceReconciler(*maps)
        began = time.perf_counter()
        table = compile_services(Snapshot(services, tuple(slices)), NODE)
        reconciler.apply(table)
        yield Figure("services_first_sync", time.perf_counter() - began, "s", at_most(2.0), _size(maps[1]))
        times = np.array(list(_changes(reconciler, services, slices, table))) * 1000
        yield Figure("services_change_p50", float(np.percentile(times, 50)), "ms")
        yield Figure(
            "services_change_p99", float(np.percentile(times, 99)), "ms", at_most(10.0), f"{CHANGES:,} changes"
        )
        for one in maps:
            yield Figure(f"services_map_{one.name}", memory(one) / 1e6, "MB", note=_size(one))


def _changes(
    reconciler: ServiceReconciler, services: tuple[Service, ...], slices: list[EndpointSlice], table: ServiceTable
) -> Iterator[float]:
    """Seconds from a snapshot with one changed slice to the kernel, again and again."""
    first, rng = tuple(slices), np.random.default_rng(1)
    for number in range(CHANGES):
        index = int(rng.integers(len(slices)))
        slices[index] = replace(first[index], endpoints=_endpoints(first[index], number))
        snapshot = Snapshot(services, tuple(slices))
        began = time.perf_counter()
        before, table = table, compile_services(snapshot, NODE, table)
        reconciler.apply(table)
        lost_datagrams(before, table)
        yield time.perf_counter() - began
        if not number % COLLECT_EVERY:
            until = reconciler.written
            wait_for_readers()
            reconciler.collect(until)


def _endpoints(slice_: EndpointSlice, number: int) -> tuple[Endpoint, ...]:
    """The slice's endpoints: one less, one exchanged, or all."""
    if number % 3 == 0:
        return slice_.endpoints[1:]
    if number % 3 == 1:
        return (*slice_.endpoints[1:], Endpoint((f"10.99.{number // 250}.{number % 250}",)))
    return slice_.endpoints


def memory(table: HashMap) -> int:
    """Bytes that a map takes in the kernel."""
    for line in Path(f"/proc/self/fdinfo/{table.fd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "memlock":
            return int(value)
    raise BenchmarkError(f"the kernel does not tell the memory of map {table.name}")


def _size(table: HashMap) -> str:
    return f"{len(table.items()[0]):,} of {table.max_entries:,} entries in {table.name}"


def _service(member: Member) -> Service:
    return Service(
        ObjectMeta(member.name, "fleet"), Spec(cluster_ips=(member.address,), ports=(ServicePort(80, "http"),))
    )


def _slice(member: Member) -> EndpointSlice:
    meta = ObjectMeta(f"{member.name}-a", "fleet", {"kubernetes.io/service-name": member.name})
    endpoints = tuple(Endpoint((address,)) for address in member.backends)
    return EndpointSlice(meta, AddressType.IPV4, endpoints, (EndpointPort(8080, "http"),))
