"""gRPC's reflection: which services are here and what their messages look like, for clients without our .proto files.

Clients ask under two names, an old and a new one, with the same messages. Only the new one is in our .proto files; the
file of the old one is made from it, so that whoever looks the old service up finds it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from daemon.proto import reflection_pb2 as pb

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"

_OLD_FILE = "daemon/proto/reflection_v1alpha.proto"


def add_reflection(server: Any, services: Sequence[str]) -> None:
    """Serve reflection under both names; `services` are those that the server offers beside it."""
    handler = grpc.stream_stream_rpc_method_handler(
        Reflection(sorted({*services, V1, V1ALPHA})).answers,
        request_deserializer=pb.ServerReflectionRequest.FromString,
        response_serializer=pb.ServerReflectionResponse.SerializeToString,
    )
    handlers = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, handlers) for name in (V1, V1ALPHA)])


class Reflection:
    """Answers from the descriptors that this process has loaded."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = services
        self._pool = descriptor_pool.Default()
        self._old = _renamed(self._pool.FindFileContainingSymbol(V1))

    def answers(
        self, requests: Iterator[pb.ServerReflectionRequest], context: Any
    ) -> Iterator[pb.ServerReflectionResponse]:
        """One answer for each question, in order."""
        for request in requests:
            answer = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
            try:
                self._fill(answer, request)
            except KeyError as error:
                answer.error_response.error_code = grpc.StatusCode.NOT_FOUND.value[0]
                answer.error_response.error_message = str(error.args[0])
            yield answer

    def _fill(self, answer: pb.ServerReflectionResponse, request: pb.ServerReflectionRequest) -> None:
        match request.WhichOneof("message_request"):
            case "list_services":
                names = [pb.ServiceResponse(name=name) for name in self._services]
                answer.list_services_response.service.extend(names)
            case "file_by_filename":
                answer.file_descriptor_response.file_descriptor_proto.extend(self._by_name(request.file_by_filename))
            case "file_containing_symbol":
                files = self._by_symbol(request.file_containing_symbol)
                answer.file_descriptor_response.file_descriptor_proto.extend(files)
            case "all_extension_numbers_of_type":
                known = self._pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
                answer.all_extension_numbers_response.base_type_name = known.full_name
            case _:
                raise KeyError("no such extension: proto3 messages have none")

    def _by_name(self, name: str) -> list[bytes]:
        return [self._old] if name == _OLD_FILE else list(_with_imports(self._pool.FindFileByName(name)))

    def _by_symbol(self, symbol: str) -> list[bytes]:
        if symbol.startswith(V1ALPHA.rpartition(".")[0] + "."):
            return [self._old]
        return list(_with_imports(self._pool.FindFileContainingSymbol(symbol)))


def _with_imports(file: FileDescriptor) -> Iterator[bytes]:
    """A file and all that it imports, each once."""
    seen, waiting = {file.name}, [file]
    while waiting:
        one = waiting.pop()
        yield one.serialized_pb
        waiting += [needed for needed in one.dependencies if needed.name not in seen]
        seen |= {needed.name for needed in one.dependencies}


def _renamed(file: FileDescriptor) -> bytes:
    """The reflection file under its old package."""
    old = FileDescriptorProto.FromString(file.serialized_pb)
    old.name, old.package = _OLD_FILE, V1ALPHA.rpartition(".")[0]
    named = [field for message in old.message_type for field in message.field if field.type_name]
    for field in named:
        field.type_name = field.type_name.replace(f".{file.package}.", f".{old.package}.")
    for method in old.service[0].method:
        method.input_type = method.input_type.replace(f".{file.package}.", f".{old.package}.")
        method.output_type = method.output_type.replace(f".{file.package}.", f".{old.package}.")
    return old.SerializeToString()
