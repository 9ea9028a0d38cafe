"""The gRPC server on its unix socket: who may talk to the agent is who may open the socket."""

from __future__ import annotations

import asyncio
import grp
import os
import socket
import time
from pathlib import Path

import grpc

from daemon.api.agent import AgentService
from daemon.api.calls import CallCounter
from daemon.api.health import HealthService
from daemon.api.losses import LossLog
from daemon.api.observer import ObserverService
from daemon.api.view import AgentView
from daemon.proto import health_pb2_grpc, observer_pb2_grpc, remora_pb2_grpc
from ebpf.errors import RemoraError

GROUP = "remora"
"""Members may use the API without being root."""

_GRACE = 1.0
_MAX_PATH = 107
_UMASK = 0o117
_OPTIONS = (("grpc.so_reuseport", 0), ("grpc.max_send_message_length", 64 * 1024 * 1024))


class SocketError(RemoraError):
    """The API cannot listen on its socket."""


class ApiServer:
    """Serves one agent from `start` to `stop`, both in the same asyncio loop."""

    def __init__(self, view: AgentView, path: Path) -> None:
        self.path = path
        self.calls = CallCounter()
        self._view = view
        self._server: grpc.aio.Server | None = None
        self._losses: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Raises SocketError when another agent does, or when the socket cannot be made."""
        _prepare(self.path)
        server = grpc.aio.server(options=_OPTIONS, interceptors=[self.calls])
        losses = LossLog(self._view.kernel_lost, time.monotonic_ns)
        observer_pb2_grpc.add_ObserverServicer_to_server(ObserverService(self._view, losses), server)
        remora_pb2_grpc.add_AgentServicer_to_server(AgentService(self._view, losses), server)
        health_pb2_grpc.add_HealthServicer_to_server(HealthService(), server)
        _bind(server, self.path)
        await server.start()
        self._server = server
        self._losses = asyncio.create_task(losses.run(), name="api-losses")

    async def stop(self) -> None:
        """End all streams and remove the socket."""
        if self._losses is not None:
            self._losses.cancel()
        if self._server is not None:
            await self._server.stop(_GRACE)
        self.path.unlink(missing_ok=True)


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


def _bind(server: grpc.aio.Server, path: Path) -> None:
    """Bind with mode 0660 from the first moment, for root and the group: the umask is set for that moment only."""
    before = os.umask(_UMASK)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise SocketError(f"cannot listen on {path}: {error}", "name another path") from error
    finally:
        os.umask(before)
    try:
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
    except (KeyError, PermissionError):
        return  # without the group only root and the agent's own user get in
