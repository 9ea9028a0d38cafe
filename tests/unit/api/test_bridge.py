"""Methods run in the loop, answers leave from threads: nothing stays behind when a client goes away."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from daemon.api import server
from daemon.proto import observer_pb2, observer_pb2_grpc
from tests.unit.api.shop import FakeView, rows, served

FOLLOW = observer_pb2.GetFlowsRequest(follow=True)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_a_follower_that_goes_away_waits_no_longer(view: FakeView, observer: observer_pb2_grpc.ObserverStub) -> None:
    calls = [observer.GetFlows(FOLLOW) for _ in range(20)]
    assert eventually(lambda: view.store.followers == 20)
    for call in calls:
        call.cancel()
    assert eventually(lambda: view.store.followers == 0)
    assert len(observer.GetNamespaces(observer_pb2.GetNamespacesRequest(), timeout=10).namespaces) == 0


def test_calls_beyond_the_limit_are_refused_at_once_and_places_become_free_again(
    view: FakeView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_CALLS", 2)
    with served(view, tmp_path) as address, grpc.insecure_channel(address) as channel:
        observer = observer_pb2_grpc.ObserverStub(channel)
        calls = [observer.GetFlows(FOLLOW) for _ in range(2)]
        assert eventually(lambda: view.store.followers == 2)
        with pytest.raises(grpc.RpcError) as caught:
            observer.ServerStatus(observer_pb2.ServerStatusRequest(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        calls[0].cancel()
        assert eventually(lambda: _answers(observer))


def test_a_long_answer_that_nobody_reads_ends_with_its_client(
    view: FakeView, observer: observer_pb2_grpc.ObserverStub
) -> None:
    view.store.append(rows(5_000))
    call = observer.GetFlows(observer_pb2.GetFlowsRequest(number=5_000, follow=True))
    assert next(call).HasField("flow")
    call.cancel()
    assert _answers(observer)
    assert eventually(lambda: view.store.followers == 0)


def _answers(observer: observer_pb2_grpc.ObserverStub) -> bool:
    try:
        return observer.ServerStatus(observer_pb2.ServerStatusRequest(), timeout=10).max_flows > 0
    except grpc.RpcError:
        return False
