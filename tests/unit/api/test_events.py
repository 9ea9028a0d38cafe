"""Agent events over the API, and what the agent makes events of."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from daemon.api import EventLog
from daemon.proto import flow_pb2, observer_pb2, observer_pb2_grpc
from tests.unit.api.shop import SECOND, START_WALL, FakeView


def event(number: int) -> flow_pb2.AgentEvent:
    told = flow_pb2.EndpointRegenNotification(id=number)
    return flow_pb2.AgentEvent(type=flow_pb2.ENDPOINT_REGENERATE_SUCCESS, endpoint_regenerate=told)


def filled(count: int, capacity: int = 4_096) -> EventLog:
    log = EventLog(capacity)
    for number in range(count):
        log.add(event(number), START_WALL + number * SECOND)
    return log


def request(since: int | None = None, until: int | None = None, **fields: Any) -> observer_pb2.GetAgentEventsRequest:
    made = observer_pb2.GetAgentEventsRequest(**fields)
    for name, second in (("since", since), ("until", until)):
        if second is not None:
            getattr(made, name).FromNanoseconds(START_WALL + second * SECOND)
    return made


CASES = {
    "all": (request(), [0, 1, 2, 3, 4]),
    "the newest": (request(number=2), [3, 4]),
    "the oldest": (request(number=2, first=True), [0, 1]),
    "from a time on": (request(since=3), [3, 4]),
    "up to a time": (request(until=1), [0, 1]),
    "between": (request(since=1, until=3), [1, 2, 3]),
    "the first of a time": (request(since=1, number=2), [1, 2]),
    "only what comes": (request(follow=True), []),
    "the newest before what comes": (request(follow=True, number=1), [4]),
    "from a time on before what comes": (request(follow=True, since=3), [3, 4]),
}


@pytest.mark.parametrize("name", CASES)
def test_stored_events_are_chosen_as_flows_are(name: str) -> None:
    asked, expected = CASES[name]
    assert [one.number for one in filled(5).chosen(asked)] == expected


def test_the_oldest_events_give_way() -> None:
    assert [one.number for one in filled(10, capacity=3).chosen(request())] == [7, 8, 9]


def test_events_come_with_time_and_node(view: FakeView, channel: grpc.Channel) -> None:
    view.events = filled(2)
    stub = observer_pb2_grpc.ObserverStub(channel)
    answers = list(stub.GetAgentEvents(request(), timeout=5))
    assert [(one.node_name, one.time.seconds) for one in answers] == [
        ("node-1", 1_700_000_000),
        ("node-1", 1_700_000_001),
    ]
    assert answers[0].agent_event == event(0)


def test_debug_events_end_at_once_and_follow_stays_open(channel: grpc.Channel) -> None:
    stub = observer_pb2_grpc.ObserverStub(channel)
    assert list(stub.GetDebugEvents(observer_pb2.GetDebugEventsRequest(), timeout=5)) == []
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.GetDebugEvents(observer_pb2.GetDebugEventsRequest(follow=True), timeout=0.5))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("name", ["GetAgentEvents", "GetDebugEvents"])
def test_first_and_follow_exclude_each_other(channel: grpc.Channel, name: str) -> None:
    stub = observer_pb2_grpc.ObserverStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        list(getattr(stub, name)(getattr(observer_pb2, f"{name}Request")(first=True, follow=True), timeout=5))
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "first cannot be specified with follow",
    )
