"""Which namespaces flows were seen in."""

from __future__ import annotations

from ipaddress import IPv4Address

from daemon.api.namespaces import KEPT, SeenNamespaces
from daemon.flows.store import FlowStore
from daemon.model import Directory, Identity, Workload, WorkloadId
from tests.support.layouts import flow_dtype
from tests.unit.flows.samples import rows


def test_a_namespace_is_told_for_an_hour_after_its_last_flow_however_small_the_store() -> None:
    clock, directory, store = [0.0], Directory(), FlowStore(flow_dtype(), capacity=4)
    directory.update_workloads(
        Workload(WorkloadId(number), Identity(300 + number), name, "pod", (), (), (IPv4Address(number),))
        for number, name in ((16, "a"), (17, "b"), (18, "c"))
    )
    seen = SeenNamespaces(store, directory, lambda: clock[0])
    assert seen.names() == []
    store.append(rows({"src_workload": 16, "dst_workload": 0}))
    assert seen.names() == ["a"]
    for _ in range(3):
        clock[0] += KEPT / 3
        store.append(rows(*[{"src_workload": 0, "dst_workload": 17}] * 3))
        seen.look()
    assert seen.names() == ["a", "b"]
    directory.update_workloads([])
    clock[0] += 1
    assert seen.names() == ["b"]
