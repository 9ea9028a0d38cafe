"""The thread that takes records out of the ring buffers and feeds the pipeline.

One thread reads, because a ring buffer has one consumer and the store one
writer. It sleeps in epoll until the kernel has something, gives a burst a few
milliseconds to gather, and takes all of it as columns. Once in a while it walks
the connection table for those that ended without a word.
"""

from __future__ import annotations

import logging
import os
import select
import time
from threading import Thread
from typing import Any

import numpy as np

from daemon.agent.answers import Answers
from daemon.agent.sweep import Census, Sweeper
from daemon.flows.cgroups import Cgroups
from daemon.flows.l7 import PayloadRecord
from daemon.flows.metrics import FlowMetrics, LostSource
from daemon.flows.pipeline import FlowPipeline
from ebpf.constants import Counter
from ebpf.datapath import Datapath
from ebpf.errors import RemoraError
from ebpf.libbpf import MapType

log = logging.getLogger(__name__)

GATHER = 0.02  # s that a burst gets to gather; a wake-up costs as much as some ten records
BATCH = 4_096  # records taken at once; 0.7 MB, which stay in the processor's cache
PAYLOAD_BATCH = 1_024  # payload records decoded at once, so that plain records never wait long
SWEEP_INTERVAL = 5.0  # s between two walks over the connection table
TICK = 1.0  # s after which what did not come is looked for, also when nothing comes at all


class Reader(Thread):
    """Start with start(), end with stop()."""

    def __init__(
        self,
        datapath: Datapath,
        pipeline: FlowPipeline,
        metrics: FlowMetrics,
        cgroups: Cgroups,
        answers: Answers,
    ) -> None:
        super().__init__(name="remora-reader", daemon=True)
        self._pipeline = pipeline
        self._cgroups = cgroups
        self._answers = answers
        self._metrics = metrics
        self._counters = datapath.counters
        self._lost = self._kernel_lost()
        self._flow = datapath.flow_dtype
        self._payload = datapath.payload_dtype
        self._flows = datapath.ring("flows")
        self._payloads = datapath.ring("payloads")
        self._sweeper = Sweeper(
            datapath.maps["connections"],
            datapath.maps["translations"],
            datapath.flow_dtype,
            datapath.features.listen_overflow,
        )
        self._census = Census(
            table
            for name, table in datapath.maps.items()
            if table.spec.kind is MapType.LRU_HASH and name != "connections"  # the sweep counts those
        )
        self._wake, self._woken = os.pipe()
        self._stopping = False
        self.failures = 0
        """batches that could not be processed; each was logged and left out"""

    def waiting(self) -> dict[str, int]:
        """Bytes that wait in each ring buffer."""
        return {"flows": self._flows.fill(), "payloads": self._payloads.fill()}

    def stop(self) -> None:
        """Take what is there, end the thread and close the rings."""
        self._stopping = True
        os.write(self._woken, b"x")
        self.join()
        for ring in (self._flows, self._payloads):
            ring.close()
        os.close(self._wake)
        os.close(self._woken)

    def run(self) -> None:
        """The thread's body."""
        poll = select.epoll()
        for fd in (self._flows.fd, self._payloads.fd, self._wake):
            poll.register(fd, select.EPOLLIN)
        swept = time.monotonic()
        while not self._stopping:
            if poll.poll(TICK):
                time.sleep(GATHER)
            while self._guarded(self.take) and not self._stopping:
                pass
            self._guarded(self._pipeline.tick)
            if time.monotonic() - swept >= SWEEP_INTERVAL:
                swept = time.monotonic()
                self._guarded(self._sweep)
        self._guarded(self.take)
        poll.close()

    def _guarded(self, work: Any) -> bool:
        """A batch that cannot be processed is logged and left out; the next one is not its fault."""
        try:
            return bool(work())
        except (RemoraError, ValueError, KeyError, IndexError, ArithmeticError, TypeError):
            self.failures += 1
            log.exception("a batch of flow records could not be processed and is left out")
            return False

    def take(self) -> bool:
        """One batch from both rings; False when there was nothing."""
        payloads = [self._split(record) for record in self._payloads.records(PAYLOAD_BATCH)]
        rows = self._flows.rows(self._flow, BATCH)
        if not len(rows) and not payloads:
            return False
        self._cgroups.learn(np.unique(rows["cgroup"]).tolist())
        self._pipeline.ingest(rows, payloads)
        return len(rows) == BATCH or len(payloads) == PAYLOAD_BATCH

    def _kernel_lost(self) -> int:
        """Records that found a ring full, since the maps were made."""
        totals = self._counters.sums()
        return int(totals[Counter.FLOW_LOST] + totals[Counter.PAYLOAD_LOST])

    def _sweep(self) -> None:
        before, self._lost = self._lost, self._kernel_lost()
        if self._lost > before:
            self._metrics.lost(LostSource.KERNEL, self._lost - before)
        began = time.monotonic_ns()
        self._sweeper.watched = self._answers.watched
        rows = self._sweeper.sweep(began)
        self._answers.swept(began / 1e9, self._sweeper.talked_to)
        if len(rows):
            self._pipeline.ingest(rows, [])
        self._census.next()

    def _split(self, record: bytes) -> PayloadRecord:
        """A payload record's flow, kind and bytes; the record is cut after the bytes that are filled."""
        whole = np.zeros(1, self._payload)
        whole.view(np.uint8)[: len(record)] = np.frombuffer(record, np.uint8)
        start = self._payload.fields["data"][1] if self._payload.fields else 0
        one = whole[0]
        data = record[start : start + int(one["captured"])]
        return PayloadRecord(
            one["flow"], int(one["kind"]), data, bool(one["alone"]), int(one["length"]), int(one["sequence"])
        )
