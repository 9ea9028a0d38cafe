"""What other programs ask before they ask for flows: who is there, and in which messages."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from daemon.api.peers import server_name
from daemon.api.reflection import V1, V1ALPHA
from daemon.api.server import own_peer
from daemon.proto import flow_pb2, peer_pb2, peer_pb2_grpc, reflection_pb2
from tests.unit.api.shop import FakeView, serving


def test_the_node_itself_is_told_and_the_stream_stays_open(channel: grpc.Channel, tmp_path: Path) -> None:
    call = peer_pb2_grpc.PeerStub(channel).Notify(peer_pb2.NotifyRequest(), timeout=2)
    told = next(call)
    assert (told.name, told.type) == ("node-1", peer_pb2.PEER_ADDED)
    assert told.address == f"unix://{tmp_path}/remora.sock"
    assert not told.HasField("tls")
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_peer_with_tls_tells_the_name_on_its_certificate(view: FakeView, tmp_path: Path) -> None:
    own = own_peer("east/node.one", "192.0.2.7:4244", server_name("node.one", "east.eu"))
    with serving(view, tmp_path, None, own) as server, grpc.insecure_channel(f"unix://{server.path}") as channel:
        told = next(iter(peer_pb2_grpc.PeerStub(channel).Notify(peer_pb2.NotifyRequest(), timeout=5)))
    assert told.tls.server_name == "node-one.east-eu.hubble-grpc.cilium.io"


def ask(channel: grpc.Channel, service: str, **question: str) -> reflection_pb2.ServerReflectionResponse:
    call = channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    (answer,) = call(iter([reflection_pb2.ServerReflectionRequest(**question)]), timeout=5)
    return answer


@pytest.mark.parametrize("service", [V1, V1ALPHA])
def test_reflection_lists_every_service_and_gives_the_files_of_each(channel: grpc.Channel, service: str) -> None:
    listed = [one.name for one in ask(channel, service, list_services="*").list_services_response.service]
    assert listed == [
        "grpc.health.v1.Health",
        V1,
        V1ALPHA,
        "observer.Observer",
        "peer.Peer",
        "remora.v1.Agent",
    ]
    for name in listed:
        files = ask(channel, service, file_containing_symbol=name).file_descriptor_response.file_descriptor_proto
        services = {
            f"{file.package}.{one.name}" for file in map(FileDescriptorProto.FromString, files) for one in file.service
        }
        assert name in services


def test_the_files_of_a_symbol_are_complete(channel: grpc.Channel) -> None:
    answer = ask(channel, V1, file_containing_symbol="observer.Observer")
    files = {
        file.name: file
        for file in map(FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
    }
    pool = descriptor_pool.DescriptorPool()
    while files:
        name = next(name for name, file in files.items() if not any(needed in files for needed in file.dependency))
        pool.Add(files.pop(name))
    found = pool.FindMessageTypeByName("flow.Flow")
    assert len(found.fields) == len(flow_pb2.Flow.DESCRIPTOR.fields)


def test_the_old_reflection_service_is_described_too(channel: grpc.Channel) -> None:
    (raw,) = ask(channel, V1ALPHA, file_containing_symbol=V1ALPHA).file_descriptor_response.file_descriptor_proto
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(raw)
    assert pool.FindServiceByName(V1ALPHA).methods[0].input_type.full_name.startswith("grpc.reflection.v1alpha.")


def test_what_is_not_known_is_not_found(channel: grpc.Channel) -> None:
    for question in ({"file_containing_symbol": "no.Such"}, {"file_by_filename": "no.proto"}):
        error = ask(channel, V1, **question).error_response
        assert error.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        assert "no." in error.error_message
