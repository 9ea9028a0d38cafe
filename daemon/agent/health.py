"""Is this node's proxy well? Answered as kube-proxy does, for the load balancers and monitors that ask it already.

What counts is the oldest change that is not in the kernel yet: while there is none, or a young one, the node is
healthy, however long nothing has happened. A Service whose balancer asks each node for local endpoints
(`healthCheckNodePort`) gets a port of its own that says how many are here.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

from daemon.agent.answerer import NOT_FOUND, Answer, Answerer
from ebpf.errors import RemoraError

log = logging.getLogger(__name__)

TIMEOUT = 60.0  # s that a change may wait for the kernel; kube-proxy's: twice its period of syncing
MODE = "ebpf"  # what kube-proxy's /proxyMode is answered with


@dataclass
class Health:
    """Whether changes reach the kernel. `checks` counts the answers by path and status code."""

    timeout: float = TIMEOUT
    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    eligible: bool = True
    """load balancers may send traffic here: the node is not about to be deleted"""
    synced_at: float = 0.0  # s since the epoch; 0: never
    queued_at: float = 0.0  # s since the epoch, of the last change; 0: none
    checks: Counter[tuple[str, int]] = field(default_factory=Counter)
    _pending: float | None = None
    _latest: float = 0.0

    def queued(self) -> None:
        """There is a change that the kernel does not have yet."""
        self.queued_at, self._latest = self.wall(), self.now()
        if self._pending is None:
            self._pending = self._latest

    def synced(self, taken: float) -> None:
        """The kernel has every change that was queued up to `taken` (clock of `now`)."""
        self.synced_at = self.wall()
        self._pending = self._latest if self._latest > taken else None

    @property
    def healthy(self) -> bool:
        """No change has been waiting longer than the timeout."""
        return self._pending is None or self.now() - self._pending < self.timeout

    def answer(self, path: str) -> Answer:
        """/healthz and /livez; they differ in that a node about to be deleted is alive but no target (KEP-3836)."""
        if path not in ("/healthz", "/livez"):
            return NOT_FOUND
        well = self.healthy and (self.eligible or path == "/livez")
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        self.checks[path.lstrip("/"), status.value] += 1
        current = self.wall()
        told: dict[str, object] = {
            "lastUpdated": _time(current if self.healthy else self.synced_at),
            "currentTime": _time(current),
        }
        if path == "/healthz":
            told["nodeEligible"] = self.eligible
        return Answer(json.dumps({**told, "healthy": well}), status)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def mode(path: str) -> Answer:
    """/proxyMode of kube-proxy's metrics port."""
    return Answer(MODE, kind="text/plain; charset=utf-8") if path == "/proxyMode" else NOT_FOUND


async def serve(stack: AsyncExitStack, address: str, setting: str, answer: Callable[[str], Answer]) -> None:
    """Listen on `host:port` until the stack ends; nothing for "". Raises RemoraError, naming the setting."""
    if not address:
        return
    host, _, port = address.rpartition(":")
    server = Answerer(answer)
    try:
        await server.start(host.strip("[]") or None, int(port))
    except (OSError, ValueError) as error:
        hint = f"free it, or name another with {setting} in the settings"
        raise RemoraError(f"cannot listen on {address}: {error}", hint) from error
    stack.push_async_callback(server.stop)


@dataclass(frozen=True, slots=True)
class LocalEndpoints:
    """How many endpoints of a Service are ready on this node, by address."""

    namespace: str
    name: str
    count: int


class HealthPorts:
    """The health check node ports. `failures` are ports that could not be listened on, with the reason."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._wanted: Mapping[int, LocalEndpoints] = {}
        self._servers: dict[int, Answerer] = {}
        self.failures: dict[int, str] = {}

    async def update(self, wanted: Mapping[int, LocalEndpoints]) -> None:
        """Listen on these ports, on all addresses, and on no other; what failed before is tried again."""
        self._wanted = wanted
        for port in self._servers.keys() - wanted.keys():
            await self._servers.pop(port).stop()
        self.failures = {}
        for port in wanted.keys() - self._servers.keys():
            await self._listen(port)

    async def _listen(self, port: int) -> None:
        server = Answerer(partial(self._answer, port))
        try:
            await server.start(None, port)
        except OSError as error:
            one = self._wanted[port]
            self.failures[port] = f"health check port {port} of {one.namespace}/{one.name}: {error.strerror or error}"
            log.error("%s", self.failures[port])
            return
        self._servers[port] = server

    async def stop(self) -> None:
        """Stop listening."""
        await self.update({})

    def _answer(self, port: int, _: str) -> Answer:
        one, healthy = self._wanted[port], self._health.healthy
        told = {
            "service": {"namespace": one.namespace, "name": one.name},
            "localEndpoints": one.count,
            "serviceProxyHealthy": healthy,
        }
        status = HTTPStatus.OK if one.count and healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(json.dumps(told), status, headers=(("X-Load-Balancing-Endpoint-Weight", str(one.count)),))
