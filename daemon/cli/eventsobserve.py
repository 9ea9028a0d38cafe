"""`remora observe agent-events` and `debug-events`: what the agent did, and what its datapath says for debugging."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

import click
from google.protobuf.timestamp_pb2 import Timestamp

from daemon.cli import eventtext, jsonpb, options, times
from daemon.cli.client import Client, connect
from daemon.cli.errors import UsageError, endless
from daemon.cli.flowtext import enum_name, escape
from daemon.cli.server import Server
from daemon.cli.tables import columns
from daemon.cli.window import Window, window_options
from daemon.proto import flow_pb2, observer_pb2

Row = Sequence[tuple[str, str]]
_WIDTH = 11
_FORMS = {
    "compact": "compact",
    "dict": "dict",
    "json": "json",
    "JSON": "json",
    "jsonpb": "json",
    "tab": "table",
    "table": "table",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of events is asked for and told: the line of compact, and the cells of dict and of table."""

    request: Callable[[], Any]
    ask: Callable[[Client, Any], Iterable[Any]]
    line: Callable[[Any, Callable[[Timestamp], str]], str]
    block: Callable[[Any, Callable[[Timestamp], str]], Row]
    cells: Callable[[Any, Callable[[Timestamp], str]], Row]


def _agent_line(answer: observer_pb2.GetAgentEventsResponse, layout: Callable[[Timestamp], str]) -> str:
    event = answer.agent_event
    return f"{eventtext.event_type(event)} ({eventtext.details(event, layout)})"


def _agent_cells(answer: observer_pb2.GetAgentEventsResponse, layout: Callable[[Timestamp], str]) -> Row:
    event = answer.agent_event
    return [("TYPE", eventtext.event_type(event)), ("DETAILS", eventtext.details(event, layout))]


def _debug_parts(event: flow_pb2.DebugEvent) -> tuple[str, str, str, str]:
    return (
        eventtext.debug_endpoint(event),
        enum_name(flow_pb2.DebugEventType, event.type),
        eventtext.mark(event.hash if event.HasField("hash") else None),
        eventtext.cpu(event.cpu if event.HasField("cpu") else None),
    )


def _debug_line(answer: observer_pb2.GetDebugEventsResponse, _: Callable[[Timestamp], str]) -> str:
    end, kind, mark, cpu = _debug_parts(answer.debug_event)
    return f"{end} {kind} MARK: {mark} CPU: {cpu} ({answer.debug_event.message})"


def _debug_block(answer: observer_pb2.GetDebugEventsResponse, _: Callable[[Timestamp], str]) -> Row:
    end, kind, mark, cpu = _debug_parts(answer.debug_event)
    return [("TYPE", kind), ("FROM", end), ("MARK", mark), ("CPU", cpu), ("MESSAGE", answer.debug_event.message)]


def _debug_cells(answer: observer_pb2.GetDebugEventsResponse, _: Callable[[Timestamp], str]) -> Row:
    end, kind, mark, cpu = _debug_parts(answer.debug_event)
    rest = [("TYPE", kind), ("CPU/MARK", f"{cpu} {mark}"), ("MESSAGE", answer.debug_event.message)]
    return [("FROM", end), ("", ""), *rest]  # Hubble's table has an empty column here, and scripts count columns


AGENT = Kind(
    observer_pb2.GetAgentEventsRequest,
    lambda client, request: client.observer.GetAgentEvents(request),
    _agent_line,
    _agent_cells,
    _agent_cells,
)
DEBUG = Kind(
    observer_pb2.GetDebugEventsRequest,
    lambda client, request: client.observer.GetDebugEvents(request),
    _debug_line,
    _debug_block,
    _debug_cells,
)


@dataclass
class EventPrinter:
    """Writes events in one form."""

    out: TextIO
    kind: Kind
    form: str
    node: bool
    layout: Callable[[Timestamp], str]
    written: int = 0
    rows: list[list[str]] = field(default_factory=list)

    def write(self, answer: Any) -> None:
        """One event."""
        when = self.layout(answer.time) if answer.HasField("time") else "N/A"
        if self.form == "json":
            self.out.write(jsonpb.line(answer) + "\n")
        elif self.form == "compact":
            node = f" [{answer.node_name}]" if self.node else ""
            self.out.write(escape(f"{when}{node}: {self.kind.line(answer, self.layout)}") + "\n")
        elif self.form == "dict":
            self._block([*self._head(answer, when), *self.kind.block(answer, self.layout)])
        else:
            self._row([*self._head(answer, when), *self.kind.cells(answer, self.layout)])
        self.written += 1

    def _head(self, answer: Any, when: str) -> Row:
        return [("TIMESTAMP", when), *([("NODE", answer.node_name)] if self.node else [])]

    def _block(self, row: Row) -> None:
        self.out.write("------------\n" if self.written else "")
        self.out.write("".join(f"{key:>{_WIDTH}}: {escape(value)}\n" for key, value in row))

    def _row(self, row: Row) -> None:
        if not self.rows:
            self.rows.append([key for key, _ in row])
        self.rows.append([escape(value) for _, value in row])

    def close(self) -> None:
        """Write what was held back."""
        self.out.write(columns(self.rows))
        self.out.flush()


def _command(name: str, kind: Kind, text: str) -> click.Command:
    form, other = options.section("Formatting"), options.section(options.OTHER)

    @click.command(name, cls=options.SectionCommand, help=text)
    @window_options
    @form("-o", "--output", default="compact", show_default=True, metavar="FORM", help=", ".join(_FORMS) + ".")
    @form("--print-node-name", "node", is_flag=True, help="Show the node.")
    @form("--time-format", default="StampMilli", show_default=True, metavar="NAME", help="As of `remora observe`.")
    @options.server_option
    @other("-s", "--silent-errors", is_flag=True, help="Kept for scripts.")
    @other("-D", "--debug", is_flag=True, help="Kept for scripts.")
    def run(server: Server, output: str, node: bool, time_format: str, **given: Any) -> None:
        window = Window(**{name: given[name] for name in ("follow", "everything", "last", "first", "since", "until")})
        if output not in _FORMS:
            raise UsageError(f"invalid output format: {output}")
        if window.follow and _FORMS[output] == "table":
            raise UsageError("table output format is not compatible with follow mode")
        printer = EventPrinter(sys.stdout, kind, _FORMS[output], node, times.layout(time_format))
        _show(server, kind, window, printer)

    return run


def _show(server: Server, kind: Kind, window: Window, printer: EventPrinter) -> None:
    request: Any = kind.request()
    window.fill(request)
    with endless(window.follow), connect(server) as client:
        for answer in kind.ask(client, request):
            printer.write(answer)
            if window.follow:
                printer.out.flush()
    printer.close()


agent_events = _command("agent-events", AGENT, "What the agent itself did: services, endpoints, addresses, its start.")
debug_events = _command("debug-events", DEBUG, "Messages of the datapath for debugging; remora's writes none.")
