"""GetFlows over the flow store: where a stream starts, what it sends, when it ends.

Everything that can be decided on columns is decided there: rows of the wrong
time or address never become flows. A stream remembers a sequence number and
nothing else, so a slow reader costs no memory; what the ring overwrote before
the reader came is told as lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from daemon.api.losses import Loss, LossLog
from daemon.api.masks import Mask
from daemon.api.matching import Selection
from daemon.api.view import AgentView
from daemon.flows.store import Rows
from daemon.flows.wire import FlowWriter, Form
from daemon.proto import flow_pb2, observer_pb2, remora_pb2
from ebpf.constants import EventKind

CHUNK = 4_096
"""Rows that are read from the store at once."""

BATCH = 256
"""Flows that are built before other tasks get their turn."""

LARGE_BATCH = 1_024
"""Flows that are written from their keys before that."""

_JUDGED = 65_536  # keys whose verdict a stream remembers
_LOSS_INTERVAL_NS = 1_000_000_000
_FOREVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Query:
    """A checked request: times on the kernel's clock, inclusive on both ends."""

    selection: Selection
    mask: Mask
    number: int
    first: bool
    follow: bool
    since: int | None
    until: int

    @property
    def limit(self) -> int | None:
        """Flows after which the stream ends."""
        return self.number if self.number and not self.follow else None


def parse(view: AgentView, request: observer_pb2.GetFlowsRequest) -> Query:
    """The query of a request; raises ValueError with the text for the client."""
    has_until = request.HasField("until") and not request.follow
    return Query(
        selection=Selection(request.whitelist, request.blacklist, options(request), view),
        mask=Mask(request.field_mask),
        number=request.number,
        first=request.first,
        follow=request.follow,
        since=_monotonic(view, request.since) if request.HasField("since") else None,
        until=_monotonic(view, request.until) if has_until else _FOREVER,
    )


def options(request: observer_pb2.GetFlowsRequest) -> remora_pb2.FlowOptions:
    """What a request asks beyond the observer API; foreign extensions are passed over."""
    found = remora_pb2.FlowOptions()
    request.extensions.Unpack(found)  # leaves it empty where the extension is another message
    return found


def _monotonic(view: AgentView, stamp: Timestamp) -> int:
    return view.clock.monotonic_ns(stamp.seconds * 10**9 + stamp.nanos)


def _without_messages(rows: Rows, indices: Sequence[int]) -> list[int]:
    """Those of the indices whose records are no messages."""
    chosen = np.asarray(indices, np.int64)
    found: list[int] = chosen[rows.rows["kind"][chosen] != EventKind.L7].tolist()
    return found


class FlowStream:
    """One call of GetFlows."""

    def __init__(self, view: AgentView, losses: LossLog, query: Query, form: Form = Form.RESPONSE) -> None:
        self._view = view
        self._writer = FlowWriter(view.builder, view.directory, view.clock, form)
        self._judged: dict[bytes, bool] = {}
        self._store = view.store
        self._losses = losses
        self._query = query
        self._sent = 0
        self._overtaken = 0
        self._overtaken_since = 0
        self._loss = 0
        self._ended = False

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """What the client gets, in order, serialised, in lists of at most LARGE_BATCH flows."""
        head = self._store.head
        position = await self._start(head)
        self._loss = self._first_loss(position)
        stop = head
        while not self._ended:
            while position < stop and not self._ended:
                rows = self._store.read(position, min(position + CHUNK, stop))
                self._overtaken += rows.start - position
                position = rows.stop
                async for batch in self._told(rows):
                    yield batch
            if not self._query.follow:
                break
            if pending := self._lost(_FOREVER):
                yield pending
            await self._more(position)
            stop = self._store.head
        if pending := self._lost(self._query.until, final=True):
            yield pending

    async def _more(self, position: int) -> None:
        """Wait for the record at `position`, or long enough that losses must be told."""
        if self._store.head > position:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(1.0):
                await self._store.wait(position)
        except TimeoutError:
            return

    # ---- where to start ----

    async def _start(self, head: int) -> int:
        query = self._query
        if query.since is not None:
            return self._seek(head, query.since)
        if query.first:
            return self._store.tail
        if not query.number:
            return head if query.follow else self._store.tail
        if query.number >= head - self._store.tail:
            return self._store.tail
        return await self._walk_back(head, query.number)

    def _seek(self, head: int, since: int) -> int:
        """The sequence number behind the newest record older than `since`."""
        stop = head
        while stop > self._store.tail:
            rows = self._store.read(stop - CHUNK, stop)
            older = np.flatnonzero(rows.rows["time"] < since)
            if len(older):
                return rows.start + int(older[-1]) + 1
            stop = rows.start
        return self._store.tail

    async def _walk_back(self, head: int, number: int) -> int:
        """The sequence number of the `number`th newest record that matches."""
        stop = head
        while stop > self._store.tail:
            rows = self._store.read(stop - CHUNK, stop)
            accepted = await self._accepted(rows, self._candidates(rows), newest=number)
            if len(accepted) >= number:
                return rows.start + accepted[-number]
            number -= len(accepted)
            stop = rows.start
        return self._store.tail

    # ---- what to send ----

    def _candidates(self, rows: Rows) -> list[int]:
        """Indices of rows in the time asked for that may match."""
        times = rows.rows["time"]
        wanted = self._query.selection.mask(rows) & (times <= self._query.until)
        if self._query.since is not None:
            wanted &= times >= self._query.since
        found: list[int] = np.flatnonzero(wanted).tolist()
        return found

    async def _accepted(self, rows: Rows, candidates: Sequence[int], newest: int = 0) -> list[int]:
        """The candidates that the filters let pass; with `newest` not more than so many of the last ones."""
        selection = self._query.selection
        if selection.everything:
            return list(candidates[-newest:])
        verdicts = self._verdicts(rows, candidates) if selection.stable else {}
        found: list[int] = []
        for place, index in enumerate(reversed(candidates) if newest else candidates):
            verdict = verdicts.get(index)
            if verdict is None:
                if place % BATCH == 0:
                    await asyncio.sleep(0)
                verdict = selection.accepts(self._build(rows, index), self._extra(rows, index))
            if verdict:
                found.append(index)
                if len(found) == newest:
                    break
        return found[::-1] if newest else found

    def _verdicts(self, rows: Rows, candidates: Sequence[int]) -> dict[int, bool]:
        """What the filters say of records that are no messages, asked once for all that share a key."""
        plain = _without_messages(rows, candidates)
        verdicts = {}
        judged = self._judged
        for index, key in zip(plain, self._writer.keys(rows.rows, plain), strict=True):
            verdict = judged.get(key)
            if verdict is None:
                if len(judged) >= _JUDGED:
                    judged.clear()
                verdict = judged[key] = self._query.selection.judges(self._writer.flow(rows, index))
            verdicts[index] = verdict
        return verdicts

    async def _told(self, rows: Rows) -> AsyncIterator[list[bytes]]:
        """The matching flows of a chunk, with the losses before each part of them."""
        candidates = self._candidates(rows)
        step = BATCH if self._one_by_one else LARGE_BATCH
        for begin in range(0, len(candidates), step):
            batch = self._lost(int(rows.rows["time"][candidates[begin]]))
            accepted = await self._accepted(rows, candidates[begin : begin + step])
            if self._query.limit is not None:
                accepted = accepted[: self._query.limit - self._sent]
            batch += self._written(rows, accepted)
            self._sent += len(accepted)
            self._ended = self._query.limit is not None and self._sent >= self._query.limit
            if batch:
                yield batch
            await asyncio.sleep(0)
            if self._ended:
                return
        late = rows.rows["time"] > self._query.until
        self._ended = self._ended or bool(late.any())

    @property
    def _one_by_one(self) -> bool:
        """Whether each flow has to be built as a message."""
        return self._query.selection.needs_extra or not self._query.mask.everything

    def _written(self, rows: Rows, indices: Sequence[int]) -> list[bytes]:
        """Flows in the form that is asked for: from their keys where nothing but whole flows is wanted."""
        if self._one_by_one:
            return [self._one(rows, index) for index in indices]
        plain = _without_messages(rows, indices)
        told = self._writer.write(rows, plain, self._writer.keys(rows.rows, plain))
        if len(told) == len(indices):
            return told
        written = dict(zip(plain, told, strict=True))
        return [written.get(index) or self._one(rows, index) for index in indices]

    def _one(self, rows: Rows, index: int) -> bytes:
        flow = self._build(rows, index)
        response = observer_pb2.GetFlowsResponse(flow=self._query.mask.apply(flow), node_name=flow.node_name)
        response.time.CopyFrom(flow.time)
        return self._writer.wrap(response, self._extra(rows, index))

    def _build(self, rows: Rows, index: int) -> flow_pb2.Flow:
        row = rows.rows[index]
        return self._view.builder.build(row, rows.start + index, self._store.message(int(row["l7"])))

    def _extra(self, rows: Rows, index: int) -> remora_pb2.FlowExtra | None:
        if not self._query.selection.needs_extra:
            return None
        row = rows.rows[index]
        return self._view.builder.extra(row, self._view.store.message(int(row["l7"])))

    # ---- what was lost ----

    def _first_loss(self, position: int) -> int:
        """The first loss to tell: none from before the stream's first record."""
        query = self._query
        if query.since is not None:
            return self._losses.after(query.since)
        rows = self._store.read(position, position + 1).rows
        return self._losses.after(int(rows["time"][0]) if len(rows) else _FOREVER)

    def _lost(self, until: int, final: bool = False) -> list[bytes]:
        """Losses up to a time (ns, CLOCK_MONOTONIC) that were not told yet."""
        found = []
        for loss in self._losses.since(self._loss):
            if loss.last > until:
                break
            found.append(self._kernel_loss(loss))
            self._loss = loss.number + 1
        now = time.monotonic_ns()
        if self._overtaken and (final or now - self._overtaken_since >= _LOSS_INTERVAL_NS):
            found.append(self._overtaken_loss())
            self._overtaken, self._overtaken_since = 0, now
        return found

    def _kernel_loss(self, loss: Loss) -> bytes:
        event = flow_pb2.LostEvent(source=flow_pb2.PERF_EVENT_RING_BUFFER, num_events_lost=loss.count)
        event.cpu.value = loss.cpu
        event.first.FromNanoseconds(self._view.clock.wall_ns(loss.first))
        event.last.FromNanoseconds(self._view.clock.wall_ns(loss.last))
        return self._lost_event(event, self._view.clock.wall_ns(loss.last))

    def _overtaken_loss(self) -> bytes:
        event = flow_pb2.LostEvent(source=flow_pb2.HUBBLE_RING_BUFFER, num_events_lost=self._overtaken)
        return self._lost_event(event, self._view.clock.now_ns())

    def _lost_event(self, event: flow_pb2.LostEvent, at: int) -> bytes:
        response = observer_pb2.GetFlowsResponse(lost_events=event, node_name=self._view.builder.node_name)
        response.time.FromNanoseconds(at)
        return self._writer.wrap(response, None)
