"""The way from a command to an agent: one channel, and gRPC's errors in plain words.

gRPC tells "unavailable" for a missing socket, a refused connection and a
forbidden one alike. The operator needs to know which, so after a failure the
address is tried once more by hand and the answer of the kernel is explained.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from daemon.cli.errors import CliError, UnreachableError
from daemon.cli.server import Server
from daemon.proto import health_pb2_grpc, observer_pb2_grpc, peer_pb2_grpc, reflection_pb2, remora_pb2_grpc

ENVIRONMENT = "REMORA_SERVER"


class Client:
    """Stubs of one agent; closed by `connect`."""

    def __init__(self, server: Server, channel: grpc.Channel) -> None:
        self.server = server.address
        self.timeout = server.request_timeout
        """seconds that a single answer may take"""
        self.agent = remora_pb2_grpc.AgentStub(channel)
        self.observer = observer_pb2_grpc.ObserverStub(channel)
        self.peer = peer_pb2_grpc.PeerStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)
        self.reflect = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )


@contextmanager
def connect(server: Server) -> Iterator[Client]:
    """A client of `server`; raises CliError with exit code 3 when nobody answers."""
    channel = server.channel()
    try:
        yield Client(server, channel)
    except grpc.RpcError as error:
        raise translate(error, server.target) from error
    finally:
        channel.close()


def translate(error: grpc.RpcError, server: str) -> CliError:
    """The CliError for what gRPC raised."""
    code, details = error.code(), error.details() or "no details"
    if code is grpc.StatusCode.UNAVAILABLE:
        return UnreachableError(unreachable(server, details))
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return UnreachableError(f"{server} did not answer in time; look at `journalctl -u remora`")
    if code is grpc.StatusCode.UNKNOWN:
        return CliError(details)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return CliError(f"{server} does not offer this ({details}); it is another program or an older agent")
    return CliError(f"{server} refused: {code.name} {details}")


def unreachable(server: str, details: str) -> str:
    """Why nobody answers at `server`, and what to try."""
    path = socket_path(server)
    if path is None:
        return f"cannot reach an agent at {server} ({details}); check the address, or see --server and {ENVIRONMENT}"
    number = _probe(path)
    if number in (errno.EACCES, errno.EPERM):
        return f"permission denied on {path}; use sudo, or join the group remora: sudo usermod -aG remora $USER"
    if number == errno.ENOENT:
        return f"no agent listens at {path}; start one with `sudo remora agent` or `systemctl start remora`"
    if number == errno.ECONNREFUSED:
        return f"{path} is left over from an agent that is gone; start one with `systemctl start remora`"
    return f"the agent at {path} broke off ({details}); look at `journalctl -u remora`"


def socket_path(server: str) -> str | None:
    """The path of a `unix:` address, None for others."""
    return server.removeprefix("unix:").replace("///", "/", 1) if server.startswith("unix:") else None


def _probe(path: str) -> int:
    """errno of a connection to a unix socket, 0 when it is accepted."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except OSError as error:
            return error.errno or errno.EIO
    return 0
