"""A server of the observer API that is not ours: it answers what it is given, and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from daemon.proto import (
    health_pb2,
    health_pb2_grpc,
    observer_pb2,
    observer_pb2_grpc,
    peer_pb2,
    peer_pb2_grpc,
)


class Foreign(observer_pb2_grpc.ObserverServicer, peer_pb2_grpc.PeerServicer, health_pb2_grpc.HealthServicer):
    """Set what it answers; read `asked`."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.metadata: dict[str, str] = {}
        self.flows: Sequence[observer_pb2.GetFlowsResponse] = ()
        self.agent_events: Sequence[observer_pb2.GetAgentEventsResponse] = ()
        self.debug_events: Sequence[observer_pb2.GetDebugEventsResponse] = ()
        self.nodes: Sequence[observer_pb2.Node] = ()
        self.peers: Sequence[peer_pb2.ChangeNotification] = ()
        self.status = observer_pb2.ServerStatusResponse()
        self.health = health_pb2.HealthCheckResponse.SERVING

    def _told(self, request: Any, context: Any, answer: Any) -> Any:
        self.asked.append(request)
        self.metadata = dict(context.invocation_metadata())
        return answer

    def GetFlows(self, request: Any, context: Any) -> Any:
        yield from self._told(request, context, self.flows)

    def GetAgentEvents(self, request: Any, context: Any) -> Any:
        yield from self._told(request, context, self.agent_events)

    def GetDebugEvents(self, request: Any, context: Any) -> Any:
        yield from self._told(request, context, self.debug_events)

    def GetNodes(self, request: Any, context: Any) -> Any:
        return self._told(request, context, observer_pb2.GetNodesResponse(nodes=self.nodes))

    def GetNamespaces(self, request: Any, context: Any) -> Any:
        named = [observer_pb2.Namespace(cluster="east", namespace=name) for name in ("default", "shop")]
        return self._told(request, context, observer_pb2.GetNamespacesResponse(namespaces=named))

    def ServerStatus(self, request: Any, context: Any) -> Any:
        return self._told(request, context, self.status)

    def Notify(self, request: Any, context: Any) -> Any:
        yield from self._told(request, context, self.peers)

    def Check(self, request: Any, context: Any) -> Any:
        return self._told(request, context, health_pb2.HealthCheckResponse(status=self.health))


@contextmanager
def answering(foreign: Foreign, credentials: grpc.ServerCredentials | None = None) -> Iterator[int]:
    """Its port on 127.0.0.1."""
    server = grpc.server(ThreadPoolExecutor(2))
    observer_pb2_grpc.add_ObserverServicer_to_server(foreign, server)
    peer_pb2_grpc.add_PeerServicer_to_server(foreign, server)
    health_pb2_grpc.add_HealthServicer_to_server(foreign, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
