"""`remora service`: the list, one Service closely, and the way of an address: who gets the traffic and who does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from daemon.cli import jsonpb, options
from daemon.cli.client import connect
from daemon.cli.errors import CliError, UsageError
from daemon.cli.flowtext import escape
from daemon.cli.listing import COMMANDS as _LISTINGS
from daemon.cli.listing import endpoint_text
from daemon.cli.server import Server
from daemon.cli.tables import columns
from daemon.proto import remora_pb2

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_READ_TIMEOUT = 60.0  # s; the table of connections may have to be read


@click.command("get")
@click.argument("name")
@click.option("-n", "--namespace", default="", metavar="NAMESPACE", help="Namespace; default: wherever NAME is.")
@options.server_option
@options.output_option
def get(name: str, namespace: str, server: Server, output: str) -> None:
    """One Service: frontends, backends with their state and live connections, policies."""
    before, slash, after = name.partition("/")
    if slash and namespace:
        raise UsageError(f"the namespace is given twice: {name} and --namespace {namespace}")
    request = remora_pb2.GetServiceRequest(name=after if slash else name, namespace=before if slash else namespace)
    with connect(server) as client:
        answer = client.agent.GetService(request, timeout=_READ_TIMEOUT)
    if not answer.services:
        where = f" in namespace {request.namespace}" if request.namespace else ""
        raise CliError(f"no Service {request.name}{where}; `remora service list` names them")
    click.echo(jsonpb.line(answer) if output == "json" else escape("\n".join(map(detail, answer.services))), nl=False)
    if output == "json":
        click.echo()


@click.command("explain")
@click.argument("place", metavar="ADDRESS:PORT[/PROTOCOL]")
@click.option(
    "--from",
    "workload",
    default="",
    metavar="WORKLOAD",
    help="Who asks: namespace/name, name, host, or outside (beyond the uplinks).",
)
@options.server_option
@options.output_option
def explain(place: str, workload: str, server: Server, output: str) -> None:
    """Where traffic to an address goes from here: the frontend, who may answer, and why nobody else.

    IPv6 in brackets: [fd00::1]:53/UDP. The protocol is TCP unless named.
    """
    request = question(place)
    request.workload = workload
    with connect(server) as client:
        answer = client.agent.Explain(request, timeout=_READ_TIMEOUT)
    click.echo(jsonpb.line(answer) + "\n" if output == "json" else escape(explanation(answer)), nl=False)


def question(place: str) -> remora_pb2.ExplainRequest:
    """`ADDRESS:PORT[/PROTOCOL]` as a request; raises UsageError."""
    from ipaddress import ip_address

    head, _, protocol = place.partition("/")
    address, _, port = head.rpartition(":")
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        known = ip_address(bare)
        if (known.version == 6) is (bare == address):
            raise ValueError("brackets go around IPv6 and nothing else")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError("the port is a number from 1 to 65535")
        if protocol and protocol.upper() not in _PROTOCOLS:
            raise ValueError(f"the protocol is one of {', '.join(_PROTOCOLS)}")
    except ValueError as error:
        words = f"{place!r} is not ADDRESS:PORT[/PROTOCOL] ({error})"
        raise UsageError(f"{words}; for example 10.96.0.1:443 or [fd00::1]:53/UDP") from error
    return remora_pb2.ExplainRequest(address=str(known), port=int(port), protocol=protocol.upper() or "TCP")


def detail(one: remora_pb2.ServiceDetail) -> str:
    """A Service as text."""
    affinity = f"{one.affinity_seconds} s for a client" if one.affinity_seconds else "none"
    facts = [
        ["Type", one.type],
        ["Algorithm", one.algorithm],
        ["Affinity", affinity],
        ["Traffic policy", f"internal {one.internal_policy}, external {one.external_policy}"],
    ]
    if one.health_check_node_port:
        facts.append(["Health checks", f"port {one.health_check_node_port}"])
    blocks = [f"{one.namespace}/{one.name}\n", _indented(columns(facts))]
    blocks += [_balanced(each) for each in one.balanced]
    if not one.balanced:
        blocks.append("  not steered: it has no address of its own here, or belongs to another proxy\n")
    return "".join(blocks)


def _balanced(one: remora_pb2.Balanced) -> str:
    """One number: its frontends, then its backends, then those that are left out."""
    port = one.port_name or "(unnamed)"
    lines = [f"\n  port {port}/{one.protocol}, {one.policy} endpoints, number {one.number}\n"]
    places = [[place.kind, frontend_text(place), _when_empty(place)] for place in one.frontends]
    lines.append(_indented(columns([["FRONTEND", "ADDRESS", ""], *places]), 4))
    header = ["BACKEND", "WORKLOAD", "STATE", "NODE", "ZONE", "CONNECTIONS"]
    rows = [[*_endpoint_cells(each), f"{each.connections:,}"] for each in one.backends]
    lines.append(_indented(columns([header, *rows]) if rows else "no backends\n", 4))
    if one.lingering:
        lines.append(f"    {one.lingering:,} connections to backends that have left\n")
    if one.others:
        lines.append(_indented(_others(one.others), 4))
    return "".join(lines)


def _when_empty(place: remora_pb2.ServiceFrontend) -> str:
    return {"refuse": "connections are refused", "drop": "connections are dropped"}.get(place.empty, "")


def explanation(answer: remora_pb2.ExplainResponse) -> str:
    """An explanation as text."""
    lines = [f"{answer.words}\n"]
    if answer.eligible:
        rows = [_endpoint_cells(each) for each in answer.eligible]
        lines.append(_indented(columns([["ELIGIBLE", "WORKLOAD", "STATE", "NODE", "ZONE"], *rows])))
    if answer.others:
        lines.append(_indented(_others(answer.others)))
    lines += [f"note: {note}\n" for note in answer.notes]
    return "".join(lines)


def _others(others: Sequence[remora_pb2.ServiceEndpoint]) -> str:
    rows = [[endpoint_text(one.address, one.port), one.workload or "-", "; ".join(one.reasons)] for one in others]
    return columns([["NOT USED", "WORKLOAD", "WHY"], *rows])


def _endpoint_cells(one: remora_pb2.ServiceEndpoint) -> list[str]:
    return [endpoint_text(one.address, one.port), one.workload or "-", one.state, one.node or "-", one.zone or "-"]


def frontend_text(place: remora_pb2.ServiceFrontend) -> str:
    """`10.96.0.1:80/TCP`."""
    return f"{endpoint_text(place.address, place.port)}/{place.protocol}"


def _indented(text: str, width: int = 2) -> str:
    return "".join(f"{' ' * width}{line}\n" for line in text.splitlines())


def _group() -> click.Group:
    listing = _LISTINGS["service"]
    assert isinstance(listing, click.Group)
    return click.Group("service", help=listing.help, commands=[*listing.commands.values(), get, explain])


COMMANDS: Mapping[str, click.Command] = {"service": _group()}
