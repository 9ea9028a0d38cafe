"""What is counted of the API's calls."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from daemon.agent.metrics import call_families
from daemon.api import server
from daemon.api.calls import CallCounter
from daemon.proto import observer_pb2, observer_pb2_grpc
from tests.unit.api.shop import FakeView, rows, served


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> CallCounter:
    """The counter of the server that is started next."""
    made = CallCounter()
    monkeypatch.setattr(server, "CallCounter", lambda: made)
    return made


def _told(calls: CallCounter, name: str) -> dict[tuple[str, ...], float]:
    samples = (sample for family in call_families(calls) for sample in family.samples if sample.name == name)
    return {tuple(sample.labels.values()): sample.value for sample in samples}


def test_calls_are_counted_with_their_messages_and_codes(calls: CallCounter, view: FakeView, tmp_path: Path) -> None:
    view.store.append(rows(5))
    with served(view, tmp_path) as address, grpc.insecure_channel(address) as channel:
        stub = observer_pb2_grpc.ObserverStub(channel)
        stub.ServerStatus(observer_pb2.ServerStatusRequest(), timeout=5)
        assert len(list(stub.GetFlows(observer_pb2.GetFlowsRequest(number=5), timeout=5))) == 5
        with pytest.raises(grpc.RpcError):
            list(stub.GetFlows(observer_pb2.GetFlowsRequest(first=True, follow=True), timeout=5))
        with pytest.raises(grpc.RpcError):
            channel.unary_unary("/no.Such/Method")(b"", timeout=5)
    service = "observer.Observer"
    flows, status = ("server_stream", service, "GetFlows"), ("unary", service, "ServerStatus")
    assert _told(calls, "grpc_server_started_total") == {flows: 2, status: 1}
    assert _told(calls, "grpc_server_msg_received_total") == {flows: 2, status: 1}
    assert _told(calls, "grpc_server_msg_sent_total") == {flows: 5, status: 1}
    assert _told(calls, "grpc_server_handled_total") == {
        (*status, "OK"): 1,
        (*flows, "OK"): 1,
        (*flows, "InvalidArgument"): 1,
        ("unknown", "unknown", "unknown", "Unimplemented"): 1,
    }
