"""How fast flows are asked for: narrow queries over a full store, streams to clients, memory.

The store holds 262,144 records of 64 workloads that all talk to each other, three of four over TCP, made here and
appended as the agent's reader would. The server is the agent's own, in a thread of this process; clients are processes
of their own, so on two cores one is left for each side. Queries: `--last 100` with a filter that nothing matches, the
dearest case, since the whole store is looked at; the figure is the slowest of the filters, the best of three tries
each. Streams, the best of three tries: 20,000 flows one by one to a grpcio client, and all in batches to a client that
reads them; the note is the server's processor time for a flow. All to `remora observe`, start of the program included.
Memory: growth of VmRSS from the empty to the full store.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import grpc
import numpy as np

from benchmarks.report import Figure, at_least, at_most
from benchmarks.stand import bare_datapath
from daemon.api import AgentView, ApiServer, EventLog
from daemon.flows.builder import FlowBuilder
from daemon.flows.clock import Clock
from daemon.flows.record import RowArray
from daemon.flows.store import CAPACITY, FlowStore
from daemon.model import Directory, Identity, Workload, WorkloadId
from daemon.proto import flow_pb2, observer_pb2, observer_pb2_grpc
from ebpf import addresses
from ebpf.constants import EventKind, Point

WORKLOADS = 64
STOCK = 20_000  # flows that are sent one by one
TRIES = 3

FILTERS: Mapping[str, dict[str, Any]] = {
    "port": {"destination_port": ["9999"]},
    "pod and verdict": {"source_pod": ["shop/none"], "verdict": [2]},
    "address": {"source_ip": ["192.0.2.0/24"]},
    "label": {"source_label": ["app=none"]},
    "Service": {"destination_service": ["shop/none"]},
    "TCP flags": {"tcp_flags": [flow_pb2.TCPFlags(RST=True, URG=True)]},
    "DNS name": {"destination_fqdn": ["*.none"]},
    "HTTP path": {"http_path": ["/none"]},
    "device": {"interface": [flow_pb2.NetworkInterface(name="none")]},
    "identifier": {"uuid": ["none"]},
}

CLIENT = """
import sys, time, grpc
from daemon.proto import observer_pb2, observer_pb2_grpc, remora_pb2, remora_pb2_grpc
with grpc.insecure_channel(sys.argv[1], options=[("grpc.max_receive_message_length", 1 << 26)]) as channel:
    observer = observer_pb2_grpc.ObserverStub(channel)
    observer.ServerStatus(observer_pb2.ServerStatusRequest())
    request = observer_pb2.GetFlowsRequest(number=int(sys.argv[2]))
    started = time.perf_counter()
    if sys.argv[3] == "stock":
        count = sum(1 for _ in observer.GetFlows(request))
    else:
        request.extensions.Pack(remora_pb2.FlowOptions(plain=True))
        count = sum(len(batch.items) for batch in remora_pb2_grpc.AgentStub(channel).GetFlowBatches(request))
    print(count / (time.perf_counter() - started))
"""


def measure() -> Iterator[Figure]:
    """Queries, streams, memory, scrape."""
    with bare_datapath() as datapath:
        dtype = datapath.flow_dtype
    directory = Directory()
    directory.update_workloads(_workload(number) for number in range(WORKLOADS))
    store, records = FlowStore(dtype), _records(dtype, CAPACITY)
    before = _resident()
    for begin in range(0, CAPACITY, 8_192):
        store.append(records[begin : begin + 8_192])
    yield Figure("flows_store_memory", _resident() - before, "MB", at_most(50), f"{len(store):,} records")
    with _served(store, directory) as address:
        yield from _queries(address)
        yield _streamed(address, STOCK, "stock", 10_000)
        yield _streamed(address, CAPACITY, "batches", 100_000)
        yield Figure("flows_print_compact", _printed(address), "flows/s", None, "remora observe --all")


def _queries(address: str) -> Iterator[Figure]:
    times = {}
    with grpc.insecure_channel(address) as channel:
        observer = observer_pb2_grpc.ObserverStub(channel)
        for name, fields in FILTERS.items():
            request = observer_pb2.GetFlowsRequest(number=100, whitelist=[flow_pb2.FlowFilter(**fields)])
            times[name] = min(_timed(observer, request) for _ in range(TRIES))
    slowest = max(times, key=lambda name: times[name])
    note = ", ".join(f"{name} {1_000 * taken:.0f}" for name, taken in times.items())
    yield Figure("flows_query_narrow", 1_000 * times[slowest], "ms", at_most(50), note)


def _timed(observer: observer_pb2_grpc.ObserverStub, request: observer_pb2.GetFlowsRequest) -> float:
    started = time.perf_counter()
    assert not list(observer.GetFlows(request, timeout=30))
    return time.perf_counter() - started


def _streamed(address: str, count: int, how: str, goal: int) -> Figure:
    """The best of three tries; processor time is this process's, which does nothing but serve meanwhile."""
    command, rates = [sys.executable, "-c", CLIENT, address, str(count), how], []
    began = time.process_time()
    for _ in range(TRIES):
        rates.append(float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout))
    spent = (time.process_time() - began) / (TRIES * count)
    note = f"server {1e6 * spent:.1f} µs of processor time a flow"
    return Figure(f"flows_stream_{how}", max(rates), "flows/s", at_least(goal), note)


def _printed(address: str) -> float:
    command = [sys.executable, "-m", "daemon.cli.main", "observe", "--all", "--server", address]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=300)
    return done.stdout.count(b"\n") / (time.perf_counter() - started)


class View:
    """As much of an agent as the API asks for."""

    version = "0"

    def __init__(self, store: FlowStore, directory: Directory) -> None:
        self.store, self.directory, self.clock = store, directory, Clock()
        self.builder = FlowBuilder(directory, "benchmark", self.clock)
        self.events = EventLog()

    def uptime_ns(self) -> int:
        return 1

    def kernel_lost(self) -> Mapping[int, int]:
        return {}


@contextmanager
def _served(store: FlowStore, directory: Directory) -> Iterator[str]:
    """The address of a server, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="benchmark-api")
    thread.start()
    with TemporaryDirectory() as folder:
        server = ApiServer(cast("AgentView", View(store, directory)), Path(folder) / "api.sock")
        try:
            asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
            yield f"unix://{server.path}"
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)


def _workload(number: int) -> Workload:
    name = f"pod-{number:02d}"
    labels = (f"k8s:app={name}", "k8s:io.kubernetes.pod.namespace=shop")
    place = IPv4Address(f"10.0.0.{number + 1}")
    return Workload(
        WorkloadId(16 + number),
        Identity(300 + number),
        "shop",
        name,
        labels,
        (),
        (place,),
        100 + number,
        f"veth{number}",
    )


def _records(dtype: np.dtype[Any], count: int) -> RowArray:
    """Records of everybody with everybody, a microsecond apart."""
    chance = np.random.default_rng(1)
    made = np.zeros(count, dtype)
    ends = np.array([np.frombuffer(addresses.pack(f"10.0.0.{one + 1}"), np.uint32) for one in range(WORKLOADS)])
    for end in ("src", "dst"):
        numbers = chance.integers(0, WORKLOADS, count)
        made[end], made[f"{end}_workload"] = ends[numbers], 16 + numbers
    made["time"] = np.arange(count) * 1_000
    made["src_port"], made["dst_port"] = chance.integers(32_768, 60_999, count), chance.choice([80, 443, 8_080], count)
    made["family"], made["proto"] = 4, chance.choice([6, 6, 6, 17], count)
    made["tcp_flags"] = np.where(made["proto"] == 6, chance.choice([2, 16, 17, 24], count), 0)
    made["kind"], made["verdict"], made["direction"] = EventKind.NEW, 1, 1
    made["point"], made["ifindex"] = Point.TO_ENDPOINT, 84 + made["dst_workload"]
    made["forward_packets"], made["forward_bytes"] = 3, 180
    return made


def _resident() -> float:
    """Memory of this process in RAM (MB)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1_024 / 1e6
