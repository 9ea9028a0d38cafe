"""gRPC's health service. `hubble status` refuses to go on unless it answers for `hubble.server.Observer`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from daemon.proto import health_pb2, health_pb2_grpc

SERVICES = frozenset({"", "hubble.server.Observer", "observer.Observer", "peer.Peer", "remora.v1.Agent"})

_SERVING = health_pb2.HealthCheckResponse.SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class HealthService(health_pb2_grpc.HealthServicer):
    """Serving for as long as the server runs: the server is stopped as a whole."""

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        if request.service not in SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service!r}")
        return health_pb2.HealthCheckResponse(status=_SERVING)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        yield health_pb2.HealthCheckResponse(status=_SERVING if request.service in SERVICES else _UNKNOWN)
        await asyncio.Event().wait()
