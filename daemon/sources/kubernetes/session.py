"""Single questions to the API server, for commands: make this, read that, remove it again.

The agent itself never writes to a cluster; who runs a command does, with credentials of his own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

import httpx2

from daemon.sources.kubernetes import wire
from daemon.sources.kubernetes.config import Access
from daemon.sources.kubernetes.wire import ApiError

TIMEOUT = 15.0  # s for an answer

Object = dict[str, Any]


class Session:
    """A context manager with one connection or a few; not for use within an event loop."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._runner = asyncio.Runner()

    def __enter__(self) -> Session:
        self._client = self._access.client(TIMEOUT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    @property
    def server(self) -> str:
        """The API server's address."""
        return self._access.server

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        """An object or a list; raises ApiError."""
        return self._object(self._runner.run(self._ask("GET", path, [*(query or {}).items()])))

    def get_json(self, path: str, query: Iterable[tuple[str, str]]) -> Any:
        """What is behind a path that leads through the API server; keys may come several times. Raises ApiError."""
        return json.loads(self._runner.run(self._ask("GET", path, query)))

    def create(self, path: str, made: Object) -> Object:
        """The object as the server keeps it; raises ApiError."""
        return self._object(self._runner.run(self._ask("POST", path, body=made)))

    def delete(self, path: str) -> None:
        """Raises ApiError, also where there is no such object (404)."""
        self._runner.run(self._ask("DELETE", path, body={"propagationPolicy": "Background"}))

    async def _ask(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]] = (),
        body: Object | None = None,
    ) -> bytes:
        try:
            answer = await self._client.request(method, path, params=[*query], json=body)
        except (httpx2.HTTPError, OSError) as error:
            raise ApiError(f"{self.server} does not answer: {error or type(error).__name__}") from error
        if answer.is_error:
            raise wire.failure(answer.content, answer.status_code)
        return answer.content

    def _object(self, raw: bytes) -> Object:
        try:
            found = json.loads(raw)
        except ValueError as error:
            raise ApiError(f"{self.server} sent what is no JSON") from error
        return found if isinstance(found, dict) else {}
