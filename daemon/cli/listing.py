"""Listings: services, endpoints, identities and maps, as tables or as JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import click
from google.protobuf.message import Message

from daemon.cli import jsonpb, options
from daemon.cli.client import Client, connect
from daemon.cli.flowtext import escape
from daemon.cli.server import Server
from daemon.cli.status import map_lines
from daemon.cli.tables import fitted
from daemon.proto import remora_pb2

_NAMESPACE_LABEL = "k8s:io.kubernetes.pod.namespace="


def _show(server: Server, output: str, ask: Callable[[Client], Message], rows: Callable[[Message], str]) -> None:
    with connect(server) as client:
        answer = ask(client)
    click.echo(jsonpb.line(answer) + "\n" if output == "json" else escape(rows(answer)), nl=False)


def service_rows(answer: remora_pb2.ListServicesResponse) -> str:
    """One line a backend; a Service without backends says so."""
    rows = [["SERVICE", "PORT", "TYPE", "FRONTEND", "BACKEND", "WORKLOAD"]]
    for one in answer.services:
        frontend = f"{endpoint_text(one.address, one.port)}/{one.protocol}"
        head = [f"{one.namespace}/{one.name}", one.port_name or "-", one.type, frontend]
        backends = [[endpoint_text(to.address, to.port), to.workload or "-"] for to in one.backends] or [["none", "-"]]
        rows += [[*head, *backends[0]], *([""] * len(head) + more for more in backends[1:])]
    return fitted(rows)


def endpoint_rows(answer: remora_pb2.ListEndpointsResponse) -> str:
    """One line a workload; the label that repeats its namespace is left to JSON."""
    rows = [["ENDPOINT", "ID", "IDENTITY", "DEVICE", "ADDRESSES", "LABELS"]]
    for one in answer.endpoints:
        name = f"{one.namespace}/{one.name}" if one.namespace else one.name
        addresses = ",".join(one.addresses) or "-"
        labels = ",".join(label for label in one.labels if not label.startswith(_NAMESPACE_LABEL))
        device = one.device or ("none here" if one.unreached else "-")
        rows.append([name, str(one.number), str(one.identity), device, addresses, labels])
    return fitted(rows)


def identity_rows(answer: remora_pb2.ListIdentitiesResponse) -> str:
    """One line a label set."""
    rows = [["IDENTITY", "NAME", "ENDPOINTS", "LABELS"]]
    rows += [[str(one.number), one.name or "-", str(one.endpoints), ",".join(one.labels)] for one in answer.identities]
    return fitted(rows)


def map_rows(answer: remora_pb2.ListMapsResponse) -> str:
    """One line a map."""
    return "".join(f"{line}\n" for line in map_lines(answer.maps))


def endpoint_text(address: str, port: int) -> str:
    """`10.0.0.1:80`, `[fd00::1]:80`; the address alone where the port is 0."""
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


Rows = Callable[..., str]
_LISTINGS: Sequence[tuple[str, str, Callable[[Client], Message], Rows]] = (
    (
        "service",
        "Services and their backends, as the kernel has them.",
        lambda client: client.agent.ListServices(remora_pb2.ListServicesRequest(), timeout=client.timeout),
        service_rows,
    ),
    (
        "endpoint",
        "Workloads, their addresses and devices.",
        lambda client: client.agent.ListEndpoints(remora_pb2.ListEndpointsRequest(), timeout=client.timeout),
        endpoint_rows,
    ),
    (
        "identity",
        "Label sets and their numbers.",
        lambda client: client.agent.ListIdentities(remora_pb2.ListIdentitiesRequest(), timeout=client.timeout),
        identity_rows,
    ),
    (
        "map",
        "Kernel maps and how full they are.",
        lambda client: client.agent.ListMaps(remora_pb2.ListMapsRequest(), timeout=client.timeout),
        map_rows,
    ),
)


def _group(name: str, text: str, ask: Callable[[Client], Message], rows: Rows) -> click.Group:
    @click.command("list", help=text)
    @options.server_option
    @options.output_option
    def listing(server: Server, output: str) -> None:
        _show(server, output, ask, rows)

    return click.Group(name, help=text, commands=[listing])


COMMANDS: Mapping[str, click.Command] = {listing[0]: _group(*listing) for listing in _LISTINGS}
