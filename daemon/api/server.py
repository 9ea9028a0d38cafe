"""The gRPC server on its unix socket, and over TCP where asked for.

Who may talk to the agent over the socket is who may open it; over TCP, whom the authorities of the settings vouch for.
"""

from __future__ import annotations

import asyncio
import grp
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from daemon.api.agent import AgentService
from daemon.api.bridge import Bridge
from daemon.api.calls import CallCounter
from daemon.api.health import HealthService
from daemon.api.losses import LossLog
from daemon.api.namespaces import SeenNamespaces
from daemon.api.observer import ObserverService
from daemon.api.peers import PeerService
from daemon.api.reflection import add_reflection
from daemon.api.tcp import Listener, TcpServer
from daemon.api.view import AgentView
from daemon.proto import health_pb2_grpc, observer_pb2_grpc, peer_pb2, peer_pb2_grpc, remora_pb2_grpc
from daemon.proto.observer_pb2 import GetFlowsRequest
from daemon.proto.peer_pb2 import ChangeNotification
from daemon.settings import API_GROUP
from ebpf.errors import RemoraError

SERVICES = ("observer.Observer", "remora.v1.Agent", "peer.Peer", "grpc.health.v1.Health")
"""Full names of what is served, reflection apart."""

_GRACE = 1.0
_CALLS = 128  # at a time, each with a thread; more are refused
_MAX_PATH = 107
_UMASK = 0o117
_OPTIONS = (("grpc.so_reuseport", 0), ("grpc.max_send_message_length", 64 * 1024 * 1024))


class SocketError(RemoraError):
    """The API cannot listen on its socket."""


class ApiServer:
    """Serves one agent from `start` to `stop`, both in the same asyncio loop."""

    def __init__(
        self,
        view: AgentView,
        path: Path,
        listener: Listener | None = None,
        peer: ChangeNotification | None = None,
    ) -> None:
        """`peer`: how aggregators reach this agent; default: by its socket."""
        self.path = path
        self.calls = CallCounter()
        self._view = view
        self._peer = peer or own_peer(view.builder.node_name, f"unix://{path}")
        self._tcp = TcpServer(listener, self._make) if listener else None
        self._server: grpc.Server | None = None
        self._watches: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listen. Raises RemoraError when another agent does, or when the socket or the port cannot be had."""
        _prepare(self.path)
        self._losses = LossLog(self._view.kernel_lost, time.monotonic_ns)
        self._namespaces = SeenNamespaces(self._view.store, self._view.directory)
        server = self._make()
        _bind(server, self.path)
        server.start()
        self._server = server
        self._watches = [
            asyncio.create_task(self._losses.run(), name="api-losses"),
            asyncio.create_task(self._namespaces.run(), name="api-namespaces"),
        ]
        if self._tcp is not None:
            await self._tcp.start()

    async def stop(self) -> None:
        """End all streams and remove the socket."""
        for watch in self._watches:
            watch.cancel()
        if self._tcp is not None:
            await self._tcp.stop()
        if self._server is not None:
            await asyncio.to_thread(self._server.stop(_GRACE).wait)
        self.path.unlink(missing_ok=True)

    @property
    def port(self) -> int:
        """The TCP port; 0 while there is none."""
        return self._tcp.port if self._tcp else 0

    def _make(self) -> grpc.Server:
        """A server with all services; its methods run in the present loop."""
        threads = ThreadPoolExecutor(_CALLS, thread_name_prefix="api")
        interceptors = [self.calls, Bridge(asyncio.get_running_loop())]
        server = grpc.server(threads, interceptors=interceptors, options=_OPTIONS, maximum_concurrent_rpcs=_CALLS)
        observer = ObserverService(self._view, self._losses, self._namespaces)
        agent = AgentService(self._view, self._losses)
        observer_pb2_grpc.add_ObserverServicer_to_server(observer, server)
        remora_pb2_grpc.add_AgentServicer_to_server(agent, server)
        _add_ready_made(server, "observer.Observer", "GetFlows", observer.flows)
        _add_ready_made(server, "remora.v1.Agent", "GetFlowBatches", agent.batches)
        peer_pb2_grpc.add_PeerServicer_to_server(PeerService(self._peer), server)
        health_pb2_grpc.add_HealthServicer_to_server(HealthService(), server)
        add_reflection(server, SERVICES)
        return server


def _add_ready_made(
    server: grpc.Server, service: str, method: str, answers: Callable[..., AsyncIterator[list[bytes]]]
) -> None:
    """A call whose answers are serialised already: building a message only to write it costs most of a flow's time.

    It takes the place of the call that the generated code has registered for its service.
    """
    handler = grpc.unary_stream_rpc_method_handler(
        answers, request_deserializer=GetFlowsRequest.FromString, response_serializer=None
    )
    server.add_registered_method_handlers(service, {method: handler})


def own_peer(name: str, address: str, server_name: str = "") -> ChangeNotification:
    """What aggregators are told of this agent; `server_name` is the name on its certificate, "" for plain text."""
    told = ChangeNotification(name=name, address=address, type=peer_pb2.PEER_ADDED)
    if server_name:
        told.tls.server_name = server_name
    return told


def _prepare(path: Path) -> None:
    if len(os.fsencode(path)) > _MAX_PATH:
        raise SocketError(
            f"the socket path {path} is longer than the {_MAX_PATH} bytes that Linux allows", "shorten it"
        )
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if _answers(path):
            raise SocketError(f"another agent listens on {path}", "stop it, or give this one another socket")
        path.unlink(missing_ok=True)
    except OSError as error:
        raise SocketError(
            f"cannot make the socket {path}: {error.strerror}", "run as root, or name another path"
        ) from error


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return path.is_socket() and probe.connect_ex(os.fspath(path)) == 0


def _bind(server: grpc.Server, path: Path) -> None:
    """Bind with mode 0660 from the first moment, for root and the group: the umask is set for that moment only."""
    before = os.umask(_UMASK)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise SocketError(f"cannot listen on {path}: {error}", "name another path") from error
    finally:
        os.umask(before)
    try:
        os.chown(path, -1, grp.getgrnam(API_GROUP).gr_gid)
    except (KeyError, PermissionError):
        return  # without the group only root and the agent's own user get in
