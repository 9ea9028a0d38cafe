"""What Services cost a connection and a request, side by side with iptables and nftables, and what they cost the node.

Four nodes (see benchmarks.sites) with 100, 2,000 and 10,000 Services of five backends. Five Services, spread evenly
over the rule set, are asked in turn; the nodes take turns, too, so all see the same moments of the machine.

There are two baselines: `direct` is the backends' own addresses on a node where nothing is loaded, `watched` the same
on the node with the agent. What lies between the two is the price of seeing every flow, which is paid for any traffic;
what remora's Services cost beyond `watched` is the price of steering, and the goal is for that.

Control plane: from parsed objects to the kernel's maps in this process, then one EndpointSlice after the other, a third
of them with fewer endpoints; memory of the maps as the kernel tells it, and of an agent that has as many.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import programming
from benchmarks.fleet import Fleet
from benchmarks.report import Figure, Goal, at_most, say
from benchmarks.sites import BACKENDS, Asker, Sites

SIZES = (100, 2_000, 10_000)
ROUNDS = 80
CONNECTS, REQUESTS = 60, 120  # asked in one turn
GOAL = at_most(1.05)
_LOADS = {
    "remora": "from files to the kernel, parsing YAML",
    "iptables": "iptables-restore of the whole rule set",
    "nftables": "nft -f of the whole rule set",
}


def measure() -> Iterator[Figure]:
    """All figures, the data path first."""
    with Sites() as sites:
        for size in SIZES:
            fleet = Fleet(size, len(BACKENDS), BACKENDS)
            for name, seconds in sites.load(fleet):
                yield Figure(f"services_{size}_load_{name}", seconds, "s", note=_LOADS[name])
            with sites.askers(fleet) as askers:
                for kind, count in (("connect", CONNECTS), ("request", REQUESTS)):
                    yield from _compared(f"services_{size}_{kind}", _ask(askers, kind, count), size == SIZES[-1])
        yield Figure("services_agent_rss", sites.agent.resident(), "MB", note=f"{SIZES[-1]:,} Services of 5 backends")
    yield from programming.measure()


def _ask(askers: dict[str, Asker], kind: str, count: int) -> dict[str, list[int]]:
    """Nanoseconds of each answer, by asker."""
    times: dict[str, list[int]] = {name: [] for name in askers}
    names = list(askers)
    for name in names:
        askers[name].ask(kind, count)
    for turn in range(ROUNDS):
        for index in range(len(names)):
            name = names[(turn + index) % len(names)]
            times[name] += askers[name].ask(kind, count)
    return times


def _compared(name: str, times: dict[str, list[int]], goal: bool) -> Iterator[Figure]:
    """Median and p99 of each in microseconds, then the ratios."""
    found = {who: np.percentile(np.array(those) / 1000, (50, 99)) for who, those in times.items()}
    for who, (median, high) in found.items():
        yield Figure(f"{name}_{who}_median", float(median), "us")
        yield Figure(f"{name}_{who}_p99", float(high), "us")
    for who in ("remora", "watched", "iptables", "nftables"):
        yield from _ratio(f"{name}_{who}_over_direct", found[who] / found["direct"])
    yield from _ratio(f"{name}_remora_over_watched", found["remora"] / found["watched"], GOAL if goal else None)
    say(f"   {name}: {len(times['direct']):,} answers each")


def _ratio(name: str, ratios: Any, goal: Goal | None = None) -> Iterator[Figure]:
    median, high = ratios
    yield Figure(f"{name}_median", float(median), "ratio", goal)
    yield Figure(f"{name}_p99", float(high), "ratio")
