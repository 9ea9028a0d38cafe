"""How each part of the agent is, so that a look at night begins at the right place.

A part is degraded when something that it promised does not hold now; what it lost in the past is told in its line and
is no reason to wake anybody. The sentences of all parts together are the agent's warnings.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from daemon.agent.unreached import unguarded, unreached
from daemon.agent.wires import wired
from daemon.model.objects import Pod
from daemon.model.snapshot import Severity
from daemon.proto import remora_pb2 as pb
from daemon.settings import Settings
from ebpf.constants import Counter
from ebpf.datapath import Datapath
from ebpf.libbpf import MapType
from ebpf.programs import BY_NAME, Hook

if TYPE_CHECKING:
    from daemon.agent.agent import Agent
    from daemon.agent.reader import Reader

ALMOST_FULL = 0.95
"""part of a map that refuses what does not fit, from which on it is a warning"""

RECENTLY = 60.0  # s for which a task that failed and was started anew is told

_TASKS = {"discovery": "endpoints", "lists": "shield"}
"""which part a task belongs to; all others are the datapath's"""
_DROPPED = (
    Counter.SHIELD_MALFORMED,
    Counter.SHIELD_BANNED,
    Counter.SHIELD_DENIED,
    Counter.SHIELD_LIMITED,
    Counter.SHIELD_UNPROVEN,
)
_REFUSING = (MapType.HASH, MapType.LPM_TRIE)
_STEPS = {
    "services": "services",
    "stale sockets": "services",
    "old slots": "services",
    "packet path": "services",
    "uplink": "services",
    "uplinks": "services",
    "uplinks left": "services",
    "workloads": "endpoints",
    "policies": "policy",
    "shield": "shield",
}
"""which part a step of a reconciliation belongs to; all others are the datapath's"""


class Subsystems:
    """Looks at one agent; nothing here blocks."""

    def __init__(self, agent: Agent, reader: Reader) -> None:
        self._agent = agent
        self._reader = reader

    def look(self) -> list[pb.Subsystem]:
        """All parts, those that traffic depends on first."""
        steps = self._failed_steps()
        parts: tuple[tuple[str, str, list[str]], ...] = (
            ("datapath", self._datapath(), [*self._datapath_warnings(), *steps.get("datapath", [])]),
            ("services", self._services(), [*steps.get("services", []), *self._service_warnings()]),
            ("policy", self._policy(), [*steps.get("policy", []), *self._policy_warnings()]),
            ("shield", self._shield(), [*steps.get("shield", []), *self._shield_warnings()]),
            ("endpoints", self._endpoints(), [*steps.get("endpoints", []), *self._endpoint_warnings()]),
            ("sources", self._sources(), list(self._source_warnings())),
            ("flows", self._flows(), list(self._flow_warnings())),
            ("api", self._api(), []),
            ("metrics", self._metrics(), []),
        )
        return [
            pb.Subsystem(
                name=name,
                health=pb.HEALTH_DEGRADED if warnings else pb.HEALTH_OK,
                words=words,
                warnings=warnings,
            )
            for name, words, warnings in parts
        ]

    def _failed_steps(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for step, reason in list(self._agent.programmer.failures.items()):
            part = _STEPS.get(step) or _STEPS.get(step.split(" ")[0], "datapath")
            found.setdefault(part, []).append(f"{step}: {reason}")
        for task, (when, reason) in list(self._agent.stumbles.items()):
            if time.monotonic() - when < RECENTLY:
                words = f"task {task} failed and starts anew: {reason}; the log has more"
                found.setdefault(_TASKS.get(task, "datapath"), []).append(words)
        return found

    def _datapath(self) -> str:
        datapath = self._agent.programmer.datapath
        attached = datapath.attachments()
        cgroups = {one.where for one in attached if one.hook is Hook.CGROUP}
        tracepoints = sum(one.hook is Hook.RAW_TRACEPOINT for one in attached)
        places = (
            _count(len(datapath.devices), "workload device"),
            _count(len(datapath.uplinks), "uplink") + _wires(datapath),
            f"cgroup {', '.join(cgroups)}" if cgroups else "no cgroup",
            _count(tracepoints, "tracepoint"),
        )
        return f"{'compiled' if datapath.build.compiled else 'reused'}; on {', '.join(places)}"

    def _datapath_warnings(self) -> Iterator[str]:
        datapath = self._agent.programmer.datapath
        for program, reason in datapath.build.missing.items():
            yield f"{BY_NAME[program].optional}: the kernel refused {program}: {reason}"
        yield from list(self._agent.programmer.wires.fallbacks.values())
        for name, table in datapath.maps.items():
            fill, most = table.fill, table.max_entries
            if table.spec.kind in _REFUSING and fill is not None and fill >= ALMOST_FULL * most:
                setting = name.rstrip("46")
                todo = f": raise `{setting}` in the settings" if setting in Settings.__struct_fields__ else ""
                words = f"map {name} is {100 * fill / most:.0f} % full ({fill:,} of {most:,})"
                yield f"{words}; what does not fit is refused{todo}"

    def _services(self) -> str:
        programmer = self._agent.programmer
        applied = programmer.applied
        frontends = sum(len(one.entry.frontends) for one in applied)
        names = {(one.entry.key.name.namespace, one.entry.key.name.name) for one in applied}
        said = f"{_count(frontends, 'frontend')} of {_count(len(names), 'Service')}"
        return f"{said}; last sync {1000 * programmer.last_sync:.1f} ms"

    def _service_warnings(self) -> Iterator[str]:
        yield from self._agent.proxy.ports.failures.values()
        if left := self._agent.programmer.sockets_left:
            yield f"{left} connected UDP sockets could not be taken from gone backends"

    def _policy(self) -> str:
        enforced, totals = self._agent.programmer.policies, self._totals()
        bound = f"restricting {enforced.restricted} of {_count(enforced.guarded, 'workload')}"
        said = f"{len(enforced.in_force)} in force, {bound}"
        dropped, audited = int(totals[Counter.POLICY_DROPPED]), int(totals[Counter.POLICY_AUDITED])
        return f"{said}; {dropped:,} packets denied, {audited:,} audited"

    def _policy_warnings(self) -> Iterator[str]:
        withheld = self._agent.source.snapshot.withheld
        if withheld and "policies" not in self._agent.programmer.failures:
            yield f"{', '.join(withheld)} cannot be read: what they restrict is not restricted (`sources` says why)"

    def _shield(self) -> str:
        tables, totals = self._agent.programmer.shield.tables, self._totals()
        if not tables.shields:
            return "off"
        dropped = sum(int(totals[one]) for one in _DROPPED)
        mode = ", dry run" if tables.switches.dry else ""
        said = f"{_count(tables.shields, 'Shield')}{mode}, {len(tables.entries):,} entries"
        limits = f", {_count(len(tables.limits), 'limit')}" if tables.limits else ""
        return f"{said}{limits}; {dropped:,} packets dropped, {int(totals[Counter.SHIELD_AUDITED]):,} audited"

    def _shield_warnings(self) -> Iterator[str]:
        shield, datapath = self._agent.programmer.shield, self._agent.programmer.datapath
        yield from (str(one) for one in shield.problems if one.severity is Severity.ERROR)
        if shield.tables.shields and not datapath.wires:
            yield "a Shield is in force and XDP runs on no device: nothing is dropped; see `xdp` in the settings"

    def _endpoints(self) -> str:
        known = self._agent.directory.workloads()
        local = sum(bool(one.ifindex) for one in known)
        beyond = self._unreached()
        no_device = f"; no device leads to {_some(beyond)}: neither seen nor guarded" if beyond else ""
        return f"{_count(len(known), 'workload')}, {local} of them on this node{no_device}"

    def _endpoint_warnings(self) -> Iterator[str]:
        if beyond := unguarded(self._unreached(), self._agent.programmer.policies.table):
            what = f"policies restrict {_some(beyond)}, and no device of this node leads there"
            yield f"{what} (macvlan, ipvlan, SR-IOV?): they are not enforced; give such pods a veth"

    def _unreached(self) -> list[Pod]:
        agent = self._agent
        return unreached(agent.source.snapshot.pods, agent.devices, agent.settings.node)

    def _sources(self) -> str:
        source = self._agent.source
        kinds = Tally(one.severity for one in source.snapshot.problems)
        found = [_count(kinds[one], one.name.lower()) for one in Severity if kinds[one]]
        return ", ".join([f"{source.kind} {source.path}, {source.snapshot.age:.0f} s old", *found])

    def _source_warnings(self) -> Iterator[str]:
        for problem in self._agent.source.snapshot.problems:
            if problem.severity is Severity.ERROR:
                yield str(problem)

    def _flows(self) -> str:
        totals = self._totals()
        lost = int(totals[Counter.FLOW_LOST]), int(totals[Counter.PAYLOAD_LOST]), self._reader.failures
        words = ("records", "DNS, HTTP and TLS heads", "batches")
        told = [f"{count:,} {what}" for count, what in zip(lost, words, strict=True) if count]
        return f"lost: {', '.join(told)}" if told else "nothing lost"

    def _flow_warnings(self) -> Iterator[str]:
        if not self._reader.is_alive():
            yield "the reader of flow records has ended; restart the agent"

    def _api(self) -> str:
        settings = self._agent.settings
        tcp = f", {settings.listen_address} ({'plain text' if settings.disable_tls else 'TLS'})"
        return f"{settings.socket}{tcp if settings.listen_address else ''}"

    def _metrics(self) -> str:
        left = sum(self._agent.flow_metrics.dropped().values())
        full = f"; {left:,} samples left out, as metrics have all the series they may" if left else ""
        return f"{self._agent.settings.metrics_address or 'off'}{full}"

    def _totals(self) -> Mapping[int, int]:
        return dict(enumerate(self._agent.programmer.datapath.counters.sums().tolist()))


def _some(pods: Sequence[Pod]) -> str:
    """The first few by name, and how many more."""
    names = [f"{pod.namespace}/{pod.name}" for pod in pods[:3]]
    return ", ".join([*names, *([f"{len(pods) - 3} more pods"] if len(pods) > 3 else [])])


def _wires(datapath: Datapath) -> str:
    told = wired(datapath)
    return f" (XDP: {', '.join(told)})" if told else ""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
