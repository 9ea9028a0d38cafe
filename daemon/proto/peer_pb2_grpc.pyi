# ruff: noqa
# fmt: off
# mypy: ignore-errors
from collections.abc import AsyncIterator, Iterator
from typing import Any

from daemon.proto import peer_pb2


class PeerStub:
    def __init__(self, channel: Any) -> None: ...
    def Notify(self, request: peer_pb2.NotifyRequest, timeout: float | None = ...) -> Iterator[peer_pb2.ChangeNotification]: ...

class PeerServicer:
    def Notify(self, request: peer_pb2.NotifyRequest, context: Any) -> AsyncIterator[peer_pb2.ChangeNotification]: ...

def add_PeerServicer_to_server(servicer: PeerServicer, server: Any) -> None: ...
