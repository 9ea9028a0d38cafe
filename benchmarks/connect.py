"""What a Service costs a connection: connect, one request, its answer and close, through the Service over direct.

One client process (benchmarks.connector) makes thousands of exchanges with an nginx, in turn at the Service's address
and at the backend's own, so both see the same moments of the machine. The agent runs; both ways pass its programs, and
only one of them is translated.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import numpy as np

from benchmarks import web
from benchmarks.report import Figure, at_most
from benchmarks.stand import CLIENT, PORT, SERVER, VIP, VIP_PORT, Stand
from benchmarks.throughput import processors

SAMPLES = 20_000  # exchanges at each address


def measure() -> Iterator[Figure]:
    """Median and 99th percentile, and their ratios."""
    with Stand() as stand, stand.agent() as agent:
        web.serve(stand, processors()[1])
        before = agent.counters()["service_connected"]
        targets = [f"{VIP}:{VIP_PORT}", f"{stand.address(SERVER)}:{PORT}"]
        argv = [sys.executable, "-m", "benchmarks.connector", str(SAMPLES), *targets]
        service, direct = np.array(json.loads(stand.output(argv, CLIENT))) / 1000
        translated = agent.counters()["service_connected"] - before
    for name, percentile, goal in (("median", 50, at_most(1.05)), ("p99", 99, None)):
        through, plain = np.percentile(service, percentile), np.percentile(direct, percentile)
        note = f"{through:.1f} us through the Service, {plain:.1f} us direct, {translated:,} translated"
        yield Figure(f"connect_service_over_direct_{name}", float(through / plain), "ratio", goal, note)
