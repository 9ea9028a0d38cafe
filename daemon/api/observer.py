"""The observer API: flows and the state of their store, as Hubble's clients expect them.

Errors follow Hubble too: a filter that cannot be read fails with code UNKNOWN
and its bare text, because that is what makes the CLI print it cleanly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from daemon.api.losses import LossLog
from daemon.api.namespaces import SeenNamespaces
from daemon.api.stream import FlowStream, parse
from daemon.api.view import AgentView
from daemon.flows.wire import Form
from daemon.proto import observer_pb2, observer_pb2_grpc

FIRST_AND_FOLLOW = "first cannot be specified with follow"


async def stream(
    view: AgentView, losses: LossLog, request: observer_pb2.GetFlowsRequest, context: Any, form: Form
) -> AsyncIterator[list[bytes]]:
    """The batches that answer a request; ends the call with an error for a request that makes no sense."""
    if request.first and request.follow:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, FIRST_AND_FOLLOW)
    try:
        query = parse(view, request)
    except ValueError as error:
        await context.abort(grpc.StatusCode.UNKNOWN, str(error))
        return
    await announce(view, context)
    async for batch in FlowStream(view, losses, query, form).batches():
        yield batch


async def announce(view: AgentView, context: Any) -> None:
    """Send the version header that Hubble's CLI compares with its own."""
    await context.send_initial_metadata((("hubble-server-version", view.version),))


class ObserverService(observer_pb2_grpc.ObserverServicer):
    """`observer.Observer` for one host; what only aggregators can answer is refused as Hubble's agent does."""

    def __init__(self, view: AgentView, losses: LossLog, namespaces: SeenNamespaces) -> None:
        self._view = view
        self._losses = losses
        self._namespaces = namespaces

    def flows(self, request: observer_pb2.GetFlowsRequest, context: Any) -> AsyncIterator[list[bytes]]:
        """`GetFlows`; see `daemon.api.server` for why its answers are bytes."""
        return stream(self._view, self._losses, request, context, Form.RESPONSE)

    async def GetAgentEvents(
        self, request: observer_pb2.GetAgentEventsRequest, context: Any
    ) -> AsyncIterator[observer_pb2.GetAgentEventsResponse]:
        if request.first and request.follow:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, FIRST_AND_FOLLOW)
        await announce(self._view, context)
        async for one in self._view.events.stream(request):
            answer = observer_pb2.GetAgentEventsResponse(agent_event=one.event, node_name=self._view.builder.node_name)
            answer.time.FromNanoseconds(one.time)
            yield answer

    async def GetDebugEvents(
        self, request: observer_pb2.GetDebugEventsRequest, context: Any
    ) -> AsyncIterator[observer_pb2.GetDebugEventsResponse]:
        """The datapath writes none of the messages that Hubble's calls so: the stream is empty, and stays open."""
        if request.first and request.follow:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, FIRST_AND_FOLLOW)
        await announce(self._view, context)
        if request.follow:
            await asyncio.Event().wait()
        for _ in ():
            yield observer_pb2.GetDebugEventsResponse()

    async def GetNodes(self, request: observer_pb2.GetNodesRequest, context: Any) -> observer_pb2.GetNodesResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "GetNodes not implemented")
        return observer_pb2.GetNodesResponse()

    async def GetNamespaces(
        self, request: observer_pb2.GetNamespacesRequest, context: Any
    ) -> observer_pb2.GetNamespacesResponse:
        await announce(self._view, context)
        names = self._namespaces.names()
        cluster = _cluster(self._view.builder.node_name)
        entries = [observer_pb2.Namespace(cluster=cluster, namespace=name) for name in names]
        return observer_pb2.GetNamespacesResponse(namespaces=entries)

    async def ServerStatus(
        self, request: observer_pb2.ServerStatusRequest, context: Any
    ) -> observer_pb2.ServerStatusResponse:
        await announce(self._view, context)
        store = self._view.store
        return observer_pb2.ServerStatusResponse(
            num_flows=len(store),
            max_flows=store.capacity,
            seen_flows=store.seen,
            uptime_ns=self._view.uptime_ns(),
            version=f"remora v{self._view.version}",
            flows_rate=store.rate(),
        )


def _cluster(node_name: str) -> str:
    """The cluster in a node's name; nodes without one belong to the cluster `default`."""
    cluster, slash, _ = node_name.partition("/")
    return cluster if slash else "default"
