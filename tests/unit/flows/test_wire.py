"""Flows as bytes: whatever a record holds, the columns give what the builder gives."""

from __future__ import annotations

import numpy as np

from daemon.flows.clock import Clock
from daemon.flows.l7 import DnsMessage
from daemon.flows.record import RowArray
from daemon.flows.store import Rows
from daemon.flows.wire import FlowWriter, Form
from daemon.proto import observer_pb2, remora_pb2
from ebpf import addresses
from ebpf.constants import EventKind, Point
from tests.unit.flows.samples import BACKEND, FRONTEND, WORLD, Bench, renamed, rows

SERVICE = "10.96.0.9"
CLOCK = Clock(monotonic=lambda: 0, wall=lambda: 1_700_000_000_000_000_000)


def varied(count: int) -> RowArray:
    """Records in which every field takes several values."""
    generator = np.random.default_rng(3)
    batch = rows(*[{}] * count)
    raw = batch.view(np.uint8).reshape(count, batch.dtype.itemsize)
    raw[:] = generator.integers(0, 256, raw.shape, np.uint8)
    packed = np.array([np.frombuffer(addresses.pack(one), np.uint32) for one in (FRONTEND, BACKEND, WORLD, SERVICE)])
    for end in ("src", "dst"):
        batch[end] = packed[generator.integers(0, len(packed), count)]
        batch[f"{end}_workload"] = generator.choice([0, 1, 16, 17, 99], count)
        batch[f"{end}_port"] = generator.choice([0, 53, 80, 40_000, 65_535], count)
    for name, values in (
        ("family", [4, 6]),
        ("proto", [1, 2, 6, 17, 47, 58, 112, 132]),
        ("kind", [1, 2, 3, 4]),
        ("verdict", [1, 2]),
        ("reason", [0, 133]),
        ("reply", [0, 1]),
        ("direction", [1, 2]),
        ("point", [Point.TO_ENDPOINT, Point.TO_STACK]),
        ("service", [0, 5]),
        ("ifindex", [0, 7]),
        ("tcp_flags", [2, 18]),
        ("l7", [0]),
    ):
        batch[name] = generator.choice(values, count)
    for name in ("src_mac", "dst_mac"):
        batch[name] = 0
    batch["time"] = generator.integers(0, 10**15, count)
    return batch


def parsed(writer: FlowWriter, read: Rows, form: Form = Form.RESPONSE) -> list[observer_pb2.GetFlowsResponse]:
    indices = list(range(len(read.rows)))
    written = writer.write(read, indices, writer.keys(read.rows, indices))
    if form is Form.RESPONSE:
        return [observer_pb2.GetFlowsResponse.FromString(raw) for raw in written]
    return [item.response for item in remora_pb2.FlowBatch.FromString(b"".join(written)).items]


def expected(bench: Bench, read: Rows) -> list[observer_pb2.GetFlowsResponse]:
    found = []
    for index, row in enumerate(read.rows):
        flow = bench.builder.build(row, read.start + index, None)
        found.append(observer_pb2.GetFlowsResponse(flow=flow, node_name=flow.node_name, time=flow.time))
    return found


def test_columns_give_what_the_builder_gives_whatever_a_record_holds() -> None:
    bench = Bench()
    bench.names.learn(addresses.pack(FRONTEND), DnsMessage(1, "api.example.", ("A",), (WORLD,), response=True))
    read = Rows(2**40, varied(3_000))
    assert not (read.rows["kind"] == EventKind.L7).any()
    wanted = expected(bench, read)
    for form in Form:
        assert parsed(FlowWriter(bench.builder, bench.directory, CLOCK, form), read, form) == wanted


def test_names_that_have_changed_are_used_at_once() -> None:
    bench = Bench()
    writer = FlowWriter(bench.builder, bench.directory, CLOCK, Form.RESPONSE)
    read = Rows(0, rows({"dst": WORLD}))
    assert list(parsed(writer, read)[0].flow.destination_names) == []
    bench.names.learn(addresses.pack(FRONTEND), DnsMessage(1, "api.example.", ("A",), (WORLD,), response=True))
    assert list(parsed(writer, read)[0].flow.destination_names) == ["api.example"]
    bench.directory.update_workloads([renamed(one, "renamed") for one in bench.directory.workloads()])
    assert parsed(writer, read)[0].flow.source.pod_name == "renamed"


def test_an_identifier_leads_back_to_its_record() -> None:
    bench = Bench()
    (response,) = parsed(FlowWriter(bench.builder, bench.directory, CLOCK, Form.RESPONSE), Rows(77, rows({})))
    assert bench.builder.sequence(response.flow.uuid) == 77
    for foreign in ("", "x", "0" * 32, response.flow.uuid[:-1] + "x", Bench().builder.build(rows({})[0], 7, None).uuid):
        assert bench.builder.sequence(foreign) is None
