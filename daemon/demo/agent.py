"""The demo's side of the agent: how it and the CLI are started, when it is ready, and what it saw."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType

import grpc

from daemon.demo.stage import DemoError
from daemon.proto import flow_pb2, observer_pb2, observer_pb2_grpc, remora_pb2, remora_pb2_grpc

# Programs of ours are found where this one was, also in a tree that is not installed.
PACKAGES = {"PYTHONPATH": str(Path(__file__).parents[2])}
_ALL = 2**64 - 1
_TIMEOUT = 5.0  # s for an answer


def command(*arguments: str) -> list[str]:
    """The command line of `remora …`."""
    return [sys.executable, "-P", "-m", "daemon.cli.main", *arguments]


class AgentClient:
    """A context manager: a channel to one agent."""

    def __init__(self, server: str) -> None:
        self._channel = grpc.insecure_channel(server, options=[("grpc.enable_http_proxy", 0)])
        self._agent = remora_pb2_grpc.AgentStub(self._channel)
        self._observer = observer_pb2_grpc.ObserverStub(self._channel)

    def __enter__(self) -> AgentClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._channel.close()

    def knows(self, workloads: int) -> bool:
        """Whether the agent answers, and has found so many workloads and a Service."""
        try:
            endpoints = self._agent.ListEndpoints(remora_pb2.ListEndpointsRequest(), timeout=_TIMEOUT)
            services = self._agent.ListServices(remora_pb2.ListServicesRequest(), timeout=_TIMEOUT)
        except grpc.RpcError:
            return False
        pods = sum(bool(endpoint.namespace and endpoint.ifindex) for endpoint in endpoints.endpoints)
        return pods >= workloads and bool(services.services)

    def followed(self) -> bool:
        """Whether somebody follows the flows."""
        with _answered():
            status = self._agent.Status(remora_pb2.StatusRequest(), timeout=_TIMEOUT)
        return bool(status.flows.followers)

    def flows(self, since: datetime) -> list[flow_pb2.Flow]:
        """All flows since then, oldest first."""
        request = observer_pb2.GetFlowsRequest(number=_ALL)
        request.since.FromDatetime(since)
        with _answered():
            responses = list(self._observer.GetFlows(request, timeout=_TIMEOUT))
        return [response.flow for response in responses if response.WhichOneof("response_types") == "flow"]


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise DemoError(f"the agent no longer answers: {error.code().name} {error.details()}") from error
