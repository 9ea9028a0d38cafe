"""What flow metrics cost: counting a record, telling ten thousand series, and whether telling holds up counting.

Counting: batches of whole TCP conversations between 64 workloads go through the default set of metrics and through
none, in processor time of this process. Telling: the same metrics grow to 10,000 series and are scraped over HTTP on
loopback, in both formats, as Prometheus does; the slowest of the scrapes counts. Meanwhile the counting goes on, and
its longest batch says how long a scrape holds it up.
"""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Iterator
from ipaddress import IPv4Address
from threading import Event, Thread

import numpy as np

from benchmarks.report import Figure, at_least, at_most
from benchmarks.stand import bare_datapath
from daemon.agent.exposition import Exposition, serve
from daemon.flows.metrics import FlowMetrics, parse
from daemon.flows.record import RowArray
from daemon.model import Directory, Identity, Workload, WorkloadId
from ebpf.constants import Direction, EventKind, Point, Verdict

WORKLOADS = 64
PEERS = 4  # workloads that each of them talks to
BATCH = 16_384
ROUNDS = 60
SERIES = 10_000
SCRAPES = 10
_OPENMETRICS = "application/openmetrics-text; version=1.0.0"
# of each record of a conversation: reply, TCP flags, kind
_CONVERSATION = (
    (0, 0x02, EventKind.NEW),
    (1, 0x12, EventKind.FLAGS),
    (0, 0x10, EventKind.FLAGS),
    (0, 0x11, EventKind.FLAGS),
    (1, 0x11, EventKind.FLAGS),
    (0, 0x10, EventKind.END),
)


def measure() -> Iterator[Figure]:
    """Cost of counting, then of telling."""
    with bare_datapath() as datapath:
        rows = _rows(datapath.flow_dtype)
    yield _counting("metrics_count", None, rows)
    yield _counting("metrics_count_none", (), rows)
    yield from _scraping(rows)


def _counting(name: str, entries: tuple[str, ...] | None, rows: RowArray) -> Figure:
    metrics = FlowMetrics(_directory(), parse(entries))
    metrics.count(rows)
    began = time.process_time()
    for _ in range(ROUNDS):
        metrics.count(rows)
    spent = time.process_time() - began
    goal = at_least(2e6) if entries is None else None
    return Figure(name, ROUNDS * len(rows) / spent, "records/s", goal, f"{WORKLOADS * PEERS:,} pairs")


def _scraping(rows: RowArray) -> Iterator[Figure]:
    metrics = FlowMetrics(_directory(), limit=SERIES)
    metrics.count(_spread(rows, metrics))
    series = _scrape_lines(metrics)
    address = f"127.0.0.1:{_free_port()}"
    end = serve(address, Exposition([metrics.text], []))
    counter = _Counter(metrics, rows)
    alone = counter.longest(1.0)
    counter.start()
    taken = [_scrape(address, accept) for _ in range(SCRAPES) for accept in ("", _OPENMETRICS)]
    counter.stop()
    end()
    yield Figure("scrape_10k_series", max(taken) * 1e3, "ms", at_most(200), f"{series:,} samples, while counting")
    yield Figure(
        "scrape_holds_up", counter.worst * 1e3, "ms", None, f"longest batch; {alone * 1e3:.1f} ms without scrapes"
    )


class _Counter(Thread):
    """Goes on counting; `worst` is the longest that one batch took (s)."""

    def __init__(self, metrics: FlowMetrics, rows: RowArray) -> None:
        super().__init__(daemon=True)
        self.worst = 0.0
        self._metrics = metrics
        self._rows = rows[:1_024]
        self._ended = Event()

    def run(self) -> None:
        while not self._ended.is_set():
            self.worst = max(self.worst, self._once())
            time.sleep(0.005)

    def longest(self, seconds: float) -> float:
        until = time.monotonic() + seconds
        return max(iter(lambda: self._once() if time.monotonic() < until else -1.0, -1.0))

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _once(self) -> float:
        began = time.perf_counter()
        self._metrics.count(self._rows)
        return time.perf_counter() - began


def _scrape(address: str, accept: str) -> float:
    began = time.perf_counter()
    request = urllib.request.Request(f"http://{address}/metrics", headers={"Accept": accept or "text/plain"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()
    return time.perf_counter() - began


def _scrape_lines(metrics: FlowMetrics) -> int:
    return sum(not line.startswith(b"#") for line in metrics.text().splitlines())


def _spread(rows: RowArray, metrics: FlowMetrics) -> RowArray:
    """Records with so many destination ports that there are SERIES samples."""
    spread = np.resize(rows, SERIES - _scrape_lines(metrics)).copy()
    spread["reply"], spread["verdict"] = 0, Verdict.FORWARDED
    spread["dst_port"] = np.arange(len(spread)) + 1
    return spread


def _rows(dtype: np.dtype[np.void]) -> RowArray:
    """A batch of conversations, in the order in which their records come."""
    made = np.zeros(BATCH, dtype)
    step = np.arange(BATCH) % len(_CONVERSATION)
    number = np.arange(BATCH) // len(_CONVERSATION)
    replies, flags, kinds = (np.array(column)[step] for column in zip(*_CONVERSATION, strict=True))
    client, server = number % WORKLOADS, (number + 1 + number // WORKLOADS % PEERS) % WORKLOADS
    made["src_workload"] = 16 + np.where(replies, server, client)
    made["dst_workload"] = 16 + np.where(replies, client, server)
    made["src_port"] = np.where(replies, 8_000 + number % 16, 32_768 + number)
    made["dst_port"] = np.where(replies, 32_768 + number, 8_000 + number % 16)
    made["proto"], made["family"], made["point"], made["direction"] = 6, 4, Point.TO_STACK, Direction.EGRESS
    made["verdict"], made["reply"], made["tcp_flags"], made["kind"] = Verdict.FORWARDED, replies, flags, kinds
    made["handshake"] = np.where(step > 1, 120, 0)
    made["srtt_us"] = np.where(kinds == EventKind.END, 90, 0)
    return made


def _directory() -> Directory:
    found = Directory()
    found.update_workloads(
        Workload(
            WorkloadId(16 + index), Identity(256 + index % 8), "bench", f"pod-{index}", (f"k8s:app=app-{index % 8}",),
            (), (IPv4Address(f"10.244.1.{index + 2}"),),
        )
        for index in range(WORKLOADS)
    )  # fmt: skip
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
