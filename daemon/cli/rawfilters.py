"""Filters as JSON and field masks: what goes into a request, and what --print-raw-filters shows of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from google.protobuf import json_format

from daemon.cli import jsonpb
from daemon.cli.errors import UsageError
from daemon.proto import flow_pb2

SHOWN = (
    *("time", "verdict", "ethernet", "IP", "l4"),
    *("source.identity", "source.namespace", "source.pod_name"),
    *("destination.identity", "destination.namespace", "destination.pod_name"),
    *("Type", "node_name", "l7", "event_type", "source_service", "destination_service"),
    *("is_reply", "Summary", "ip_trace_id"),
)
"""The fields that Hubble's CLI asks for where it prints text."""

FORGOTTEN = (
    *("traffic_direction", "policy_match_type", "source_names", "destination_names"),
    *("sock_xlate_point", "debug_capture_point", "auth_type"),
    *("egress_allowed_by", "ingress_allowed_by", "egress_denied_by", "ingress_denied_by"),
)
"""The fields that it prints as well, and does not ask for; a server that obeys leaves them out."""


def parse(name: str, texts: Sequence[str]) -> list[flow_pb2.FlowFilter]:
    """Filters given as JSON, several objects one after another in a text; raises UsageError naming the flag."""
    found: list[flow_pb2.FlowFilter] = []
    for text in texts:
        rest = text.strip()
        while rest:
            try:
                value, end = json.JSONDecoder().raw_decode(rest)
                found.append(json_format.ParseDict(value, flow_pb2.FlowFilter()))
            except (ValueError, json_format.ParseError) as error:
                raise UsageError(f"invalid --{name} flag: failed to decode '{text}': {error}") from error
            rest = rest[end:].strip()
    return found


def printed(filters: Mapping[str, list[flow_pb2.FlowFilter]]) -> str:
    """The filter lists as YAML, each filter a JSON text."""
    lines: list[str] = []
    for name, entries in filters.items():
        if entries:
            quoted = (jsonpb.line(entry).replace("'", "''") for entry in entries)
            lines += [f"{name}:", *(f"    - '{entry}'" for entry in quoted)]
    return "".join(f"{line}\n" for line in lines)


def mask(given: Sequence[str], output: str, default: bool) -> list[str]:
    """The field mask to send; raises UsageError for one that does not fit the output, or names no field."""
    paths = [path for text in given for path in text.split(",") if path]
    if output == "json":
        return [_checked(path) for path in paths]
    if paths:
        raise UsageError(f"{output} output format is not compatible with custom field mask")
    return [*SHOWN, *FORGOTTEN] if default else []


def _checked(path: str) -> str:
    found = flow_pb2.Flow.DESCRIPTOR
    for name in path.split("."):
        field = found.fields_by_name.get(name) if found else None
        if field is None:
            raise UsageError(f'failed to construct field mask: proto: invalid path "{path}" for message "flow.Flow"')
        found = None if field.is_repeated else field.message_type  # type: ignore[assignment]
    return path
