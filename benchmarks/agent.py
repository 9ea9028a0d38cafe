"""What the agent costs before it has done anything, and when its store is full.

Start: the time from starting the process to its first answer to `Status` on its socket, five times each. Cold: no
pins and no build in the state folder, so the programs are compiled. Warm: onto the pins of the run before. Memory:
VmRSS of the agent's process in MB (10^6 bytes), two seconds after a warm start, and again after 300,000 records of
real frames (see benchmarks.offer) have filled all 262,144 places of the store.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from statistics import median

from benchmarks.report import Figure, at_most
from benchmarks.stand import CLIENT, Agent, Stand, await_true

ROUNDS = 5
SETTLE = 2.0  # s after the start until memory is looked at
FILL = 300_000  # records; the store keeps 262,144
FILL_RATE = 100_000  # records a second


def measure() -> Iterator[Figure]:
    """Start times and memory."""
    with Stand() as stand:
        cold: list[float] = []
        warm: list[float] = []
        for _ in range(ROUNDS):
            stand.detach()
            for times in (cold, warm):
                with stand.agent() as agent:
                    times.append(agent.started)
        yield Figure("agent_start_cold", median(cold), "s", at_most(2.0), _spread(cold))
        yield Figure("agent_start_warm", median(warm), "s", at_most(1.0), _spread(warm))
        with stand.agent() as agent:
            time.sleep(SETTLE)
            yield Figure("agent_rss_start", agent.resident(), "MB", at_most(80))
            stored = fill(stand, agent)
            yield Figure("agent_rss_store_full", agent.resident(), "MB", at_most(130), f"{stored:,} records stored")


def fill(stand: Stand, agent: Agent) -> int:
    """Offer records until the store is full; how many it keeps."""
    seconds = FILL / FILL_RATE
    sent = json.loads(
        stand.output(
            [sys.executable, "-m", "benchmarks.offer", str(FILL_RATE), str(seconds), stand.address(CLIENT)], CLIENT
        )
    )["sent"]
    await_true(lambda: agent.counters()["seen"] >= sent, f"{sent:,} records in the store")
    return int(agent.status().flows.stored)


def _spread(times: list[float]) -> str:
    return f"{min(times):.2f} to {max(times):.2f} in {len(times)} rounds"
