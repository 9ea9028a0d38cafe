"""Asks the real programs: any policy table goes into a datapath, and packets by the thousand get their verdicts.

A test run has one device, the loopback of the caller's namespace, so each workload in turn is put behind it: its
guard is written for that device, then all its packets are run.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from daemon.policy.kernel_state import write_state
from daemon.policy.reconcile import Guard, PolicyReconciler
from daemon.policy.table import Direction, Isolation, PolicyTable
from ebpf import testrun
from ebpf.constants import PolicyFlag
from ebpf.datapath import Datapath

LOOPBACK = 1
NO_FLAGS = PolicyFlag(0)
TC_ACT_SHOT = 2
ICMP, TCP, UDP, SCTP = 1, 6, 17, 132
POLICY_MAPS = ("guards", "classes", "networks", "rulesets", "policies")
STATE_MAPS = ("connections", "denials", "detours", "fragments")
_MACS = bytes.fromhex("020000000001020000000002")
_PROGRAMS = {Direction.INGRESS: "to_endpoint", Direction.EGRESS: "from_endpoint"}
_MAPPED = bytes(10) + b"\xff\xff"
_EPHEMERAL = (32768, 60999)
_ports = itertools.cycle(range(*_EPHEMERAL))


class Probe(NamedTuple):
    """The first packet of a connection; addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d."""

    source: bytes
    target: bytes
    protocol: int
    port: int


class Verdict(NamedTuple):
    """Whether the source's workload may send it, and the target's may get it; True where that end is elsewhere."""

    egress: bool
    ingress: bool

    @property
    def passes(self) -> bool:
        return self.egress and self.ingress


def clear(datapath: Datapath, maps: Iterable[str] = (*POLICY_MAPS, *STATE_MAPS)) -> None:
    """Empty maps, of policies and of connections."""
    for name in maps:
        table = datapath.maps[name]
        table.delete(table.items()[0])


def reconciler(datapath: Datapath, flags: PolicyFlag = NO_FLAGS) -> PolicyReconciler:
    """A reconciler that waits for nobody: test runs are over when they return."""
    return PolicyReconciler(datapath.maps, datapath.rule_hits, flags, lambda: None)


def load(datapath: Datapath, table: PolicyTable) -> PolicyReconciler:
    """Put a table into an emptied datapath, without guards."""
    clear(datapath)
    write_state(datapath.maps, 0, 0)
    loaded = reconciler(datapath)
    loaded.apply(table, {})
    return loaded


def verdicts(datapath: Datapath, table: PolicyTable, probes: Sequence[Probe]) -> list[Verdict]:
    """What the programs say to each probe, in order. Each opens a connection of its own."""
    found = asked(datapath, load(datapath, table), table, probes)
    clear(datapath)
    return found


def asked(datapath: Datapath, loaded: PolicyReconciler, table: PolicyTable, probes: Sequence[Probe]) -> list[Verdict]:
    """The same by a reconciler that goes on from what it has brought into force before."""
    clear(datapath, STATE_MAPS)
    frames = [frame(probe) for probe in probes]
    passed = {
        (direction, number)
        for direction in Direction
        for isolation, numbers in _by_isolation(table, probes, direction).items()
        for number in _run(datapath, loaded, table, isolation, [(one, frames[one]) for one in numbers], direction)
    }
    drain(datapath)
    return [
        Verdict((Direction.EGRESS, number) in passed, (Direction.INGRESS, number) in passed)
        for number in range(len(probes))
    ]


def drain(datapath: Datapath) -> None:
    """Empty the ring of flow records."""
    ring = datapath.ring("flows")
    ring.rows(datapath.flow_dtype, 1 << 20)
    ring.close()


def _by_isolation(
    table: PolicyTable, probes: Sequence[Probe], direction: Direction
) -> dict[Isolation | None, list[int]]:
    """Numbers of probes by what restricts their workload: one guard serves all that are restricted alike."""
    groups: dict[Isolation | None, list[int]] = {}
    for index, probe in enumerate(probes):
        local = probe.source if direction is Direction.EGRESS else probe.target
        groups.setdefault(table.workloads.get(local), []).append(index)
    return groups


def _run(
    datapath: Datapath,
    loaded: PolicyReconciler,
    table: PolicyTable,
    isolation: Isolation | None,
    frames: Iterable[tuple[int, bytes]],
    direction: Direction,
) -> list[int]:
    """The numbers of frames that pass at one end, behind a guard of this isolation."""
    loaded.apply(table, {LOOPBACK: Guard(isolation, source_check=False)} if isolation else {})
    program = datapath.program(_PROGRAMS[direction])
    return [number for number, packet in frames if testrun.verdict(program, packet) != TC_ACT_SHOT]


def frame(probe: Probe, source_port: int = 0) -> bytes:
    """An Ethernet frame that opens a connection, from a port of its own where none is given."""
    ports = struct.pack("!HH", source_port or next(_ports), probe.port)
    if probe.protocol == TCP:
        body = ports + struct.pack("!IIBBHHH", 1, 0, 5 << 4, 2, 65535, 0, 0)
    elif probe.protocol == UDP:
        body = ports + struct.pack("!HH", 8, 0)
    elif probe.protocol == ICMP:
        body = b"\x08" + bytes(3) + ports  # an echo request whose identifier is the port
    else:
        body = ports + bytes(8)
    if probe.source[:12] == _MAPPED:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, probe.protocol, 0)
        return _MACS + b"\x08\x00" + head + probe.source[12:] + probe.target[12:] + body
    head = struct.pack("!IHBB", 6 << 28, len(body), probe.protocol, 64)
    return _MACS + b"\x86\xdd" + head + probe.source + probe.target + body
