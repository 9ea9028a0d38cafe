"""One kind of objects, kept up to date: listed once, then watched, through every way in which a watch ends.

A watch that ends in good order goes on from the last version heard of; bookmarks keep that young. So does one in which
nothing was said for long: bookmarks are no promise, and where nobody changes a kind a server may be silent for hours. A
version that the server has forgotten (410) means a new list. Everything else, a refused connection, a reset, a request
that is not answered, is waited out: longer each time, and never in step with other nodes. What is known stays in force
all the while; only a complete list ever removes what it does not mention.

Source: the API concepts of Kubernetes, "Efficient detection of changes" and "Retrieving large result sets in chunks".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx2
import msgspec

from daemon.model.listing import Name, name_of
from daemon.model.objects import KubeObject
from daemon.sources.defaults import with_defaults
from daemon.sources.kubernetes import refusals, wire
from daemon.sources.kubernetes.cache import Cache
from daemon.sources.kubernetes.resources import Resource
from daemon.sources.kubernetes.sharing import shared
from daemon.sources.kubernetes.versions import served_as
from daemon.sources.kubernetes.wire import GONE, ApiError

log = logging.getLogger(__name__)

T = TypeVar("T", bound=KubeObject)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take (s), and how much is asked for at once."""

    page: int = 500
    """objects in a page of a list"""
    watch: float = 300.0
    """what a watch asks the server for; each draws up to twice as much, so that they do not all end together"""
    silence: float = 90.0
    """without a byte, after which a watch is asked for anew, and an answer that has not begun is given up; most servers
    send a bookmark every minute"""
    brief: float = 1.0
    """a watch that ends sooner with nothing said has failed, in whatever order it ends"""
    wait: float = 0.25
    """before the first new attempt; doubles up to `wait_limit`"""
    wait_limit: float = 3.0
    refused: float = 15.0
    """the limit where the server forbids to ask, which somebody has to change; a thousand nodes ask all the while"""
    absent: float = 60.0
    """between looks for a kind that the server does not have"""


class Reflector(Generic[T]):
    """`cache` is complete when `synced` is set. `on_change` is called after each change, in the loop's thread."""

    def __init__(
        self, client: httpx2.AsyncClient, resource: Resource, patience: Patience, on_change: Callable[[], None]
    ) -> None:
        self.resource = resource
        self.cache: Cache[T] = Cache()
        self.synced = asyncio.Event()
        self.trouble = ""
        """why there is no connection, "" while there is one"""
        self.refused = False
        """whether `trouble` is one that only somebody's change of the cluster or the settings ends"""
        self.withheld = False
        """whether the server has refused so, and the kind was never listed"""
        self.heard_at = time.monotonic()
        """when the server was last heard of (s, CLOCK_MONOTONIC)"""
        self.unreadable: dict[Name, str] = {}
        """objects whose last version could not be decoded, and why"""
        self._client, self._patience, self._on_change = client, patience, on_change
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(resource.kind)
        self._version = ""
        self._failures = 0
        self._expired = 0  # since the last event

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except ApiError as error:
                await self._refused(error)
            except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
                self.refused = False
                await self._wait(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)

    async def _refused(self, error: ApiError) -> None:
        if error.code == GONE:
            self._version = ""
            self._expired += 1
            if self._expired == 1:
                return  # the first time a new list is asked for at once
        if error.code == refusals.NOT_FOUND and self.resource.optional:
            await self._missing(error)
            return
        if error.code in refusals.LASTING:
            self._forbidden()
        else:
            self.refused = False
        await self._wait(refusals.told(self.resource, error), error.retry_after)

    def _forbidden(self) -> None:
        """Only somebody's change ends this: there is nothing to wait for.

        Or it is a server that has just started and has not read its own rules yet, so the first waits are short.
        """
        if not self.refused:
            self.refused, self._failures = True, 0
        if not (self.withheld or self.synced.is_set()):
            self.withheld = True
            self._on_change()

    async def _missing(self, error: ApiError) -> None:
        """The server has no such kind, or serves it in another version.

        A kind that goes takes its objects with it first, so while there are any it is not believed to be gone.
        """
        try:
            version = await served_as(self._client, self.resource)
        except (ApiError, httpx2.HTTPError, OSError) as failed:
            await self._wait(f"whether the kind is there cannot be told: {failed or type(failed).__name__}")
            return
        if not (version or self.cache.all()):
            await self._absent()
            return
        self._forbidden()
        another = f"the cluster has it as version {version} only, and this agent reads {self.resource.version}"
        await self._wait(another if version else refusals.told(self.resource, error))

    async def _absent(self) -> None:
        """The server has no such kind: there are no such objects, until it has."""
        self._take({})
        self.trouble, self.refused = "", False
        await asyncio.sleep(self._patience.absent)

    async def _wait(self, trouble: str, at_least: float = 0.0) -> None:
        """Before the next attempt; the time is drawn, so that nodes do not come back all at once."""
        if trouble != self.trouble:
            log.warning("%s: %s", self.resource.name, trouble)
        self.trouble = trouble
        limit = self._patience.refused if self.refused else self._patience.wait_limit
        longest = min(self._patience.wait * 2**self._failures, limit)
        self._failures = min(self._failures + 1, 16)
        await asyncio.sleep(at_least + random.uniform(longest / 2, longest))

    def _heard(self) -> None:
        """The server has said something that could be understood."""
        if self.trouble:
            log.info("%s: the API server answers again", self.resource.name)
        self.trouble, self.refused, self.heard_at = "", False, time.monotonic()

    async def _list(self) -> None:
        """All objects, page by page; taken over only when complete."""
        found: dict[Name, T] = {}
        unreadable: dict[Name, str] = {}
        token = ""
        while True:
            page = await self._page(token)
            for raw in page.items or ():
                self._decode(raw, found, unreadable)
            token = page.metadata.next
            if not token:
                break
        self._version, self.unreadable = page.metadata.resource_version, unreadable
        self._heard()
        self._take(found)

    async def _page(self, token: str) -> wire.Page:
        query: dict[str, Any] = {**self.resource.selection, "limit": self._patience.page}
        if token:
            query["continue"] = token
        answer = await self._client.get(self.resource.path, params=query)
        if answer.status_code != httpx2.codes.OK:
            raise _failure(answer, answer.content)
        return wire.page(answer.content)

    def _decode(self, raw: msgspec.Raw, into: dict[Name, T], unreadable: dict[Name, str]) -> None:
        """Put an object among the others; of one that cannot be understood the last good version stays."""
        key = wire.head(raw).key
        try:
            found = shared(with_defaults(self._read(raw)))
            into[name_of(found)] = found  # type: ignore[assignment]
            unreadable.pop(key, None)
        except msgspec.ValidationError as error:
            self._report(key, str(error))
            unreadable[key] = str(error)
            known = self.cache.get(key)
            if known is not None:
                into[key] = known

    def _read(self, raw: msgspec.Raw) -> KubeObject:
        """Raises ValidationError. Few objects have a null in them, and only those are decoded twice."""
        try:
            return self._decoder.decode(raw)  # type: ignore[no-any-return]
        except msgspec.ValidationError:
            return msgspec.convert(wire.without_nulls(msgspec.json.decode(raw)), self.resource.kind)

    def _report(self, key: Name, why: str) -> None:
        if self.unreadable.get(key) != why:
            log.warning("%s %s/%s cannot be read: %s; its last good version stays", self.resource.name, *key, why)

    def _take(self, found: dict[Name, T]) -> None:
        changed = self.cache.replace(found)
        first, self.withheld = not self.synced.is_set(), False
        self.synced.set()
        if changed or first:
            self._on_change()

    async def _watch(self) -> None:
        """Follow changes until the watch ends in good order; raises what `run` knows to handle."""
        query = {
            **self.resource.selection,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(int(self._patience.watch * random.uniform(1, 2)) or 1),
        }
        began, said = time.monotonic(), False
        async with self._client.stream("GET", self.resource.path, params=query) as answer:
            if answer.status_code != httpx2.codes.OK:
                raise _failure(answer, await answer.aread())
            self._heard()
            with contextlib.suppress(httpx2.ReadTimeout):
                async for line in wire.lines(answer.aiter_bytes()):
                    self._event(wire.event(line))
                    self._heard()
                    said, self._failures = True, 0
        if not said and time.monotonic() - began < self._patience.brief:
            raise ApiError("the API server ended the watch at once")
        self._failures = 0

    def _event(self, event: wire.Event) -> None:
        if event.type == "ERROR":
            raise wire.failure(event.object)
        self._expired = 0
        head = wire.head(event.object)
        if event.type == "DELETED":
            self.unreadable.pop(head.key, None)
            changed = self.cache.remove(head.key)
        else:
            changed = event.type in ("ADDED", "MODIFIED") and self._put(event.object)
        self._version = head.metadata.resource_version or self._version
        if changed:
            self._on_change()

    def _put(self, raw: msgspec.Raw) -> bool:
        found: dict[Name, T] = {}
        self._decode(raw, found, self.unreadable)
        return any(self.cache.put(one) for one in found.values())


def _failure(answer: httpx2.Response, body: bytes) -> ApiError:
    wait = answer.headers.get("Retry-After", "")
    return wire.failure(body, answer.status_code, float(wait) if wait.isdigit() else 0.0)
