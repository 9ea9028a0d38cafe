"""What the tests' API server does with single objects: made, read, removed, and the way through it to a pod.

A namespace takes everything in it along, Services get addresses and node ports, and what is there already is refused,
as by the real one. Removal is at once; of finalizers and graceful ends nothing is known here.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.support import apiserver_http as http
from tests.support.apiserver_store import PATHS, Object, Selection, Store

Answer = tuple[int, Any]
_KINDS = {path.rpartition("/")[2]: kind for kind, path in PATHS.items()}
_GROUPS = {kind: path.rpartition("/")[0] for kind, path in PATHS.items()}


@dataclass(frozen=True)
class Place:
    """A path taken apart: objects of a kind in a namespace ("" for all), perhaps one by name, perhaps a way beyond."""

    kind: str
    namespace: str = ""
    name: str = ""
    beyond: str = ""

    @classmethod
    def of(cls, path: str) -> Place | None:
        """None for a path that no kind has."""
        parts = path.strip("/").split("/")
        rest = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        kind = _KINDS.get(rest[0]) if rest else None
        if kind is None or not path.startswith(f"{_GROUPS[kind]}/"):
            return None
        return cls(kind, namespace, rest[1] if len(rest) > 1 else "", "/".join(rest[2:]))

    @property
    def path(self) -> str:
        return PATHS[self.kind]


@dataclass
class Objects:
    """Answers for one store."""

    store: Store
    forbidden: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def answer(self, request: http.Request) -> Answer:
        """Status code and body."""
        place = Place.of(request.path)
        if place is None:
            return 404, http.status(404, "the server could not find the requested resource")
        if place.kind in self.forbidden:
            return 403, http.status(403, f'{place.kind} "{place.name}" is forbidden')
        if place.beyond.startswith("proxy"):
            return await self._through(place, request)
        match request.method:
            case "POST":
                return self._create(place, json.loads(request.body))
            case "DELETE":
                return self._delete(place)
            case _:
                return self._read(place, request.query)

    def _read(self, place: Place, query: dict[str, str]) -> Answer:
        objects = self.store.objects[place.path]
        if place.name:
            found = objects.get((place.namespace, place.name))
            return (200, found) if found else _missing(place)
        wanted = Selection.of(query)
        items = [one for (space, _), one in objects.items() if space == place.namespace and wanted.matches(one)]
        return 200, {"kind": "List", "metadata": {"resourceVersion": str(self.store.version)}, "items": items}

    def _create(self, place: Place, made: Object) -> Answer:
        name = made["metadata"]["name"]
        if (place.namespace, name) in self.store.objects[place.path]:
            return 409, http.status(409, f'{place.kind} "{name}" already exists')
        if place.namespace and ("", place.namespace) not in self.store.objects[PATHS["Namespace"]]:
            return 404, http.status(404, f'namespaces "{place.namespace}" not found')
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        made = {**made, "metadata": {**made["metadata"], "creationTimestamp": stamp, "uid": str(next(self._numbers))}}
        if place.kind == "Service":
            made = {**made, "spec": self._addressed(made["spec"])}
        self.store.put(made)
        return 201, self.store.objects[place.path][place.namespace, name]

    def _addressed(self, spec: Object) -> Object:
        number = next(self._numbers)
        ports = [{"protocol": "TCP", **port} for port in spec["ports"]]
        if spec.get("type") == "NodePort":
            ports = [{**port, "nodePort": 32_000 + number} for port in ports]
        vips = [f"10.96.9.{number}", f"fd00:10:96:9::{number:x}"]
        given = {"clusterIP": vips[0], "clusterIPs": vips, "ipFamilies": ["IPv4", "IPv6"], "ports": ports}
        return {"type": "ClusterIP", **spec, **given}

    def _delete(self, place: Place) -> Answer:
        gone = self.store.objects[place.path].get((place.namespace, place.name))
        if gone is None:
            return _missing(place)
        if place.kind == "Namespace":
            for kind, path in PATHS.items():
                for namespace, name in [key for key in self.store.objects[path] if key[0] == place.name]:
                    self.store.delete(kind, namespace, name)
        self.store.delete(place.kind, place.namespace, place.name)
        return 200, gone

    async def _through(self, place: Place, request: http.Request) -> Answer:
        """What a pod answers; `place.name` is NAME:PORT."""
        name, _, port = place.name.partition(":")
        pod = self.store.objects[place.path].get((place.namespace, name))
        if pod is None or not pod.get("status", {}).get("podIP"):
            return _missing(place)
        target = "/" + request.target.partition("/proxy/")[2]
        try:
            reader, writer = await asyncio.open_connection(pod["status"]["podIP"], int(port))
            writer.write(f"GET {target} HTTP/1.0\r\nHost: pod\r\n\r\n".encode())
            async with asyncio.timeout(30):
                raw = await reader.read()
            writer.close()
        except OSError as error:
            return 503, http.status(503, f"error trying to reach service: {error}")
        return 200, json.loads(raw.partition(b"\r\n\r\n")[2])


def _missing(place: Place) -> Answer:
    return 404, http.status(404, f'{place.kind} "{place.name}" not found')
