"""What the agent costs traffic: a bulk transfer and many small requests between two namespaces, with over without.

In each round everything is measured twice, once with the agent attached and once without a trace of it in the kernel;
who goes first changes from round to round. The figure is the ratio of the medians. iperf3 sends one TCP stream with
its defaults for three seconds, and tells what arrived. wrk keeps 32 connections to an nginx with one worker busy from
one thread for three seconds; every answer is a few bytes, so this is the price of a packet and of an HTTP head.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from statistics import median

from benchmarks import web
from benchmarks.report import Figure, Goal, at_least, say
from benchmarks.stand import CLIENT, PORT, SERVER, Agent, BenchmarkError, Stand

ROUNDS = 6
SECONDS = 3
CONNECTIONS = 32

Sample = Callable[[Stand], float]


def measure() -> Iterator[Figure]:
    """iperf3, then wrk."""
    with Stand() as stand:
        stand.spawn(["iperf3", "-s"], SERVER, stdout=subprocess.DEVNULL)
        web.serve(stand)
        yield from _ratio(stand, "throughput_iperf3", bulk, "Gbit/s", at_least(0.97))
        yield from _ratio(stand, "throughput_wrk", requests, "requests/s", at_least(0.95))


def _ratio(stand: Stand, name: str, sample: Sample, unit: str, goal: Goal) -> Iterator[Figure]:
    values: dict[bool, list[float]] = {True: [], False: []}
    loads = []
    for turn in range(ROUNDS):
        for wanted in (turn % 2 == 0, turn % 2 == 1):
            with stand.attached(wanted) as agent:
                before = agent.processor_time() if agent else 0.0
                values[wanted].append(sample(stand))
                if agent:
                    loads.append((agent.processor_time() - before) / SECONDS)
                    last = _after(agent)
        say(f"   round {turn + 1}: {values[True][-1]:,.1f} with, {values[False][-1]:,.1f} without ({unit})")
    ours, plain = median(values[True]), median(values[False])
    note = f"{ours:,.1f} with, {plain:,.1f} without ({unit}); the agent used {median(loads):.0%} of a core; {last}"
    yield Figure(f"{name}_with_over_without", ours / plain, "ratio", goal, note)


def _after(agent: Agent) -> str:
    counters = agent.counters()
    lost = f"{counters['flow_lost']} flows and {counters['payload_lost']} payloads lost"
    return f"{agent.resident():.0f} MB and {lost} after it"


def bulk(stand: Stand) -> float:
    """Gbit/s that arrive over one TCP stream."""
    argv = ["iperf3", "-c", stand.address(SERVER), "-t", str(SECONDS), "-J"]
    return float(json.loads(stand.output(argv, CLIENT))["end"]["sum_received"]["bits_per_second"]) / 1e9


def requests(stand: Stand) -> float:
    """Requests a second over kept connections."""
    url = f"http://{stand.address(SERVER)}:{PORT}/"
    told = stand.output(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", url], CLIENT)
    found = re.search(r"Requests/sec:\s+([\d.]+)", told)
    if not found:
        raise BenchmarkError(f"wrk did not tell its requests a second: {told}")
    return float(found[1])
