"""The flow store: the last quarter million flow records, as they came from the kernel.

One numpy array is the ring, so a record costs its 184 bytes and nothing else; pages are touched only when they are
filled. Sequence numbers count every record since the start and never repeat: a reader remembers one, and sees from the
answer's `start` how many records it was too slow for.

One thread appends. Readers run in other threads, mostly in the asyncio loop, and take no lock: they copy, and then drop
the rows that the writer had claimed meanwhile. `tail` moves before rows are overwritten and `head` after they are
written, so a reader can never return a torn row.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from daemon.flows.l7.messages import L7Message
from daemon.flows.l7.ring import MessageRing
from daemon.flows.rate import RateMeter
from daemon.flows.record import RowArray

CAPACITY = 262_144


@dataclass(frozen=True, slots=True)
class Rows:
    """A copy of consecutive records; `rows[i]` has the sequence number `start + i`."""

    start: int
    rows: RowArray

    @property
    def stop(self) -> int:
        """The sequence number behind the last row."""
        return self.start + len(self.rows)


class FlowStore:
    """A ring of flow records and the application messages that they refer to."""

    def __init__(
        self,
        dtype: np.dtype[Any],
        capacity: int = CAPACITY,
        messages: MessageRing | None = None,
        meter: RateMeter | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"the flow store needs room for at least 1 record, not {capacity}")
        self.dtype = dtype
        self.capacity = capacity
        self.messages = messages or MessageRing()
        self._meter = meter or RateMeter()
        self._ring = np.empty(capacity, dtype)
        self._bytes = self._ring.view(np.uint8).reshape(capacity, dtype.itemsize)
        self._head = 0
        self._tail = 0
        self._waiters: set[_Waiter] = set()
        self._lock = Lock()

    @property
    def head(self) -> int:
        """The sequence number of the next record; also how many were ever appended."""
        return self._head

    @property
    def tail(self) -> int:
        """The sequence number of the oldest record that is kept."""
        return self._tail

    @property
    def seen(self) -> int:
        """Records appended since the start."""
        return self._head

    def __len__(self) -> int:
        return self._head - self._tail

    def rate(self) -> float:
        """Records a second over the last minute."""
        return self._meter.rate()

    def append(self, rows: RowArray) -> None:
        """Add records, oldest first; raises ValueError for rows of another layout. One thread only."""
        if rows.dtype != self.dtype:
            raise ValueError("rows of another layout cannot be stored; read them with the dtype of the store")
        if not len(rows):
            return
        head = self._head + len(rows)
        self._tail = max(self._tail, head - self.capacity)
        kept = rows[-self.capacity :]
        self._write(head - len(kept), kept)
        self._head = head
        self._meter.add(len(rows))
        if self._waiters:
            self._wake()

    def read(self, start: int, stop: int) -> Rows:
        """Records `start` to `stop - 1`, as far as they are kept: compare `start` of the answer with what was asked."""
        first = max(start, self._tail)
        last = max(first, min(stop, self._head))
        copy = self._copy(first, last)
        gone = min(max(0, self._tail - first), len(copy))
        return Rows(first + gone, copy[gone:])

    def workloads(self, start: int, stop: int) -> set[int]:
        """The workloads' numbers in records `start` to `stop - 1`, as far as they are kept: columns, not whole rows."""
        first, last = max(start, self._tail), min(stop, self._head)
        begin, end = first % self.capacity, first % self.capacity + max(0, last - first)
        parts = (self._ring[begin : min(end, self.capacity)], self._ring[: max(0, end - self.capacity)])
        named = [part[name] for part in parts for name in ("src_workload", "dst_workload")]
        return set(np.unique(np.concatenate(named)).tolist()) - {0}

    def message(self, ref: int) -> L7Message | None:
        """The application message of a record's field `l7`; None for 0 and for messages that are gone."""
        return self.messages.get(ref)

    async def wait(self, seq: int) -> None:
        """Return when the record with that sequence number has been appended."""
        while self._head <= seq:
            waiter = _Waiter(asyncio.get_running_loop(), asyncio.Event())
            with self._lock:
                self._waiters.add(waiter)
            try:
                if self._head <= seq:
                    await waiter.event.wait()
            finally:
                with self._lock:
                    self._waiters.discard(waiter)

    @property
    def followers(self) -> int:
        """Readers that wait for new records at this moment."""
        return len(self._waiters)

    def _write(self, seq: int, rows: RowArray) -> None:
        # As bytes: numpy copies structured rows field by field, 25 times slower.
        source = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), self.dtype.itemsize)
        position = seq % self.capacity
        fits = min(len(rows), self.capacity - position)
        self._bytes[position : position + fits] = source[:fits]
        self._bytes[: len(rows) - fits] = source[fits:]

    def _copy(self, first: int, last: int) -> RowArray:
        copy = np.empty(last - first, self.dtype)
        target = copy.view(np.uint8).reshape(last - first, self.dtype.itemsize)
        position = first % self.capacity
        fits = min(last - first, self.capacity - position)
        target[:fits] = self._bytes[position : position + fits]
        target[fits:] = self._bytes[: last - first - fits]
        return copy

    def _wake(self) -> None:
        with self._lock:
            waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            waiter.wake()


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    loop: asyncio.AbstractEventLoop
    event: asyncio.Event

    def wake(self) -> None:
        """From the writer's thread; a loop that was closed meanwhile has nobody left to wake."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.event.set)
