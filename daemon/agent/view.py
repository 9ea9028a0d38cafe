"""The agent as the API sees it: its state in the API's words, ready to be asked at any moment.

Nothing here blocks: fills of maps are those of the last reading or writing, and
counters are a few hundred look-ups.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import Histogram

from daemon.agent import counters
from daemon.agent.operate import Operate
from daemon.agent.report import Reporter
from daemon.agent.services_view import services
from daemon.agent.shield_view import hits_of
from daemon.agent.subsystems import Subsystems
from daemon.agent.unreached import unreached
from daemon.api import EventLog
from daemon.flows.builder import FlowBuilder
from daemon.flows.clock import Clock
from daemon.flows.pipeline import FlowPipeline, PipelineStats
from daemon.flows.store import FlowStore
from daemon.model import Directory
from daemon.model.snapshot import Problem, Severity
from daemon.proto import remora_pb2 as pb
from daemon.shield.rules import Rule
from ebpf.constants import Counter
from ebpf.libbpf import MapType, ProgramInfo, program_info

if TYPE_CHECKING:
    from daemon.agent.agent import Agent
    from daemon.agent.reader import Reader

PURPOSES = {
    "services": "frontend address to service",
    "backends": "service and slot to backend address",
    "affinities": "client and service to the backend it stays with",
    "packet_clients": "workloads that are left to the per-packet path",
    "node": "what the programs must know of the node",
    "addresses": "address to workload and identity",
    "connections": "connection to its totals",
    "detours": "connection to a frontend to the backend its packets get",
    "fragments": "first fragment to ports",
    "translations": "direction of a connection from outside to what its packets get",
    "uplinks": "device to the node's addresses on it, and where XDP runs",
    "maglevs": "Service to its Maglev table and list",
    "maglev_rows": "Maglev table and row to indices of backends",
    "maglev_backends": "Maglev list and index to backend",
    "source_ranges": "Service and prefix that may reach its load balancer addresses",
    "owners": "connection to process and service",
    "sockets": "socket to owner and translation",
    "reverses": "UDP socket and backend to frontend",
    "policy_state": "which state of the policy maps is in force",
    "guards": "workload's device to its rulesets",
    "classes": "address to policy class",
    "networks": "network to policy class",
    "rulesets": "ruleset to what holds where no entry matches",
    "policies": "ruleset, class, protocol and port to rule",
    "rule_hits": "rule to packets that it decided, one set per CPU",
    "denials": "denied connection to when that was last told",
    "shield_config": "what the shield does",
    "shield_blocks": "IPv4 addresses by hash to what the shield's lists say of them, first side",
    "shield_blocks_second": "the same, second side",
    "shield_addresses": "address in no block to what the shield's lists say of it, first side",
    "shield_addresses_second": "the same, second side",
    "shield_networks4": "IPv4 network to what the shield's lists say of it, first side",
    "shield_networks4_second": "the same, second side",
    "shield_networks6": "IPv6 network to what the shield's lists say of it, first side",
    "shield_networks6_second": "the same, second side",
    "shield_limits": "limits of the shield",
    "shield_buckets": "limit and source to what it has left",
    "shield_bans": "source to the end of its ban",
    "shield_offences": "source to its packets that limits dropped",
    "shield_syns": "destination to the SYNs that came for it",
    "shield_proven": "source that has proven itself to until when",
    "shield_fragments": "datagram in fragments to what was seen of it",
    "shield_hits": "rule of the shield to what it decided, one set per CPU",
    "wire_next": "the program behind the shield",
    "counters": "datapath counters, one set per CPU",
    "kernel_drops": "packets dropped by the kernel, by its reason",
    "flows": "flow records on their way to the agent (bytes)",
    "payloads": "DNS and HTTP heads on their way to the agent (bytes)",
}
_SCRATCH = "_scratch"


def agent_version() -> str:
    """Version of the installed package; `0` where it runs from a bare folder."""
    try:
        return version("remora")
    except PackageNotFoundError:
        return "0"


class View:
    """Implements daemon.api.AgentView."""

    def __init__(
        self, agent: Agent, store: FlowStore, builder: FlowBuilder, pipeline: FlowPipeline, reader: Reader
    ) -> None:
        self._agent = agent
        self._datapath = agent.programmer.datapath
        self._pipeline = pipeline
        self._reader = reader
        self._started = time.monotonic_ns()
        self._store, self._builder = store, builder
        self._operate = Operate(agent)
        self._subsystems = Subsystems(agent, reader)
        self.reporter: Reporter | None = None

    @property
    def store(self) -> FlowStore:
        """The flow records that are kept."""
        return self._store

    @property
    def builder(self) -> FlowBuilder:
        """Turns records into flows."""
        return self._builder

    @property
    def directory(self) -> Directory:
        """Names for numbers."""
        return self._agent.directory

    @property
    def events(self) -> EventLog:
        """What the agent did lately."""
        return self._agent.events

    @property
    def clock(self) -> Clock:
        """Kernel time to wall time."""
        return self._agent.clock

    @property
    def version(self) -> str:
        """Version of the agent, without a leading v."""
        return agent_version()

    def uptime_ns(self) -> int:
        """Nanoseconds since the agent's start."""
        return time.monotonic_ns() - self._started

    def kernel_lost(self) -> Mapping[int, int]:
        """Flow records that found the ring buffer full, by CPU; only ever grows."""
        row = self._datapath.counters.per_cpu()[Counter.FLOW_LOST]
        return {cpu: int(count) for cpu, count in enumerate(row)}

    def services(self) -> Sequence[pb.Service]:
        """Frontends and backends as programmed in the kernel."""
        return services(self._agent.programmer.applied, self.directory)

    async def service_details(self, name: str, namespace: str) -> Sequence[pb.ServiceDetail]:
        """The Services of that name, closely; "" as namespace: in any."""
        return await self._operate.services(name, namespace)

    async def explain(self, request: pb.ExplainRequest) -> pb.ExplainResponse:
        """Where traffic to an address goes; raises ValueError for what cannot be understood."""
        return await self._operate.explain(request)

    async def policies(self) -> pb.ListPoliciesResponse:
        """Policies in force, their rules with hits, and whom they bind here."""
        return await self._operate.policies()

    async def explain_policy(self, request: pb.ExplainPolicyRequest) -> pb.ExplainPolicyResponse:
        """What policies say of a connection; raises ValueError for what cannot be understood."""
        return await self._operate.explain_policy(request)

    def shield_hits(self) -> Mapping[Rule, Mapping[str, int]]:
        """What the rules of the shield that are in force decided."""
        rules, hits = self._agent.programmer.shield.rules(), hits_of(self._datapath)
        return {rules[number]: hit for number, hit in hits.items() if number in rules}

    async def shield(self) -> pb.ListShieldResponse:
        """Rules of the shield with what they decided, and bans; raises KernelError."""
        return await self._operate.shield()

    async def explain_shield(self, request: pb.ExplainShieldRequest) -> pb.ExplainShieldResponse:
        """What the shield makes of a source; raises ValueError for what is no address."""
        return await self._operate.explain_shield(request)

    async def unban(self, request: pb.UnbanRequest) -> pb.UnbanResponse:
        """Let a banned source in again; raises ValueError for what is no address."""
        return await self._operate.unban(request)

    async def verify(self) -> pb.VerifyResponse:
        """The kernel's maps against the objects; raises KernelError where a map cannot be read."""
        return await self._operate.verify()

    async def report(self, entries: int) -> AsyncIterator[tuple[str, bytes]]:
        """Files for a report of a problem, maps with that many entries; none while the agent is just starting."""
        if self.reporter is not None:
            async for part in self.reporter.parts(entries):
                yield part

    @property
    def sockets_closed(self) -> int:
        """Connected UDP sockets that were closed because their backend was gone."""
        return self._agent.programmer.sockets_closed

    @property
    def pipeline(self) -> PipelineStats:
        """What became of payload heads."""
        return self._pipeline.stats

    @property
    def syncs(self) -> Histogram:
        """How long reconciliations took."""
        return self._agent.programmer.syncs

    @property
    def flows_cut(self) -> int:
        """UDP flows from outside that were taken from backends that are gone."""
        return self._agent.programmer.flows_cut

    @property
    def last_sync(self) -> float:
        """Seconds that the last reconciliation took."""
        return self._agent.programmer.last_sync

    def status(self) -> pb.StatusResponse:
        """The whole state; `flows` is filled in by the API."""
        agent, datapath = self._agent, self._datapath
        subsystems = self._subsystems.look()
        warnings = [text for one in subsystems for text in one.warnings]
        address = agent.settings.metrics_address
        enforced = agent.programmer.policies
        return pb.StatusResponse(
            health=pb.HEALTH_DEGRADED if warnings else pb.HEALTH_OK,
            version=self.version,
            node=agent.settings.qualified_node,
            kernel=datapath.features.release,
            pid=os.getpid(),
            uptime_ns=self.uptime_ns(),
            resident_bytes=resident_bytes(),
            config=str(agent.config or ""),
            pins=str(datapath.root),
            origin="compiled" if datapath.build.compiled else "reused",
            features=[
                pb.Feature(name=item.name, present=item.present, purpose=item.serves, required=item.required)
                for item in datapath.features.items
            ],
            programs=self.programs(),
            maps=self.maps(),
            sources=[self._source()],
            counters=self._counters(),
            losses=self._losses(),
            warnings=warnings,
            services=sum(len(one.entry.frontends) for one in agent.programmer.applied),
            endpoints=len(self.directory.workloads()),
            policies=len(enforced.in_force),
            restricted=enforced.restricted,
            guarded=enforced.guarded,
            metrics_port=int(address.rpartition(":")[2]) if address else 0,
            subsystems=subsystems,
        )

    def unreached(self) -> Collection[tuple[str, str]]:
        """Namespace and name of this host's pods that none of its devices leads to."""
        agent = self._agent
        found = unreached(agent.source.snapshot.pods, agent.devices, agent.settings.node)
        return {(pod.namespace, pod.name) for pod in found}

    def maps(self) -> Sequence[pb.Map]:
        """Kernel maps and how full they are."""
        return [self._map(name) for name in sorted(self._datapath.build.maps) if not name.endswith(_SCRATCH)]

    def _map(self, name: str) -> pb.Map:
        spec = self._datapath.build.maps[name]
        plain = spec.kind in (MapType.HASH, MapType.LRU_HASH, MapType.LPM_TRIE)
        fill = self._datapath.maps[name].fill if plain else self._reader.waiting().get(name)
        return pb.Map(
            name=name,
            type=spec.kind.name.lower(),
            entries=fill or 0,
            max_entries=spec.max_entries,
            key_bytes=spec.key.itemsize,
            value_bytes=spec.value.itemsize,
            purpose=PURPOSES.get(name, ""),
            uncounted=fill is None,
        )

    def programs(self) -> list[pb.Program]:
        """Programs that are attached, with what the kernel counts of them."""
        places: dict[tuple[str, str], list[str]] = {}
        for one in self._datapath.attachments():
            places.setdefault((one.program, one.hook), []).append(one.where)
        return [
            _program(name, hook, where, program_info(self._datapath.program(name)))
            for (name, hook), where in places.items()
        ]

    def _source(self) -> pb.Source:
        snapshot = self._agent.source.snapshot
        return pb.Source(
            kind=self._agent.source.kind,
            path=str(self._agent.source.path),
            age_ns=max(0, int(snapshot.age * 1e9)),
            services=len(snapshot.services),
            slices=len(snapshot.slices),
            pods=len(snapshot.pods),
            namespaces=len(snapshot.namespaces),
            ignored=len(snapshot.ignored),
            problems=[_problem(one) for one in snapshot.problems if one.severity is Severity.ERROR],
            notes=[_problem(one) for one in snapshot.problems if one.severity is Severity.NOTE],
        )

    def _counters(self) -> list[pb.Counter]:
        totals = self._datapath.counters.sums()
        return [
            pb.Counter(
                name=counters.name(which),
                value=int(totals[which]),
                meaning=counters.MEANINGS[which].words,
                fault=counters.MEANINGS[which].fault,
            )
            for which in counters.known()
        ]

    def _losses(self) -> list[pb.Loss]:
        totals = self._datapath.counters.sums()
        lost = {
            "flow ring": int(totals[Counter.FLOW_LOST]),
            "payload ring": int(totals[Counter.PAYLOAD_LOST]),
            "batches left out": self._reader.failures,
        }
        for metric, count in self._agent.flow_metrics.dropped().items():
            lost[f"metric {metric}, which has all the series it may"] = count
        return [pb.Loss(where=where, count=count) for where, count in lost.items()]


def resident_bytes() -> int:
    """Memory of this process that is in RAM now (bytes)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def _program(name: str, hook: str, where: Sequence[str], told: ProgramInfo) -> pb.Program:
    return pb.Program(name=name, hook=hook, attached=where, id=told.id, run_count=told.runs, run_time_ns=told.run_time)


def _problem(problem: Problem) -> pb.Problem:
    return pb.Problem(file=problem.file, line=problem.line, message=problem.message)
