"""A Kubernetes API server for tests: lists in pages, watches with bookmarks, and fails in every way on demand.

It keeps objects and a log of changes under one counter of versions, as etcd does. What a client may rely on is kept
exactly: a page's token belongs to one version and expires with it; a watch from a version that the log has lost begins,
and its only event is 410; an object that comes to match or no longer matches a selector is ADDED or DELETED for those
who select. What a client must put up with is kept as well: long lists are compressed, their items do not say their
kind, a slice without endpoints has null in their place, and a bookmark only comes with a newer version.

Source: the API concepts of Kubernetes (lists, chunking, watches, bookmarks) and its label and field selectors; the
handlers and the watch cache of k8s.io/apiserver.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping
from itertools import islice

from tests.support import apiserver_http as http
from tests.support.apiserver_objects import Objects
from tests.support.apiserver_store import KINDS, PATHS, Change, Name, Object, Selection, Store, written


class Fault(Exception):
    """Ends a connection. `reset`: by RST; else in good order, wherever the stream stands."""

    def __init__(self, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


class ApiServer:
    """Serves a store on a loopback port of the calling namespace. `faults` change what the next answers are.

    `down` refuses connections; `mute` accepts and says nothing; `fail` is answered to the next requests, one after the
    other; `bookmark` (s) is the time between bookmarks; `dribble` sends a stream byte by byte; `watch_limit` (s) ends
    watches; a `forgetful` one knows no version of the past, neither a watch's nor a page's. Kinds that are
    `forbidden` are answered with 403, `absent` ones with 404 (and discovery
    says in which other version they are `served_as`); whoever brings none of the `tokens` (None: no matter)
    nor a certificate of one of the `subjects` with 401.
    """

    def __init__(self, store: Store | None = None, bookmark: float = 1.0, tls: ssl.SSLContext | None = None) -> None:
        self.store = store or Store()
        self.objects = Objects(self.store)
        self.bookmark = bookmark
        self.fail: list[tuple[int, dict[str, str]]] = []
        self.forbidden: set[str] = set()
        self.absent: set[str] = set()
        self.served_as: dict[str, str] = {}
        self.tokens: set[str] | None = None
        self.subjects: set[str] = set()
        self.tls = tls
        self.mute = False
        self.dribble = False
        self.watch_limit = 3600.0
        self.forgetful = False
        self.compressed = 0
        self.requests: list[str] = []
        self.headers: Mapping[str, str] = {}
        self.port = 0
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self._connections: dict[asyncio.StreamWriter, asyncio.StreamReader] = {}
        self._watches: dict[asyncio.StreamWriter, list[str]] = {}

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, on the port of last time where there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self, reset: bool = True) -> None:
        """Stop listening and cut every connection."""
        assert self._server
        self._server.close()
        self.cut(reset)
        self._server = None

    def cut(self, reset: bool = True) -> None:
        """End all connections, by RST or in good order."""
        for writer in list(self._connections):
            http.end(writer, reset)

    def inject(self, line: str) -> None:
        """Put a line into every open watch: an ERROR event, garbage, half an event."""
        for pending in self._watches.values():
            pending.append(line)

    async def notify(self) -> None:
        """The store was changed: wake the watches."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def put(self, *objects: Object) -> None:
        for one in objects:
            self.store.put(one)
        await self.notify()

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        self.store.delete(kind, namespace, name)
        await self.notify()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections[writer] = reader
        try:
            while request := await http.read(reader):
                await self._answer(request, writer)
        except Fault as fault:
            http.end(writer, fault.reset)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections.pop(writer, None)
            with contextlib.suppress(Exception):
                writer.close()

    async def _answer(self, request: http.Request, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request.target)
        self.headers = request.headers
        if self.mute:
            await asyncio.sleep(3600)
        path, query = request.path, request.query
        watches = query.get("watch") in ("1", "true")
        if self.fail:
            code, headers = self.fail.pop(0)
            await http.answer(writer, code, http.status(code), headers)
        elif self.tokens is not None and request.token not in self.tokens and _subject(writer) not in self.subjects:
            await http.answer(writer, 401, http.status(401, "Unauthorized"))
        elif path in self._paths(self.forbidden):
            verb = "watch" if watches else "list"
            await http.answer(writer, 403, http.status(403, _forbidden(path, verb)))
        elif path in (documents := self._discovery()):
            await http.answer(writer, 200, documents[path])
        elif path in self._paths(self.absent):
            await http.answer(writer, 404, "404 page not found\n")
        elif path not in self.store.objects or request.method != "GET":
            self.objects.store, self.objects.forbidden = self.store, self.forbidden
            await http.answer(writer, *await self.objects.answer(request))
            await self.notify()
        elif watches:
            await self._watch(path, query, writer)
        else:
            await self._list(path, query, writer, request.headers.get("accept-encoding", ""))

    def _discovery(self) -> dict[str, Object]:
        """What is said of groups with a kind that is served in another version."""
        documents: dict[str, Object] = {}
        for kind, version in self.served_as.items():
            group = PATHS[kind].rsplit("/", 2)[0]
            documents[group] = {"versions": [{"version": version}]}
            documents[f"{group}/{version}"] = {"resources": [{"name": PATHS[kind].rpartition("/")[2]}]}
        return documents

    @staticmethod
    def _paths(kinds: set[str]) -> set[str]:
        return {PATHS[kind] for kind in kinds}

    async def _list(self, path: str, query: dict[str, str], writer: asyncio.StreamWriter, accepted: str) -> None:
        """A page. Its token names the version and the last name; a later page shows what there is then."""
        version, after = self.store.version, None
        if token := query.get("continue"):
            told = json.loads(base64.b64decode(token))
            version, after = told["version"], tuple(told["after"])
            if self.forgetful or version < self.store.lost:
                await http.answer(writer, 410, _expired(_token(self.store.version, after)))
                return
        wanted, objects = Selection.of(query), self.store.objects[path]
        names = self.store.names(path)
        rest = names[bisect_right(names, after) if after else 0 :]
        limit = int(query.get("limit", 0)) or len(rest)
        matching = (name for name in rest if wanted.matches(objects[name]))
        page = list(islice(matching, limit))
        meta = {"resourceVersion": str(version)}
        if next(matching, None):
            meta["continue"] = _token(version, page[-1])
        items = [written(path, objects[name], listed=True) for name in page]
        body = {"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items}
        self.compressed += await http.answer(writer, 200, body, pack="gzip" in accepted)

    async def _watch(self, path: str, query: dict[str, str], writer: asyncio.StreamWriter) -> None:
        version = int(query["resourceVersion"])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        pending = self._watches.setdefault(writer, [])
        try:
            lasts = min(float(query.get("timeoutSeconds", 300)), self.watch_limit)
            deadline = asyncio.get_running_loop().time() + lasts
            async for line in self._events(path, Selection.of(query), version, deadline, pending):
                reader = self._connections[writer]
                if reader.at_eof() or reader.exception():
                    raise Fault
                if line:
                    await self._send(writer, line)
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        finally:
            del self._watches[writer]

    async def _events(
        self, path: str, wanted: Selection, version: int, deadline: float, pending: list[str]
    ) -> AsyncIterator[str]:
        """Lines of a watch from a version on, until the deadline; "" now and then, for whoever must look up."""
        if self.forgetful or version < self.store.lost:
            yield json.dumps({"type": "ERROR", "object": _expired()})
            return
        loop, began = asyncio.get_running_loop(), version
        next_bookmark = loop.time() + self.bookmark
        while loop.time() < deadline:
            while pending:
                yield pending.pop(0)
            for change in self.store.since(version):
                version = change.version
                if change.path == path and (line := _event(change, wanted)):
                    yield line
            if loop.time() >= next_bookmark:
                next_bookmark = loop.time() + self.bookmark
                version = self.store.version
                if version > began:
                    yield _bookmark(path, version)
            yield ""
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(0.05, self.bookmark)):
                    await self._changed.wait()
        if version > began:
            yield _bookmark(path, version)

    async def _send(self, writer: asyncio.StreamWriter, line: str) -> None:
        while self.mute:
            await asyncio.sleep(0.05)
        body = line.encode() + b"\n"
        pieces = [body[i : i + 1] for i in range(len(body))] if self.dribble else [body]
        for piece in pieces:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()


def _event(change: Change, wanted: Selection) -> str:
    """The line that a client with this selection gets; "" for none."""
    matched, matches = wanted.matches(change.before), not change.deleted and wanted.matches(change.object)
    if not matched and not matches:
        return ""
    kind = "MODIFIED" if matched and matches else "ADDED" if matches else "DELETED"
    return json.dumps({"type": kind, "object": written(change.path, change.object)})


def _bookmark(path: str, version: int) -> str:
    meta = {"resourceVersion": str(version), "creationTimestamp": None}
    empty = {"kind": KINDS[path], "metadata": meta, "spec": {"containers": None}, "status": {}}
    return json.dumps({"type": "BOOKMARK", "object": empty})


def _token(version: int, after: Name) -> str:
    """Where a list goes on."""
    return base64.b64encode(json.dumps({"version": version, "after": after}).encode()).decode()


def _expired(token: str = "") -> Object:
    """The words for a version that is forgotten; with a token, by which who can put up with gaps goes on."""
    meta = {"continue": token} if token else {}
    return http.status(410, "too old resource version", reason="Expired", metadata=meta)


def _subject(writer: asyncio.StreamWriter) -> str:
    """The common name in the client's certificate; "" where it showed none."""
    shown = writer.get_extra_info("peercert") or {}
    return next((value for part in shown.get("subject", ()) for key, value in part if key == "commonName"), "")


def _forbidden(path: str, verb: str) -> str:
    """The words of a server whose RBAC does not allow it."""
    group = path.split("/")[2] if path.startswith("/apis/") else ""
    resource = path.rpartition("/")[2]
    return (
        f'{resource}{"." if group else ""}{group} is forbidden: User "system:serviceaccount:kube-system:remora" cannot '
        f'{verb} resource "{resource}" in API group "{group}" at the cluster scope'
    )
