# ruff: noqa
# fmt: off
# mypy: ignore-errors
from collections.abc import AsyncIterator, Iterator
from typing import Any

from daemon.proto import reflection_pb2


class ServerReflectionStub:
    def __init__(self, channel: Any) -> None: ...
    def ServerReflectionInfo(self, requests: Iterator[reflection_pb2.ServerReflectionRequest], timeout: float | None = ...) -> Iterator[reflection_pb2.ServerReflectionResponse]: ...

class ServerReflectionServicer:
    def ServerReflectionInfo(self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: Any) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]: ...

def add_ServerReflectionServicer_to_server(servicer: ServerReflectionServicer, server: Any) -> None: ...
