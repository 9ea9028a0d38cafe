"""An agent without a kernel: a real server on a real socket, over a store that the test fills by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np

from daemon.api import ApiServer, EventLog
from daemon.flows.builder import FlowBuilder
from daemon.flows.clock import Clock
from daemon.flows.l7 import HttpMessage, L7Message
from daemon.flows.store import FlowStore
from daemon.model import Directory, Identity, Owner, ServiceName, Workload, WorkloadId
from daemon.proto import remora_pb2
from ebpf import addresses
from ebpf.constants import Direction, EventKind, Point, Verdict
from ebpf.errors import KernelError
from tests.support.layouts import dtype

FRONTEND, BACKEND = "10.0.1.1", "10.0.1.2"
SECOND = 1_000_000_000
START_WALL = 1_700_000_000 * SECOND
"""Wall time of the kernel's time 0 in these tests."""


class FakeView:
    """An AgentView over plain values."""

    def __init__(self, capacity: int = 4_096) -> None:
        self.now = 0
        self.lost: dict[int, int] = {}
        self.state = remora_pb2.StatusResponse(health=remora_pb2.HEALTH_OK, version="1.2.3", node="node-1")
        self.clock = Clock(monotonic=lambda: self.now, wall=lambda: START_WALL + self.now)
        self.directory = directory()
        self.store = FlowStore(dtype("flow_event"), capacity)
        self.builder = FlowBuilder(self.directory, "node-1", self.clock, version="1.2.3")
        self.version = "1.2.3"
        self.detail = remora_pb2.ServiceDetail(namespace="shop", name="backend", type="ClusterIP", algorithm="random")
        self.explanation = remora_pb2.ExplainResponse(rule="none", verdict="untouched", words="nothing is there")
        self.verified = remora_pb2.VerifyResponse(frontends=2, slots=1)
        self.enforced = remora_pb2.ListPoliciesResponse()
        self.shielded = remora_pb2.ListShieldResponse()
        self.policy_answer = remora_pb2.ExplainPolicyResponse(passes=True)
        self.broken = False
        self.log = b"a line\n"
        self.events = EventLog()

    def uptime_ns(self) -> int:
        return 90 * SECOND

    def status(self) -> remora_pb2.StatusResponse:
        return self.state

    def services(self) -> Sequence[remora_pb2.Service]:
        backend = remora_pb2.Backend(address=BACKEND, port=8080, workload="shop/backend-1")
        named = {"namespace": "shop", "name": "backend", "port_name": "http", "type": "ClusterIP"}
        return [
            remora_pb2.Service(number=7, address="10.96.0.10", port=80, protocol="TCP", backends=[backend], **named),
            remora_pb2.Service(number=8, address="fd00::10", port=80, protocol="TCP", **named),
        ]

    async def service_details(self, name: str, namespace: str) -> Sequence[remora_pb2.ServiceDetail]:
        known = (self.detail.namespace, self.detail.name)
        return [self.detail] if known in ((namespace, name), (namespace or "shop", name)) else []

    async def explain(self, request: remora_pb2.ExplainRequest) -> remora_pb2.ExplainResponse:
        if request.workload == "nobody":
            raise ValueError("no workload nobody; `remora endpoint list` names them")
        self.asked = request
        return self.explanation

    async def policies(self) -> remora_pb2.ListPoliciesResponse:
        return self.enforced

    async def explain_policy(self, request: remora_pb2.ExplainPolicyRequest) -> remora_pb2.ExplainPolicyResponse:
        if request.source == "nobody":
            raise ValueError("no workload is called 'nobody'; `remora endpoint list` names them")
        return self.policy_answer

    async def shield(self) -> remora_pb2.ListShieldResponse:
        return self.shielded

    async def explain_shield(self, request: remora_pb2.ExplainShieldRequest) -> remora_pb2.ExplainShieldResponse:
        return remora_pb2.ExplainShieldResponse(
            address=request.address, verdict="pass", words=f"{request.address} passes"
        )

    async def unban(self, request: remora_pb2.UnbanRequest) -> remora_pb2.UnbanResponse:
        found = [one for one in self.shielded.bans if one.address == request.address]
        return remora_pb2.UnbanResponse(ban=found[0]) if found else remora_pb2.UnbanResponse()

    async def verify(self) -> remora_pb2.VerifyResponse:
        if self.broken:
            raise KernelError("cannot read map services", 12)
        return self.verified

    async def report(self, entries: int) -> AsyncIterator[tuple[str, bytes]]:
        yield "log.jsonl", self.log
        yield "maps/services.jsonl", b"entry\n" * entries

    def unreached(self) -> Collection[tuple[str, str]]:
        return set()

    async def inside(self) -> Mapping[int, remora_pb2.Inside]:
        occupant = remora_pb2.Occupant(pid=1200, comm="server", container="0123456789abcdef" * 4)
        return {16: remora_pb2.Inside(netns="frontend", occupants=[occupant])}

    def maps(self) -> Sequence[remora_pb2.Map]:
        return [
            remora_pb2.Map(name="services", type="hash", entries=2, max_entries=65_536, purpose="frontend to service"),
            remora_pb2.Map(name="flows", type="ringbuf", max_entries=1 << 24, uncounted=True, purpose="flow records"),
        ]

    def kernel_lost(self) -> Mapping[int, int]:
        return self.lost


def directory() -> Directory:
    """shop/frontend, shop/backend-1 and Service shop/backend."""
    known = Directory()
    known.update_workloads((_workload(16, 300, "frontend", FRONTEND), _workload(17, 301, "backend-1", BACKEND)))
    known.update_services({7: ServiceName("shop", "backend", "http")}, {})
    return known


def _workload(number: int, identity: int, name: str, address: str) -> Workload:
    return Workload(
        WorkloadId(number),
        Identity(identity),
        "shop",
        name,
        (f"k8s:app={name}", "k8s:io.kubernetes.pod.namespace=shop"),
        (Owner(name, "Deployment"),),
        (ip_address(address),),
        ifindex=number,
        device=f"veth{number}",
    )


def rows(count: int, start: int = 0, **columns: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """`count` records of shop/frontend to shop/backend-1, one a second from second `start` on.

    Source ports are 40000 plus the record's second, so that a test can tell which records it got.
    """
    made = np.zeros(count, dtype("flow_event"))
    seconds = np.arange(start, start + count)
    made["time"] = seconds * SECOND
    made["src"] = np.frombuffer(addresses.pack(FRONTEND), np.uint32)
    made["dst"] = np.frombuffer(addresses.pack(BACKEND), np.uint32)
    made["src_workload"], made["dst_workload"], made["ifindex"] = 16, 17, 17
    made["src_port"], made["dst_port"] = 40_000 + seconds, 8_080
    made["family"], made["proto"], made["tcp_flags"] = 4, 6, 2
    made["kind"], made["verdict"] = EventKind.NEW, Verdict.FORWARDED
    made["point"], made["direction"] = Point.TO_ENDPOINT, Direction.INGRESS
    for name, value in columns.items():
        made[name] = value
    return made


def add_message(view: FakeView, message: L7Message, at: int, reply: bool = False) -> None:
    """Append the record of an application message."""
    reference = view.store.messages.put(message)
    row = rows(1, at, kind=EventKind.L7, l7=reference, reply=reply, tcp_flags=24)
    if reply:
        for one, other in (("src", "dst"), ("src_workload", "dst_workload"), ("src_port", "dst_port")):
            row[one], row[other] = row[other].copy(), row[one].copy()
    view.store.append(row)


REQUEST = HttpMessage("GET", "http://backend/api/users", "HTTP/1.1", host="backend")
RESPONSE = HttpMessage("GET", "http://backend/api/users", "HTTP/1.1", 200, host="backend", latency_ns=325_400_000)


@contextmanager
def serving(view: FakeView, folder: Path, *reached: Any) -> Iterator[ApiServer]:
    """A server over `view`, running in a thread of its own; `reached`: its listener and what its peers are told."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="test-api")
    thread.start()
    server = ApiServer(view, folder / "remora.sock", *reached)
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextmanager
def served(view: FakeView, folder: Path) -> Iterator[str]:
    """The address of a server over `view`."""
    with serving(view, folder) as server:
        yield f"unix://{server.path}"
