"""What policy costs a packet: established connections and first packets, under 0, 10 and 1,000 policies.

Measured as in `packet`: the kernel's run time statistics, less those of a program of two instructions. A policy is four
entries here: two ports for each of two peers. All of them are in the one ruleset of the workload, so what it meets is
the worst that so many policies can be. Established connections must cost the same under all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from statistics import median

from benchmarks import frames
from benchmarks.frames import ACK, PSH, SYN
from benchmarks.packet import CLIENT, PACKETS, PORTS, SERVER, Case, empty_program, program_statistics, round_of
from benchmarks.report import Figure
from benchmarks.stand import bare_datapath
from daemon.policy.reconcile import Guard, PolicyReconciler
from daemon.policy.table import FIRST_CLASS, Action, Entry, Isolation, PolicyTable, Ruleset
from ebpf import testrun
from ebpf.addresses import pack
from ebpf.constants import PolicyFlag
from ebpf.datapath import Datapath

POLICIES = (0, 10, 1000)
ROUNDS = 9
_DEVICE = 1  # of test runs: loopback
_TCP = 6


def measure() -> Iterator[Figure]:
    """Each case over the empty program, by the number of policies."""
    with bare_datapath() as datapath, program_statistics(), empty_program() as empty:
        policies = PolicyReconciler(datapath.maps, datapath.rule_hits, PolicyFlag(0))
        ring = datapath.ring("flows")
        for index, count in enumerate(POLICIES):
            table, guards = _table(count, index)
            policies.apply(table, guards)
            cases = _cases(datapath, empty, index)
            times: dict[str, list[float]] = {case.name: [] for case in cases}
            for number in range(ROUNDS):
                for case in cases:
                    times[case.name].append(round_of(case, number))
                    ring.rows(datapath.flow_dtype, PACKETS * 2)
            nothing = median(times.pop("empty"))
            for name, rounds in times.items():
                note = f"{count} policies, {sum(len(one.entries) for one in table.rulesets.values())} entries"
                yield Figure(f"policy_{count}_{name}", median(rounds) - nothing, "ns", None, note)
        ring.close()


def _table(count: int, index: int) -> tuple[PolicyTable, dict[int, Guard]]:
    """So many policies for one workload; both peers of the measured connections are named by one."""
    if not count:
        return PolicyTable(), {_DEVICE: Guard(Isolation(0, 0), source_check=False)}
    peers = range(FIRST_CLASS, FIRST_CLASS + 2 * count)
    entries = tuple(Entry(peer, _TCP, port, 16, Action.ALLOW, 1) for peer in peers for port in (PORTS[1], 443))
    classes = {pack(IPv4Address(0x0AF50000 + peer)): peer for peer in peers} | {pack(SERVER): FIRST_CLASS}
    networks = {(pack("11.0.0.0"), 104): FIRST_CLASS + 1}
    ruleset = Ruleset(index, entries, Action.DENY, 2, default_audit=False)
    isolation = Isolation(index, index)
    return PolicyTable(classes, networks, {index: ruleset}), {_DEVICE: Guard(isolation, source_check=False)}


def _cases(datapath: Datapath, empty: int, index: int) -> list[Case]:
    out, back = datapath.program("from_endpoint"), datapath.program("to_endpoint")
    for program, flags in ((out, SYN), (back, SYN | ACK), (out, PSH | ACK)):
        ends = (CLIENT, SERVER, PORTS) if program == out else (SERVER, CLIENT, PORTS[::-1])
        testrun.verdict(program, frames.tcp(*ends, flags))
    data = frames.tcp(CLIENT, SERVER, PORTS, ACK, bytes(1400))
    answer = frames.tcp(SERVER, CLIENT, PORTS[::-1], ACK, bytes(1400))

    def first(number: int, target: str) -> list[bytes]:
        template = frames.tcp("11.0.0.0", target, PORTS, SYN)
        rows = frames.distinct(template, PACKETS, (index * ROUNDS + number) * PACKETS)
        return [row.tobytes() for row in rows]

    return [
        Case("empty", empty, lambda _: [data] * PACKETS),
        Case("from_endpoint_established", out, lambda _: [data] * PACKETS),
        Case("to_endpoint_established", back, lambda _: [answer] * PACKETS),
        Case("from_endpoint_first", out, lambda number: first(number, SERVER)),
        Case("to_endpoint_first", back, lambda number: first(number, CLIENT)),
    ]
