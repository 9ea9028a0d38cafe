"""What an operator asks about Services, answered: one closely, the way of an address, and whether the maps are right.

Each answer is made in a thread of its own, from values that nobody changes; whether the maps of Services were written
while they were read is asked of the thread that writes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from daemon.agent import live
from daemon.agent.affinity import Stay, clients_of, stays, told
from daemon.agent.explain import Explanation, Question, explain
from daemon.agent.policies_explain import Asked as PolicyQuestion
from daemon.agent.policies_view import listed
from daemon.agent.services_view import POLICIES, detail, endpoint, frontend, named, ports_of
from daemon.agent.shield_view import ShieldView
from daemon.agent.verify import Promised, Report, verify
from daemon.agent.wording import PROTOCOLS
from daemon.endpoints import Devices
from daemon.model import HOST, Directory, Node, Workload
from daemon.proto import remora_pb2 as pb
from daemon.services import Applied, ServicePortEntry, ServiceTable, compile_services

if TYPE_CHECKING:
    from daemon.agent.agent import Agent

UNDISTURBED_TRIES = 5  # verifications that a write may disturb until the writer is stopped for one
OUTSIDE = "outside"
"""Asks in the name of a client beyond the uplinks."""

_NUMBERS = {word: number for number, word in PROTOCOLS.items()}


class Operate:
    """Answers for one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._shield = ShieldView(agent.programmer)

    async def services(self, name: str, namespace: str) -> list[pb.ServiceDetail]:
        """The Services of that name, with live connections; "" as namespace: in any."""
        programmer = self._agent.programmer
        return await asyncio.to_thread(self._details, programmer.table, programmer.applied, name, namespace)

    async def explain(self, request: pb.ExplainRequest) -> pb.ExplainResponse:
        """The way of an address; raises ValueError for an address or a workload that cannot be understood."""
        agent = self._agent
        left = agent.programmer.packet_path.pods
        asked = Asked(request, agent.programmer.table, agent.devices, agent.directory, self._stays, left)
        return await asyncio.to_thread(asked.answer)

    async def policies(self) -> pb.ListPoliciesResponse:
        """Policies in force, their rules with hits, and whom they bind here."""
        programmer, snapshot = self._agent.programmer, self._agent.source.snapshot
        hits = programmer.datapath.rule_hits
        return await programmer.read(lambda: listed(programmer.policies, snapshot, hits.totals()))

    async def explain_policy(self, request: pb.ExplainPolicyRequest) -> pb.ExplainPolicyResponse:
        """What policies say of a connection; raises ValueError for what cannot be understood."""
        agent = self._agent
        nodes = frozenset(agent.devices.node_addresses)
        asked = PolicyQuestion(request, agent.programmer.policies, agent.directory, nodes)
        return await agent.programmer.read(asked.answer)

    async def shield(self) -> pb.ListShieldResponse:
        """Rules of the shield with what they decided, and bans; raises KernelError."""
        return await self._agent.programmer.read(self._shield.listed)

    async def explain_shield(self, request: pb.ExplainShieldRequest) -> pb.ExplainShieldResponse:
        """What the shield makes of a source; raises ValueError for what is no address."""
        return await self._agent.programmer.read(partial(self._shield.explain, request))

    async def unban(self, request: pb.UnbanRequest) -> pb.UnbanResponse:
        """Let a banned source in again; raises ValueError for what is no address."""
        return await self._agent.programmer.read(partial(self._shield.unban, request))

    def _stays(self, entry: ServicePortEntry) -> dict[int, Stay]:
        programmer = self._agent.programmer
        number = next((one.number for one in programmer.applied if one.entry.key == entry.key), 0)
        return stays(programmer.datapath.maps["affinities"], number, entry)

    async def verify(self) -> pb.VerifyResponse:
        """The kernel's maps against the objects; raises KernelError where a map cannot be read."""
        report = await self._report()
        return pb.VerifyResponse(
            differences=[
                pb.Difference(
                    kind=one.kind,
                    map=one.map,
                    place=one.place,
                    service=one.service,
                    wanted=one.wanted,
                    found=one.found,
                )
                for one in report.differences
            ],
            frontends=report.frontends,
            slots=report.slots,
        )

    async def _report(self) -> Report:
        """What was found while nothing was written; where writes never pause, the writer is stopped for it."""
        programmer = self._agent.programmer
        for _ in range(UNDISTURBED_TRIES):
            promised = await programmer.read(programmer.promised)
            report = await asyncio.to_thread(self._compare, promised)
            if await programmer.read(lambda: programmer.promised().written) == promised.written:
                return report
        return await programmer.read(lambda: self._compare(programmer.promised()))

    def _compare(self, promised: Promised) -> Report:
        maps = self._agent.programmer.datapath.maps
        with ExitStack() as stack:
            names = ("services", "backends", "source_ranges")
            services, backends, ranges = (stack.enter_context(maps[name].beside()) for name in names)
            return verify(services, backends, ranges, promised)

    def _details(
        self, table: ServiceTable, applied: Sequence[Applied], name: str, namespace: str
    ) -> list[pb.ServiceDetail]:
        found = [(service, ports_of(service, applied)) for service in named(table, name, namespace)]
        numbers = {port.number for _, ports in found for port in ports}
        maps = self._agent.programmer.datapath.maps
        with maps["connections"].beside() as connections, maps["detours"].beside() as detours:
            counted = live.count(connections.chunks(), numbers, detours.lookup)
        with maps["translations"].beside() as outside:
            counted += live.count_outside(outside.chunks(), numbers)
        algorithm = self._agent.programmer.spreading.algorithm
        return [
            detail(service, ports, table, counted, self._agent.directory, algorithm(service))
            for service, ports in found
        ]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to explain, and all that it takes to answer it."""

    request: pb.ExplainRequest
    table: ServiceTable
    devices: Devices
    directory: Directory
    stays: Callable[[ServicePortEntry], Mapping[int, Stay]]
    per_packet: frozenset[tuple[str, str]] = frozenset()

    def answer(self) -> pb.ExplainResponse:
        """The explanation; raises ValueError."""
        caller = self._caller()
        node = self._node_of(caller) if caller else self.table.node
        table, own, notes = self.table, self.devices.node_addresses, []
        if node != self.table.node:
            table, own = compile_services(self.table.workings.snapshot, node), frozenset()
            notes.append(
                f"asked from node {node.name} in zone {node.zone or 'unknown'}: its own addresses are not known here, "
                "so its node ports are not told"
            )
        outside = self.request.workload == OUTSIDE
        question = Question(
            ip_address(self.request.address),
            self.request.port,
            _NUMBERS[self.request.protocol],
            in_node=not outside and (caller is None or caller.id == HOST.id),
            outside=outside,
        )
        found = explain(question, table, own)
        notes += self._about(caller)
        if node == self.table.node:
            notes += self._affinity(found, caller)
        return self._response(found, node, notes)

    def _affinity(self, found: Explanation, caller: Workload | None) -> list[str]:
        entry = self.table.frontends[found.place] if found.key and found.place else None
        if entry is None or not entry.affinity:
            return []
        clients = clients_of(caller, self.devices) if caller else ()
        return told(self.stays(entry), caller, clients)

    def _caller(self) -> Workload | None:
        """The workload that asks; None where any of this node may, or somebody outside does."""
        wanted = self.request.workload
        if wanted in ("", OUTSIDE):
            return None
        known = self.directory.workloads()
        found = [one for one in known if wanted in (one.name, f"{one.namespace}/{one.name}")]
        if not found:
            words = f"no workload {wanted}; `remora endpoint list` names them"
            raise ValueError(f"{words}, `host` is this node, and `{OUTSIDE}` what is beyond its uplinks")
        if len(found) > 1:
            names = ", ".join(f"{one.namespace}/{one.name}" for one in found)
            raise ValueError(f"{wanted} may be {names}; name one of them")
        return found[0]

    def _node_of(self, caller: Workload) -> Node:
        """The node that a workload runs on: ours where it has a device here, or nobody says otherwise."""
        if caller.ifindex or caller.id == HOST.id:
            return self.table.node
        snapshot = self.table.workings.snapshot
        named = [
            pod.spec.node_name for pod in snapshot.pods if (pod.namespace, pod.name) == (caller.namespace, caller.name)
        ]
        if not any(named) or named[0] == self.table.node.name:
            return self.table.node
        zones = (
            one.zone for slice_ in snapshot.slices for one in slice_.endpoints if one.node_name == named[0] and one.zone
        )
        return Node(named[0], next(zones, ""))

    def _about(self, caller: Workload | None) -> list[str]:
        if caller is None or caller.id == HOST.id:
            return []
        if (caller.namespace, caller.name) in self.per_packet:
            return [
                f"{caller.namespace}/{caller.name} is translated per packet, at {caller.device}: not at its sockets"
            ]
        if caller.ifindex:
            return []
        return [f"{caller.namespace}/{caller.name} has no device on this node: the agent of its own node steers it"]

    def _response(self, found: Explanation, node: Node, notes: list[str]) -> pb.ExplainResponse:
        key = found.key
        told = pb.ExplainResponse(
            rule=found.rule.value,
            verdict=found.verdict.value,
            words=found.words,
            policy=POLICIES[key.scope] if key else "",
            eligible=[endpoint(one, one.record, self.directory) for one in found.seen if not one.reasons],
            others=[endpoint(one, one.record, self.directory) for one in found.seen if one.reasons],
            notes=[*found.notes, *notes],
            node=node.name,
        )
        if key:
            told.namespace, told.name, told.port_name = key.name.namespace, key.name.name, key.name.port_name
        if found.place and found.flags is not None:
            told.frontend.CopyFrom(frontend(found.place, found.flags))
        return told
