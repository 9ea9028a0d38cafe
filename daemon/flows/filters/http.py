"""Rules for application messages: HTTP fields and DNS queries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote, urlsplit

from daemon.flows.filters.errors import FilterError, quoted
from daemon.flows.filters.patterns import searcher
from daemon.proto import flow_pb2

Flow = flow_pb2.Flow
Predicate = Callable[[flow_pb2.Flow], bool]

_FULL = re.compile(r"[1-5][0-9]{2}")
_PREFIX = re.compile(r"[1-5][0-9]?\+")


def by_status(values: Iterable[str]) -> Predicate:
    """`404`, or a prefix: `5+`, `40+`. Requests have no status."""
    full, prefixes = set(), []
    for value in values:
        if _FULL.fullmatch(value):
            full.add(value)
        elif _PREFIX.fullmatch(value):
            prefixes.append(value.removesuffix("+"))
        else:
            raise FilterError(f"invalid status code prefix: {quoted(value)}")

    def match(flow: Flow) -> bool:
        code = f"{flow.l7.http.code:03d}" if flow.l7.http.code else ""
        return code in full or any(code.startswith(prefix) for prefix in prefixes)

    return match


def by_method(values: Iterable[str]) -> Predicate:
    wanted = frozenset(value.casefold() for value in values)
    return lambda flow: bool(flow.l7.http.method) and flow.l7.http.method.casefold() in wanted


def by_url(values: Iterable[str]) -> Predicate:
    found = searcher(values, lambda pattern, reason: f"{pattern}: {reason}")
    return lambda flow: bool(flow.l7.http.url) and found(flow.l7.http.url)


def by_path(values: Iterable[str]) -> Predicate:
    """The decoded path of the URL; a URL that cannot be parsed has none and never matches."""
    found = searcher(values, lambda pattern, reason: f"{pattern}: {reason}")

    def match(flow: Flow) -> bool:
        path = _path(flow.l7.http.url) if flow.l7.http.url else None
        return path is not None and found(path)

    return match


def by_header(entries: Iterable[flow_pb2.HTTPHeader]) -> Predicate:
    wanted = frozenset((entry.key, entry.value) for entry in entries)
    return lambda flow: any((header.key, header.value) in wanted for header in flow.l7.http.headers)


def by_dns_query(values: Iterable[str]) -> Predicate:
    found = searcher(values, lambda _, reason: f"failed to compile regexp: {reason}")
    return lambda flow: flow.l7.WhichOneof("record") == "dns" and found(flow.l7.dns.query)


def _path(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return unquote(parts.path) if parts.scheme or url.startswith("/") else None
