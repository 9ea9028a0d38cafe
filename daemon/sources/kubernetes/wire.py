"""What the API server sends: pages of a list, events of a watch, and its words for what went wrong.

Objects stay raw bytes until each is decoded on its own, so one that cannot be understood does not cost its neighbours.

Source: the API conventions of Kubernetes, "Lists and simple kinds", "Watch", "Error codes".
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec

from ebpf.errors import RemoraError

T = TypeVar("T")

LINE_LIMIT = 16 << 20  # bytes of one event; etcd holds objects of 1.5 MiB
RETRY_LIMIT = 30.0  # s that a server may ask to wait
GONE = 410  # HTTP status and code: the version asked for is no longer known


class ApiError(RemoraError):
    """The API server refused, or could not be understood. `code` is the HTTP status, 0 where there was none.

    `retry_after` (s) is what the server asks to wait, 0 for nothing.
    """

    def __init__(self, message: str, code: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    next: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, frozen=True):
    """A part of a list."""

    metadata: _ListMeta = _ListMeta()
    items: list[msgspec.Raw] | None = None


class Event(msgspec.Struct, frozen=True):
    """A change, a bookmark or an error."""

    type: str
    object: msgspec.Raw


class _ObjectMeta(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class Head(msgspec.Struct, frozen=True):
    """What every object has, whatever else it may be."""

    metadata: _ObjectMeta = _ObjectMeta()

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.metadata.namespace, self.metadata.name


class _Details(msgspec.Struct, frozen=True, rename="camel"):
    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True):
    """The server's words for a failure."""

    code: int = 0
    message: str = ""
    reason: str = ""
    details: _Details | None = None


_page = msgspec.json.Decoder(Page)
_event = msgspec.json.Decoder(Event)
_head = msgspec.json.Decoder(Head)
_status = msgspec.json.Decoder(Status)


def page(body: bytes) -> Page:
    """A page of a list; raises ApiError. What has no version is none: a stranger's `{}` would empty everything."""
    found = _decoded(_page, body, "list")
    if not found.metadata.resource_version:
        raise ApiError("the API server sent something else than a list: is `api_server` that of a Kubernetes API?")
    return found


def event(line: bytes) -> Event:
    """One line of a watch; raises ApiError."""
    return _decoded(_event, line, "event")


def head(raw: msgspec.Raw) -> Head:
    """Name and version of an object; raises ApiError."""
    return _decoded(_head, raw, "object")


def failure(body: bytes | msgspec.Raw, code: int = 0, retry_after: float = 0.0) -> ApiError:
    """The error that a Status, or anything else in its place, tells of."""
    try:
        told = _status.decode(body)
    except msgspec.DecodeError:
        told = Status()
    code = told.code or code
    wait = min(max(retry_after, told.details.retry_after_seconds if told.details else 0), RETRY_LIMIT)
    return ApiError(f"the API server says {code}: {told.message or told.reason or 'no reason'}", code, wait)


def without_nulls(value: Any) -> Any:
    """Decoded JSON without the fields that are null, which the server writes for some that are not there.

    A slice that has lost its last endpoint has `endpoints: null`.
    """
    if isinstance(value, list):
        return [without_nulls(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: without_nulls(one) for key, one in value.items() if one is not None}


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of a stream; one that is cut off at its end is not among them. Raises ApiError for one too long."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
        if len(rest) > LINE_LIMIT:
            raise ApiError(f"an event of more than {LINE_LIMIT >> 20} MiB")


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, what: str) -> T:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ApiError(f"the API server sent a {what} that cannot be read: {error}") from error
