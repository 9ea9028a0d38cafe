"""What the agent itself did lately, for GetAgentEvents.

Hubble's agent keeps such events among the flows, where they push each other out. Here they have a small ring of their
own: a busy host cannot make the agent forget what it did.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import islice

from google.protobuf.timestamp_pb2 import Timestamp

from daemon.proto import flow_pb2, observer_pb2

CAPACITY = 4_096


@dataclass(frozen=True, slots=True)
class Happened:
    """An event, when it happened (ns since 1970), and its number since the start."""

    number: int
    time: int
    event: flow_pb2.AgentEvent


class EventLog:
    """The last 4,096 events, oldest first. Belongs to the event loop."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._kept: deque[Happened] = deque(maxlen=capacity)
        self._next = 0
        self._added = asyncio.Event()

    def add(self, event: flow_pb2.AgentEvent, time: int) -> None:
        """Note an event that happened at `time` (ns since 1970)."""
        self._kept.append(Happened(self._next, time, event))
        self._next += 1
        self._added.set()
        self._added = asyncio.Event()

    def chosen(self, request: observer_pb2.GetAgentEventsRequest) -> list[Happened]:
        """What is stored and asked for, oldest first."""
        since = _ns(request.since) if request.HasField("since") else None
        until = _ns(request.until) if request.HasField("until") and not request.follow else None
        found = [
            one for one in self._kept if (since is None or one.time >= since) and (until is None or one.time <= until)
        ]
        if not request.number:
            return found if since is not None or not request.follow else []
        if request.first or since is not None:
            return found if request.follow else found[: request.number]
        return found[-request.number :]

    async def stream(self, request: observer_pb2.GetAgentEventsRequest) -> AsyncIterator[Happened]:
        """What is stored and asked for, and with `follow` what comes."""
        position = self._next
        for one in self.chosen(request):
            yield one
        while request.follow:
            added = self._added
            for one in self._from(position):
                yield one
                position = one.number + 1
            if position == self._next:
                await added.wait()

    def _from(self, number: int) -> list[Happened]:
        """Events from that number on, as far as they are kept."""
        wanted = min(self._next - number, len(self._kept))
        return list(islice(self._kept, len(self._kept) - wanted, None))


def _ns(stamp: Timestamp) -> int:
    return stamp.seconds * 10**9 + stamp.nanos
