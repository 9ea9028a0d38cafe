"""Streams that stay open: what they start with, how losses are told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

import grpc
import pytest

from daemon.api import losses
from daemon.proto import flow_pb2, observer_pb2, observer_pb2_grpc, remora_pb2, remora_pb2_grpc
from tests.unit.api.shop import SECOND, START_WALL, FakeView, rows


@pytest.fixture
def follow(channel: grpc.Channel) -> Iterator[Any]:
    """Opens a following stream; ended with the test."""
    calls = []

    def start(**fields: Any) -> Any:
        request = observer_pb2.GetFlowsRequest(follow=True, **fields)
        call = observer_pb2_grpc.ObserverStub(channel).GetFlows(request, timeout=20)
        calls.append(call)
        return call

    yield start
    for call in calls:
        call.cancel()


def wait_for_follower(view: FakeView) -> None:
    """Return when a reader waits for new records."""
    tick = threading.Event()
    while not view.store.followers:
        tick.wait(0.01)


def ports(call: Any, count: int) -> list[int]:
    return [response.flow.l4.TCP.source_port - 40_000 for response in islice(call, count)]


def test_a_follower_starts_with_what_comes(view: FakeView, follow: Any) -> None:
    view.store.append(rows(10))
    call = follow()
    wait_for_follower(view)
    view.store.append(rows(2, 10))
    assert ports(call, 2) == [10, 11]


def test_number_replays_and_does_not_end_a_follower(view: FakeView, follow: Any) -> None:
    view.store.append(rows(10))
    call = follow(number=2)
    wait_for_follower(view)
    view.store.append(rows(3, 10))
    assert ports(call, 5) == [8, 9, 10, 11, 12]


def test_a_follower_gets_only_what_its_filters_let_pass(view: FakeView, follow: Any) -> None:
    call = follow(whitelist=[flow_pb2.FlowFilter(source_port=["40003"])])
    wait_for_follower(view)
    view.store.append(rows(5))
    assert ports(call, 1) == [3]


def test_a_reader_that_the_writer_overtakes_is_told_how_much_it_missed(view: FakeView, follow: Any) -> None:
    call = follow()
    wait_for_follower(view)
    view.store.append(rows(5_000))
    responses = list(islice(call, 4_097))
    (lost,) = [response for response in responses if response.HasField("lost_events")]
    assert lost.lost_events.source == flow_pb2.HUBBLE_RING_BUFFER
    assert lost.lost_events.num_events_lost == 5_000 - 4_096
    assert lost.node_name == "node-1"


def test_losses_in_the_kernel_reach_a_follower_even_when_no_flow_comes(
    view: FakeView, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = follow()
    wait_for_follower(view)
    view.lost[1] = 17
    response = next(call)
    assert response.lost_events.source == flow_pb2.PERF_EVENT_RING_BUFFER
    assert response.lost_events.num_events_lost == 17
    assert response.lost_events.cpu.value == 1
    assert response.HasField("time")


def test_losses_are_remembered_with_their_time() -> None:
    counters, clock = {0: 5}, [10]
    log = losses.LossLog(lambda: dict(counters), lambda: clock[0])
    clock[0] = 20
    log.look()
    assert log.since(0) == ()
    counters.update({0: 8, 1: 2})
    clock[0] = 30
    log.look()
    assert [(one.cpu, one.count, one.first, one.last) for one in log.since(0)] == [(0, 3, 20, 30), (1, 2, 20, 30)]
    assert log.after(30) == 0
    assert log.after(31) == 2


def test_the_monitor_gives_records_in_words(view: FakeView, channel: grpc.Channel) -> None:
    made = rows(3, 5, marks=2, forward_packets=4, forward_bytes=512, pid=77, comm=list(b"curl".ljust(16, b"\0")))
    view.store.append(made)
    request = remora_pb2.MonitorRequest(last=1, stored_only=True)
    (answer,) = remora_pb2_grpc.AgentStub(channel).Monitor(request, timeout=10)
    (record,) = answer.records
    assert (record.sequence, record.kind, record.point, record.direction) == (2, "NEW", "TO_ENDPOINT", "INGRESS")
    assert (record.source, record.source_port, record.source_workload) == ("10.0.1.1", 40_007, 16)
    assert (record.protocol, record.tcp_flags, list(record.marks)) == ("TCP", "SYN", ["MIDSTREAM"])
    assert (record.extra.forward_packets, record.extra.comm, record.extra.pid) == (4, "curl", 77)
    assert record.time.ToNanoseconds() == START_WALL + 7 * SECOND


def test_the_monitor_follows(view: FakeView, channel: grpc.Channel) -> None:
    call = remora_pb2_grpc.AgentStub(channel).Monitor(remora_pb2.MonitorRequest(), timeout=10)
    wait_for_follower(view)
    view.store.append(rows(2))
    assert [record.sequence for record in next(call).records] == [0, 1]
    call.cancel()
