"""`remora list`, `watch` and `reflect`: what agents and aggregators of agents say of themselves, in Hubble's forms."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import click
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message

from daemon.cli import jsonpb, options, times
from daemon.cli.client import Client, connect
from daemon.cli.errors import CliError, UsageError
from daemon.cli.flowtext import enum_name, escape
from daemon.cli.server import Server
from daemon.cli.tables import columns
from daemon.proto import observer_pb2, peer_pb2, reflection_pb2, relay_pb2

_NONE = "N/A"
_STATES: Mapping[int, str] = {
    relay_pb2.NODE_CONNECTED: "Connected",
    relay_pb2.NODE_UNAVAILABLE: "Unavailable",
    relay_pb2.NODE_GONE: "Gone",
    relay_pb2.NODE_ERROR: "Error",
}
_output = click.option(
    "-o", "--output", default="table", show_default=True, metavar="FORM", help="table, wide or json."
)


@click.group("list")
def listed() -> None:
    """Nodes behind an aggregator, and namespaces that flows were seen in."""


def _nodes(server: Server, output: str) -> None:
    """Nodes that an aggregator knows; a single agent has no list."""
    _check(output)
    with connect(server) as client:
        answer = client.observer.GetNodes(observer_pb2.GetNodesRequest(), timeout=client.timeout)
    nodes = sorted(answer.nodes, key=lambda one: one.name)
    click.echo(_json(nodes) if output == "json" else escape(node_rows(nodes, output == "wide")), nl=False)


def _namespaces(server: Server, output: str) -> None:
    """Namespaces that flows were seen in."""
    _check(output)
    with connect(server) as client:
        answer = client.observer.GetNamespaces(observer_pb2.GetNamespacesRequest(), timeout=client.timeout)
    found = answer.namespaces
    click.echo(_json(found) if output == "json" else escape(namespace_rows(found, output == "wide")), nl=False)


def _check(output: str) -> None:
    if output not in ("table", "wide", "json"):
        raise UsageError(f"unknown output format: {output}")


def node_rows(nodes: Iterable[observer_pb2.Node], wide: bool) -> str:
    """One line a node."""
    rows = [["NAME", "STATUS", "AGE", "FLOWS/S", "CURRENT/MAX-FLOWS", *(["VERSION", "ADDRESS", "TLS"] if wide else [])]]
    for one in nodes:
        seconds = (one.uptime_ns + 500_000_000) // 10**9
        fill = f"{one.num_flows}/{one.max_flows} ({100 * one.num_flows / max(one.max_flows, 1):6.2f}%)"
        row = [
            one.name,
            _STATES.get(one.state, "Unknown"),
            times.go_duration(seconds * 10**9) if seconds else _NONE,
            f"{one.seen_flows / seconds:.2f}" if seconds else _NONE,
            fill if one.max_flows else _NONE,
        ]
        tls = ("Enabled" if one.tls.enabled else "Disabled") if one.HasField("tls") else _NONE
        rows.append([*row, one.version or _NONE, one.address, tls] if wide else row)
    return columns(rows)


def namespace_rows(namespaces: Sequence[observer_pb2.Namespace], wide: bool) -> str:
    """One line a namespace."""
    rows = [["NAMESPACE", *(["CLUSTER"] if wide else [])]]
    rows += [[one.namespace, *([one.cluster] if wide else [])] for one in namespaces]
    return columns(rows)


def _json(messages: Iterable[Message]) -> str:
    """A list, indented; null where it is empty, as Go writes it."""
    found = [jsonpb.to_dict(one) for one in messages]
    return json.dumps(found or None, indent=2, ensure_ascii=False) + "\n"


@click.group("watch")
def watch() -> None:
    """What comes and goes."""


def _peers(server: Server) -> None:
    """Agents that aggregators are told of, and their changes."""
    with connect(server) as client:
        for told in client.peer.Notify(peer_pb2.NotifyRequest()):
            sys.stdout.write(escape(peer_line(told)))
            sys.stdout.flush()


def peer_line(told: peer_pb2.ChangeNotification) -> str:
    """`PEER_ADDED   192.0.2.1:4244 node-1 (TLS.ServerName: …)`."""
    name = f" (TLS.ServerName: {told.tls.server_name})" if told.HasField("tls") else ""
    kind = enum_name(peer_pb2.ChangeNotificationType, told.type)
    return f"{kind:<12} {told.address} {told.name}{name}\n"


@click.command("reflect", hidden=True)
@options.server_option
def reflect(server: Server) -> None:
    """The messages that a server speaks, as JSON: each file once."""
    files: dict[str, FileDescriptorProto] = {}
    with connect(server) as client:
        listing = _asked(client, reflection_pb2.ServerReflectionRequest(list_services="*"))
        for service in listing.list_services_response.service:
            question = reflection_pb2.ServerReflectionRequest(file_containing_symbol=service.name)
            for raw in _asked(client, question).file_descriptor_response.file_descriptor_proto:
                file = FileDescriptorProto.FromString(raw)
                files[file.name] = file
    click.echo(_json(files[name] for name in sorted(files)), nl=False)


def _asked(client: Client, question: reflection_pb2.ServerReflectionRequest) -> reflection_pb2.ServerReflectionResponse:
    (answer,) = client.reflect(iter([question]), timeout=client.timeout)
    if answer.WhichOneof("message_response") == "error_response":
        raise CliError(answer.error_response.error_message)
    found: reflection_pb2.ServerReflectionResponse = answer
    return found


def _add(group: click.Group, name: str, function: Callable[..., None], alias: str = "") -> None:
    """Add a command, and once more under another name that help does not show."""
    command = group.command(name, help=function.__doc__)(options.server_option(function))
    if alias:
        hidden = copy.copy(command)
        hidden.hidden = True
        group.add_command(hidden, alias)


_add(listed, "nodes", _output(_nodes), "node")
_add(listed, "namespaces", _output(_namespaces))
_add(watch, "peers", _peers, "peer")

COMMANDS: Mapping[str, click.Command] = {"list": listed, "watch": watch, "reflect": reflect}
