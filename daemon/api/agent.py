"""The agent's own API, `remora.v1.Agent`: state, tables, questions about Services, raw records, flows by the batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from daemon.api import listings, records
from daemon.api.losses import LossLog
from daemon.api.observer import stream
from daemon.api.stream import BATCH
from daemon.api.view import AgentView
from daemon.flows.wire import Form
from daemon.proto import observer_pb2, remora_pb2, remora_pb2_grpc
from ebpf.errors import RemoraError

CHUNK = 1024 * 1024  # bytes of a report in one message


class AgentService(remora_pb2_grpc.AgentServicer):
    """`remora.v1.Agent`."""

    def __init__(self, view: AgentView, losses: LossLog) -> None:
        self._view = view
        self._losses = losses

    async def Status(self, request: remora_pb2.StatusRequest, context: Any) -> remora_pb2.StatusResponse:
        status = self._view.status()
        status.flows.CopyFrom(flow_state(self._view))
        return status

    async def ListServices(
        self, request: remora_pb2.ListServicesRequest, context: Any
    ) -> remora_pb2.ListServicesResponse:
        return remora_pb2.ListServicesResponse(services=self._view.services())

    async def GetService(self, request: remora_pb2.GetServiceRequest, context: Any) -> remora_pb2.GetServiceResponse:
        found = await self._view.service_details(request.name, request.namespace)
        return remora_pb2.GetServiceResponse(services=found)

    async def Explain(self, request: remora_pb2.ExplainRequest, context: Any) -> remora_pb2.ExplainResponse:
        try:
            return await self._view.explain(request)
        except (ValueError, KeyError) as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
            raise

    async def Verify(self, request: remora_pb2.VerifyRequest, context: Any) -> remora_pb2.VerifyResponse:
        try:
            return await self._view.verify()
        except RemoraError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
            raise

    async def ListPolicies(
        self, request: remora_pb2.ListPoliciesRequest, context: Any
    ) -> remora_pb2.ListPoliciesResponse:
        return await self._view.policies()

    async def ExplainPolicy(
        self, request: remora_pb2.ExplainPolicyRequest, context: Any
    ) -> remora_pb2.ExplainPolicyResponse:
        try:
            return await self._view.explain_policy(request)
        except ValueError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
            raise

    async def ListShield(self, request: remora_pb2.ListShieldRequest, context: Any) -> remora_pb2.ListShieldResponse:
        return await self._view.shield()

    async def ExplainShield(
        self, request: remora_pb2.ExplainShieldRequest, context: Any
    ) -> remora_pb2.ExplainShieldResponse:
        try:
            return await self._view.explain_shield(request)
        except ValueError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
            raise

    async def Unban(self, request: remora_pb2.UnbanRequest, context: Any) -> remora_pb2.UnbanResponse:
        if not context.local:
            words = "the API over TCP changes nothing; call `remora shield unban` on the node itself"
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, words)
        try:
            return await self._view.unban(request)
        except ValueError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
            raise

    async def ListEndpoints(
        self, request: remora_pb2.ListEndpointsRequest, context: Any
    ) -> remora_pb2.ListEndpointsResponse:
        inside = await self._view.inside()
        listed = listings.endpoints(self._view.directory, self._view.unreached(), inside)
        return remora_pb2.ListEndpointsResponse(endpoints=listed)

    async def ListIdentities(
        self, request: remora_pb2.ListIdentitiesRequest, context: Any
    ) -> remora_pb2.ListIdentitiesResponse:
        return remora_pb2.ListIdentitiesResponse(identities=listings.identities(self._view.directory))

    async def ListMaps(self, request: remora_pb2.ListMapsRequest, context: Any) -> remora_pb2.ListMapsResponse:
        return remora_pb2.ListMapsResponse(maps=self._view.maps())

    async def GetReport(self, request: remora_pb2.ReportRequest, context: Any) -> AsyncIterator[remora_pb2.ReportPart]:
        async for name, content in self._view.report(request.entries):
            for start in range(0, max(len(content), 1), CHUNK):
                yield remora_pb2.ReportPart(name=name, content=content[start : start + CHUNK])

    async def batches(self, request: observer_pb2.GetFlowsRequest, context: Any) -> AsyncIterator[list[bytes]]:
        """`GetFlowBatches`; see `daemon.api.server` for why its answers are bytes."""
        async for batch in stream(self._view, self._losses, request, context, Form.ITEM):
            yield [b"".join(batch)]

    async def Monitor(
        self, request: remora_pb2.MonitorRequest, context: Any
    ) -> AsyncIterator[remora_pb2.MonitorResponse]:
        store = self._view.store
        position = max(store.tail, store.head - request.last)
        stop = store.head
        while True:
            while position < stop:
                rows = store.read(position, min(position + BATCH, stop))
                told = [records.record(self._view, row, rows.start + index) for index, row in enumerate(rows.rows)]
                yield remora_pb2.MonitorResponse(records=told, lost=rows.start - position)
                position = rows.stop
                await asyncio.sleep(0)
            if request.stored_only:
                return
            await store.wait(position)
            stop = store.head


def flow_state(view: AgentView) -> remora_pb2.FlowState:
    """How full the flow store is."""
    store = view.store
    state = remora_pb2.FlowState(
        stored=len(store),
        capacity=store.capacity,
        seen=store.seen,
        rate=store.rate(),
        followers=store.followers,
    )
    oldest = store.read(store.tail, store.tail + 1).rows
    if len(oldest):
        state.oldest.FromNanoseconds(view.clock.wall_ns(int(oldest["time"][0])))
    return state
