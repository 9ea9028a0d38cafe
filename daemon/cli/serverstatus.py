"""`remora status` in the forms of `hubble status`: how full the store of a server is, whoever serves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from daemon.cli import jsonpb, times
from daemon.cli.client import Client
from daemon.cli.errors import CliError
from daemon.cli.flowtext import enum_name, escape
from daemon.cli.tables import columns
from daemon.proto import health_pb2, observer_pb2

SERVICE = "hubble.server.Observer"

_HEADINGS = {
    "NUM FLOWS": "NUM FLOWS",
    "MAX FLOWS": "MAX FLOWS",
    "SEEN FLOWS": "SEEN FLOWS",
    "FLOWS PER SECOND": "FLOWS PER SECOND",
    "UPTIME": "UPTIME",
    "NUM CONNECTED NODES": "NUM CONNECTED NODES",
    "NUM UNAVAIL. NODES": "NUM UNAVAILABLE NODES",
    "VERSION": "VERSION",
}
"""Headings of dict, and of table."""


def report(client: Client, output: str) -> str:
    """Health and status in one of FORMS; raises CliError for a server that is not healthy."""
    request = health_pb2.HealthCheckRequest(service=SERVICE)
    health = client.health.Check(request, timeout=client.timeout).status
    healthy = health == health_pb2.HealthCheckResponse.SERVING
    word = "Ok" if healthy else f"Unavailable: {enum_name(health_pb2.HealthCheckResponse.ServingStatus, health)}"
    if not healthy:
        raise CliError("not healthy")
    status = client.observer.ServerStatus(observer_pb2.ServerStatusRequest(), timeout=client.timeout)
    head = f"Healthcheck (via {client.server}): {word}\n" if output == "compact" else ""
    return head + FORMS[output](status)


def _compact(status: observer_pb2.ServerStatusResponse) -> str:
    share = f" ({100 * status.num_flows / status.max_flows:.2f}%)" if status.max_flows else ""
    rate = _rate(status)
    if rate == "N/A" and status.uptime_ns:
        rate = f"{status.seen_flows / (status.uptime_ns / 1e9):.2f}"
    lines = [f"Current/Max Flows: {status.num_flows:,}/{status.max_flows:,}{share}", f"Flows/s: {rate}"]
    connected, unavailable = status.num_connected_nodes.value, status.num_unavailable_nodes.value
    if status.HasField("num_connected_nodes"):
        total = f"/{connected + unavailable}" if status.HasField("num_unavailable_nodes") else ""
        lines.append(f"Connected Nodes: {connected}{total}")
    if unavailable:
        names = sorted(status.unavailable_nodes)
        hidden = unavailable - len(names)
        more = [f"and {hidden} more..."] if names and hidden > 0 else []
        lines += [f"Unavailable Nodes: {unavailable}", *(f"  - {escape(name)}" for name in (*names, *more))]
    return "".join(f"{line}\n" for line in lines)


def _rate(status: observer_pb2.ServerStatusResponse) -> str:
    return f"{status.flows_rate:.2f}" if status.flows_rate > 0 else "N/A"


def _values(status: observer_pb2.ServerStatusResponse) -> list[str]:
    """One value a heading."""
    return [
        f"{status.num_flows:,}",
        f"{status.max_flows:,}",
        f"{status.seen_flows:,}",
        _rate(status),
        times.go_duration(status.uptime_ns),
        str(status.num_connected_nodes.value) if status.HasField("num_connected_nodes") else "N/A",
        str(status.num_unavailable_nodes.value) if status.HasField("num_unavailable_nodes") else "N/A",
        escape(status.version),
    ]


def _dict(status: observer_pb2.ServerStatusResponse) -> str:
    return "".join(f"{key:>19}: {value}\n" for key, value in zip(_HEADINGS, _values(status), strict=True))


def _table(status: observer_pb2.ServerStatusResponse) -> str:
    return columns([list(_HEADINGS.values()), _values(status)])


FORMS: Mapping[str, Callable[[observer_pb2.ServerStatusResponse], str]] = {
    "compact": _compact,
    "dict": _dict,
    "table": _table,
    "tab": _table,
    "jsonpb": lambda status: jsonpb.line(status) + "\n",
}
