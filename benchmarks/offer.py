"""Sends real frames from inside a workload, each the first packet of another connection, at a given rate.

A program of its own (`python -m benchmarks.offer RATE SECONDS ADDRESS`), so that it has a core to itself. It builds
frames as columns and hands them to an AF_PACKET socket on eth0, a batch with each call. Every frame leaves the
workload over its veth and runs through the attached from_endpoint like any other packet; being a SYN of a tuple that
was never seen, each makes a new connection entry and one flow record. ADDRESS is the workload's own: from any other,
all would be dropped as spoofed, which is not what is to be measured. Behind the hook the frames die on the bridge,
which knows nobody with their destination address. Prints what it sent and how long it took, as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from benchmarks import frames
from benchmarks.gun import BATCH, Gun


def offer(rate: int, seconds: float, source: str) -> dict[str, float]:
    """Send `rate` frames a second for so long, evenly; the number sent and the seconds that it took."""
    template = frames.tcp(source, "11.0.0.0", (1, 80), frames.SYN)
    buffer = np.zeros((BATCH, len(template)), np.uint8)
    gun = Gun("eth0", buffer)
    began = time.monotonic()
    sent, wanted = 0, int(rate * seconds)
    while sent < wanted:
        due = min(int((time.monotonic() - began) * rate), wanted) - sent
        if due < BATCH and sent + due < wanted:
            time.sleep((BATCH - due) / rate)
            continue
        count = min(due, BATCH)
        buffer[:count] = frames.distinct(template, count, sent, frames.DESTINATION)
        sent += gun.fire(0, count)
    return {"sent": sent, "seconds": time.monotonic() - began, "processor": time.process_time()}


if __name__ == "__main__":
    print(json.dumps(offer(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])))
