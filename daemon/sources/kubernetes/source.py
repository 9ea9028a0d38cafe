"""Snapshots of a cluster: everything that the API server has told, put together after each change.

Nothing is handed out before every kind has been listed once, so a half-heard cluster is never programmed. A server that
is away changes nothing: the last snapshot stays, and its age and the reason are told. One exception: where the server
forbids to read a kind of policies, Services and flows do not wait for it; the snapshot says that such policies may be
there (`withheld`), so nobody takes them for none.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import httpx2

from daemon.model.nodes import NodeObject
from daemon.model.objects import EndpointSlice, KubeObject, Namespace, Pod, Service
from daemon.model.policies import ClusterNetworkPolicy, NetworkPolicy, Policy
from daemon.model.shields import Shield
from daemon.model.snapshot import Problem, Severity, Snapshot
from daemon.sources.kubernetes.config import Access
from daemon.sources.kubernetes.reflector import Patience, Reflector
from daemon.sources.kubernetes.resources import RESOURCES

FIRST_SYNC = 10.0  # s that start() waits for a complete answer before the agent goes on without
GATHER = 0.01  # s from one snapshot to the next: changes that come meanwhile are told together


class KubernetesSource:
    """The objects of a cluster, as far as this node uses them."""

    kind = "kubernetes"

    def __init__(self, access: Access, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._access = access
        self._whole = Snapshot(read_at=time.monotonic())
        self._reflectors: dict[type[KubeObject], Reflector[Any]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._told_at = 0.0
        self._due: asyncio.TimerHandle | None = None
        self._first = asyncio.Event()

    @property
    def path(self) -> str:
        """The API server's address."""
        return self._access.server

    @property
    def peer(self) -> str:
        """What this node speaks to: the API server, or the proxy in between."""
        return self._access.peer

    @property
    def snapshot(self) -> Snapshot:
        """What is known, with what is wrong now, and since when it is not heard of any more."""
        return replace(self._whole, problems=self.problems, read_at=self._heard_at())

    @property
    def problems(self) -> tuple[Problem, ...]:
        """A server that does not answer or forbids to ask, and objects that cannot be read."""
        return (*self._forbidden(), *self._away(), *self._unreadable())

    async def start(self, on_change: Callable[[Snapshot], None]) -> None:
        """Begin to listen; returns after the first snapshot, or without one when the server does not answer in time."""
        client = self._access.client(self._patience.silence)
        told = partial(self._changed, on_change)
        self._reflectors = {one.kind: Reflector(client, one, self._patience, told) for one in RESOURCES}
        self._tasks = [
            asyncio.create_task(one.run(), name=f"watch {one.resource.name}") for one in self._reflectors.values()
        ]
        self._tasks.append(asyncio.create_task(_closing(client), name="API client"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SYNC):
                await self._first.wait()

    async def stop(self) -> None:
        """Stop listening; the last snapshot stays."""
        if self._due:
            self._due.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _changed(self, on_change: Callable[[Snapshot], None]) -> None:
        """Tell the change now, or together with others shortly after the one before."""
        if self._due or not all(map(_enough, self._reflectors.values())):
            return
        loop = asyncio.get_running_loop()
        self._due = loop.call_at(max(loop.time(), self._told_at + GATHER), self._tell, on_change)

    def _tell(self, on_change: Callable[[Snapshot], None]) -> None:
        self._due = None
        self._told_at = asyncio.get_running_loop().time()
        known = self._reflectors
        self._whole = Snapshot(
            services=known[Service].cache.all(),
            slices=known[EndpointSlice].cache.all(),
            pods=known[Pod].cache.all(),
            namespaces=known[Namespace].cache.all(),
            nodes=known[NodeObject].cache.all(),
            policies=known[NetworkPolicy].cache.all(),
            cluster_policies=known[ClusterNetworkPolicy].cache.all(),
            shields=known[Shield].cache.all(),
            unread=tuple(self._never_read(Policy)),
            withheld=tuple(self._withheld(Policy)),
            unread_shields=(*self._withheld(Shield), *self._never_read(Shield)),
            problems=tuple(self._unreadable()),
            read_at=time.monotonic(),
        )
        on_change(self._whole)
        self._first.set()

    def _heard_at(self) -> float:
        """Now, while every watch stands; else when the one that fell silent first was last heard of."""
        known = self._reflectors.values()
        lost = [one.heard_at for one in known if not one.withheld and (one.trouble or not one.synced.is_set())]
        return min(lost, default=time.monotonic())

    def _away(self) -> Iterable[Problem]:
        troubled = [one for one in self._reflectors.values() if one.trouble and not one.refused]
        if troubled:
            names = ", ".join(one.resource.name for one in troubled)
            kept = "what is known stays in force" if self._told_at else "nothing is in force yet"
            yield Problem(self.path, 0, f"{names}: {troubled[0].trouble}; {kept}")

    def _forbidden(self) -> Iterable[Problem]:
        """Each kind by itself: one rule of RBAC may be missing and another not."""
        for one in self._reflectors.values():
            if one.refused:
                what = f"{one.resource.name} cannot be read: {one.trouble}; {_meanwhile(one)}"
                yield Problem(f"{self.path}{one.resource.path}", 0, what)

    def _withheld(self, kind: type[KubeObject]) -> Iterable[str]:
        """Kinds of that sort that the server never let us read."""
        return (one.resource.name for own, one in self._reflectors.items() if one.withheld and issubclass(own, kind))

    def _never_read(self, sort: type[KubeObject]) -> Iterable[str]:
        """Objects of that sort of which not even an older version was understood."""
        for kind, one in self._reflectors.items():
            for name in one.unreadable:
                if issubclass(kind, sort) and one.cache.get(name) is None:
                    yield f"{kind.__name__} {'/'.join(filter(None, name))}"

    def _unreadable(self) -> Iterable[Problem]:
        for one in self._reflectors.values():
            for (namespace, name), why in one.unreadable.items():
                where = f"{self.path}{one.resource.path}"
                text = f"{one.resource.kind.__name__} {namespace}/{name}: {why}; its last good version stays"
                yield Problem(where, 0, text, Severity.ERROR)


def _enough(one: Reflector[Any]) -> bool:
    """Whether a snapshot need not wait for this kind."""
    return one.synced.is_set() or (one.withheld and not one.resource.needed)


def _meanwhile(one: Reflector[Any]) -> str:
    if one.synced.is_set():
        return "what is known stays in force"
    if one.resource.needed:
        return "nothing is programmed until it can be read; what an earlier agent programmed goes on"
    return "such objects are not known; what an earlier agent enforced stays in force"


async def _closing(client: httpx2.AsyncClient) -> None:
    """Closes the client when it is cancelled; its own context manager refuses one that has already asked."""
    async with contextlib.aclosing(client):
        await asyncio.Event().wait()
