"""Flows from a file or from stdin instead of an agent: lines of JSON, as `-o json` writes them.

Filters are those of the agent, evaluated here; they are loaded only for this.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

import click
from google.protobuf import json_format

from daemon.cli.errors import CliError
from daemon.cli.window import ALL
from daemon.proto import flow_pb2, observer_pb2, remora_pb2

MOST = 1_000_000


def items(
    path: str, request: observer_pb2.GetFlowsRequest, own: remora_pb2.FlowOptions
) -> Iterator[remora_pb2.FlowItem]:
    """What of a file (`-`: stdin) is asked for. Raises CliError for a filter or a file that cannot be read."""
    if not request.first and MOST < request.number < ALL:
        raise CliError(f"--last must be <= 1_000_000, got {request.number}")
    accepts = _acceptor(request, own)
    try:
        with nullcontext(sys.stdin) if path == "-" else Path(path).open() as lines:
            yield from _chosen((item for item in read(lines) if accepts(item)), request)
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or str(error)).lower()}") from error


def _chosen(
    found: Iterator[remora_pb2.FlowItem], request: observer_pb2.GetFlowsRequest
) -> Iterable[remora_pb2.FlowItem]:
    """The first, the last, or all."""
    if not request.number or request.number == ALL:
        return found
    if request.first:
        return (item for item, _ in zip(found, range(request.number), strict=False))
    return deque(found, maxlen=request.number)


def read(lines: TextIO) -> Iterator[remora_pb2.FlowItem]:
    """The responses in lines of JSON; a line that is none is told on stderr and left out."""
    lenient = False
    for line in lines:
        if not line.strip():
            continue
        try:
            item, unknown = _item(line, lenient)
        except (ValueError, json_format.ParseError) as error:
            click.echo(f"remora: no flow: {' '.join(str(error).split())}: {line.strip()[:100]}", err=True)
            continue
        if unknown and not lenient:
            click.echo(f"remora: unknown field, a newer remora would know it: {unknown}", err=True)
        lenient = lenient or bool(unknown)
        yield item


def _item(line: str, lenient: bool) -> tuple[remora_pb2.FlowItem, str]:
    """A line, and what is unknown in it."""
    value = json.loads(line)
    extra = value.pop("extra", None) if isinstance(value, dict) else None
    item = remora_pb2.FlowItem(extra=json_format.ParseDict(extra, remora_pb2.FlowExtra()) if extra else None)
    try:
        json_format.ParseDict(value, item.response, ignore_unknown_fields=lenient)
        return item, ""
    except json_format.ParseError as error:
        item.response.Clear()
        json_format.ParseDict(value, item.response, ignore_unknown_fields=True)
        return item, " ".join(str(error).split())


def _acceptor(
    request: observer_pb2.GetFlowsRequest, own: remora_pb2.FlowOptions
) -> Callable[[remora_pb2.FlowItem], bool]:
    from daemon.flows.filters import FilterError, accepts_own, compile_lists

    try:
        listed: Callable[[flow_pb2.Flow], bool] = compile_lists(request.whitelist, request.blacklist)
    except FilterError as error:
        raise CliError(str(error)) from error
    since = request.since.ToNanoseconds() if request.HasField("since") else None
    until = request.until.ToNanoseconds() if request.HasField("until") else None

    def accept(item: remora_pb2.FlowItem) -> bool:
        at = item.response.time.ToNanoseconds()
        if (since is not None and at < since) or (until is not None and at > until):
            return False
        if item.response.WhichOneof("response_types") == "lost_events":
            return True
        return listed(item.response.flow) and accepts_own(own, item.response.flow, item.extra)

    return accept
