"""What the API must be able to ask of the agent, and nothing more.

The server depends on this protocol and not on the agent, so it can be tested
over a store filled by hand, and the agent may change inside as it likes. All
members are used in the asyncio loop and must not block; what has to read much is a
coroutine and does so elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

from daemon.api.events import EventLog
from daemon.flows.builder import FlowBuilder
from daemon.flows.clock import Clock
from daemon.flows.store import FlowStore
from daemon.model import Directory
from daemon.proto import remora_pb2


class AgentView(Protocol):
    """The agent, as the API sees it."""

    @property
    def store(self) -> FlowStore:
        """The flow records that are kept."""
        ...

    @property
    def builder(self) -> FlowBuilder:
        """Turns records into flows."""
        ...

    @property
    def directory(self) -> Directory:
        """Names for numbers."""
        ...

    @property
    def events(self) -> EventLog:
        """What the agent did lately."""
        ...

    @property
    def clock(self) -> Clock:
        """Kernel time to wall time."""
        ...

    @property
    def version(self) -> str:
        """Version of the agent, without a leading v."""
        ...

    def uptime_ns(self) -> int:
        """Nanoseconds since the agent's start."""
        ...

    def status(self) -> remora_pb2.StatusResponse:
        """The whole state; `flows` is filled in by the API."""
        ...

    def services(self) -> Sequence[remora_pb2.Service]:
        """Frontends and backends as programmed in the kernel."""
        ...

    async def service_details(self, name: str, namespace: str) -> Sequence[remora_pb2.ServiceDetail]:
        """The Services of that name, closely; "" as namespace: in any."""
        ...

    async def explain(self, request: remora_pb2.ExplainRequest) -> remora_pb2.ExplainResponse:
        """Where traffic to an address goes; raises ValueError for what cannot be understood."""
        ...

    async def policies(self) -> remora_pb2.ListPoliciesResponse:
        """Policies in force, their rules with hits, and whom they bind here."""
        ...

    async def explain_policy(self, request: remora_pb2.ExplainPolicyRequest) -> remora_pb2.ExplainPolicyResponse:
        """What policies say of a connection; raises ValueError for what cannot be understood."""
        ...

    async def shield(self) -> remora_pb2.ListShieldResponse:
        """Rules of the shield with what they decided, and bans."""
        ...

    async def explain_shield(self, request: remora_pb2.ExplainShieldRequest) -> remora_pb2.ExplainShieldResponse:
        """What the shield makes of a source; raises ValueError for what is no address."""
        ...

    async def unban(self, request: remora_pb2.UnbanRequest) -> remora_pb2.UnbanResponse:
        """Let a banned source in again; raises ValueError for what is no address."""
        ...

    async def verify(self) -> remora_pb2.VerifyResponse:
        """The kernel's maps against the objects; raises RemoraError where a map cannot be read."""
        ...

    def report(self, entries: int) -> AsyncIterator[tuple[str, bytes]]:
        """Files for a report of a problem, name and content; maps with that many entries."""
        ...

    def unreached(self) -> Collection[tuple[str, str]]:
        """Namespace and name of this host's pods that none of its devices leads to."""
        ...

    async def inside(self) -> Mapping[int, remora_pb2.Inside]:
        """Network namespace and processes behind each workload's device, by the device's number."""
        ...

    def maps(self) -> Sequence[remora_pb2.Map]:
        """Kernel maps and how full they are."""
        ...

    def kernel_lost(self) -> Mapping[int, int]:
        """Flow records that found the ring buffer full since the agent's start, by CPU; only ever grows."""
        ...
