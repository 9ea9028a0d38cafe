"""The server around the streams: socket, health, status, tables."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import grpc
import pytest

from daemon.api import ApiServer, SocketError
from daemon.proto import (
    flow_pb2,
    health_pb2,
    health_pb2_grpc,
    observer_pb2,
    observer_pb2_grpc,
    remora_pb2,
    remora_pb2_grpc,
)
from tests.unit.api.shop import FakeView, rows, served


@pytest.fixture
def agent(channel: grpc.Channel) -> remora_pb2_grpc.AgentStub:
    return remora_pb2_grpc.AgentStub(channel)


def test_only_owner_and_group_may_open_the_socket(view: FakeView, tmp_path: Path) -> None:
    with served(view, tmp_path):
        mode = (tmp_path / "remora.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


def test_the_socket_is_gone_after_the_stop(view: FakeView, tmp_path: Path) -> None:
    with served(view, tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_second_agent_is_told_that_the_socket_is_taken(view: FakeView, tmp_path: Path) -> None:
    with served(view, tmp_path), pytest.raises(SocketError, match="another agent listens"):
        asyncio.run(ApiServer(view, tmp_path / "remora.sock").start())


def test_a_socket_that_a_dead_agent_left_is_taken_over(view: FakeView, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "remora.sock"))
    with served(view, tmp_path) as address, grpc.insecure_channel(address) as channel:
        answer = observer_pb2_grpc.ObserverStub(channel).ServerStatus(observer_pb2.ServerStatusRequest(), timeout=5)
    assert answer.max_flows == 4_096


def test_a_path_that_is_too_long_says_so(view: FakeView, tmp_path: Path) -> None:
    with pytest.raises(SocketError, match="longer than the 107 bytes"):
        asyncio.run(ApiServer(view, tmp_path / ("x" * 108)).start())


@pytest.mark.parametrize("service", ["", "hubble.server.Observer"])
def test_health_is_serving_for_the_names_that_clients_ask(channel: grpc.Channel, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_an_unknown_service_is_not_found(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="x"), timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_watched_health_stays_open(channel: grpc.Channel) -> None:
    call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=5)
    assert next(call).status == health_pb2.HealthCheckResponse.SERVING
    call.cancel()


def test_server_status_tells_how_full_the_store_is(view: FakeView, observer: observer_pb2_grpc.ObserverStub) -> None:
    view.store.append(rows(5_000))
    answer = observer.ServerStatus(observer_pb2.ServerStatusRequest(), timeout=5)
    assert (answer.num_flows, answer.max_flows, answer.seen_flows) == (4_096, 4_096, 5_000)
    assert answer.uptime_ns == 90_000_000_000
    assert answer.version == "remora v1.2.3"
    assert not answer.HasField("num_connected_nodes")


def test_the_version_stands_in_the_header(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(1))
    call = observer_pb2_grpc.ObserverStub(channel).GetFlows(observer_pb2.GetFlowsRequest(number=1), timeout=5)
    assert dict(call.initial_metadata())["hubble-server-version"] == "1.2.3"
    assert len(list(call)) == 1


def test_namespaces_are_those_that_flows_were_seen_in(view: FakeView, observer: observer_pb2_grpc.ObserverStub) -> None:
    assert not observer.GetNamespaces(observer_pb2.GetNamespacesRequest(), timeout=5).namespaces
    view.store.append(rows(1))
    answer = observer.GetNamespaces(observer_pb2.GetNamespacesRequest(), timeout=5)
    assert [(one.cluster, one.namespace) for one in answer.namespaces] == [("default", "shop")]


def test_nodes_are_not_an_agents_business(observer: observer_pb2_grpc.ObserverStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        observer.GetNodes(observer_pb2.GetNodesRequest(), timeout=5)
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "GetNodes not implemented",
    )


def test_status_carries_the_agents_state_and_the_stores(view: FakeView, agent: remora_pb2_grpc.AgentStub) -> None:
    view.state.warnings.append("a.yaml:3: no such field")
    view.store.append(rows(7))
    answer = agent.Status(remora_pb2.StatusRequest(), timeout=5)
    assert list(answer.warnings) == ["a.yaml:3: no such field"]
    assert (answer.flows.stored, answer.flows.capacity) == (7, 4_096)


def test_endpoints_carry_names_addresses_and_devices(agent: remora_pb2_grpc.AgentStub) -> None:
    answer = agent.ListEndpoints(remora_pb2.ListEndpointsRequest(), timeout=5)
    listed = [(one.name, list(one.addresses), one.device, one.identity) for one in answer.endpoints]
    assert listed == [("backend-1", ["10.0.1.2"], "veth17", 301), ("frontend", ["10.0.1.1"], "veth16", 300)]


def test_endpoints_lead_to_namespaces_processes_and_containers(agent: remora_pb2_grpc.AgentStub) -> None:
    backend, frontend = agent.ListEndpoints(remora_pb2.ListEndpointsRequest(), timeout=5).endpoints
    assert frontend.inside.netns == "frontend"
    assert [(one.pid, one.comm, one.container[:4]) for one in frontend.inside.occupants] == [(1200, "server", "0123")]
    assert not backend.HasField("inside")


def test_identities_count_their_endpoints_and_name_the_reserved(agent: remora_pb2_grpc.AgentStub) -> None:
    answer = agent.ListIdentities(remora_pb2.ListIdentitiesRequest(), timeout=5)
    listed = [(one.number, one.name, one.endpoints) for one in answer.identities]
    assert listed == [(1, "host", 0), (2, "world", 0), (300, "", 1), (301, "", 1)]


def test_services_and_maps_come_from_the_agent(agent: remora_pb2_grpc.AgentStub) -> None:
    services = agent.ListServices(remora_pb2.ListServicesRequest(), timeout=5).services
    maps = agent.ListMaps(remora_pb2.ListMapsRequest(), timeout=5).maps
    assert [one.address for one in services] == ["10.96.0.10", "fd00::10"]
    assert [one.name for one in maps] == ["services", "flows"]


def test_batches_carry_what_flows_have_no_field_for(view: FakeView, agent: remora_pb2_grpc.AgentStub) -> None:
    view.store.append(rows(600, forward_packets=3, reverse_bytes=99, handshake=250))
    batches = list(agent.GetFlowBatches(observer_pb2.GetFlowsRequest(), timeout=10))
    items = [item for batch in batches for item in batch.items]
    assert len(items) == 600
    assert len(batches) == 3
    assert items[0].response.flow.verdict == flow_pb2.FORWARDED
    extra = items[0].extra
    assert (extra.forward_packets, extra.reverse_bytes, extra.handshake_ns) == (3, 99, 250_000)
