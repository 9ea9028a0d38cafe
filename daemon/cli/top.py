"""`remora top` and `remora flows summary`: traffic added up, live in the terminal or once for scripts."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from threading import Lock, Thread
from typing import Any

import click

from daemon.cli import inputfile, observe, options, selection, times, trafficview
from daemon.cli.client import connect
from daemon.cli.errors import CliError, UsageError, endless
from daemon.cli.server import Server
from daemon.cli.window import Window, window_options
from daemon.flows.traffic import ORDERS, USUAL, Grouping, Line, Traffic
from daemon.proto import observer_pb2, remora_pb2

GROUPINGS = [one.value for one in Grouping]
_PLAIN_WIDTH = 120  # columns where there is no terminal to ask

_form = options.section("Formatting")
_own = options.section(options.OWN)

_NARROWING: tuple[Callable[[Any], Any], ...] = (
    _own("--process", multiple=True, metavar="NAME", help="Process at the local end, by name or number."),
    _own("--failed", is_flag=True, help="Drops, failed connections, errors of HTTP and DNS."),
    _form("--sort", type=click.Choice(list(ORDERS)), help="Order of the lines; default: what the view is about."),
    _form("--rows", type=click.IntRange(1), default=None, metavar="N", help="At most N lines."),
    _form("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="Form."),
    options.server_option,
)


def _narrowing(function: Callable[..., Any]) -> Callable[..., Any]:
    for one in reversed(_NARROWING):
        function = one(function)
    return function


class Feed:
    """Flows on their way into `traffic`, in a thread of its own while a screen shows it."""

    def __init__(self, server: Server, request: observer_pb2.GetFlowsRequest, own: remora_pb2.FlowOptions) -> None:
        self.failure: CliError | None = None
        self.lock = Lock()
        self._server, self._request, self._own = server, request, own

    def into(self, traffic: Traffic) -> None:
        """Add what comes until the stream ends. Raises CliError."""
        with connect(self._server) as client:
            for batch in observe.batches(client, self._request, self._own):
                with self.lock:
                    add(traffic, batch.items)

    def start(self, traffic: Traffic) -> None:
        """Do the same in a thread; `failure` says why it ended."""
        Thread(target=self._run, args=(traffic,), name="top-feed", daemon=True).start()

    def _run(self, traffic: Traffic) -> None:
        try:
            self.into(traffic)
        except CliError as error:
            self.failure = error


def add(traffic: Traffic, items: Any) -> None:
    """Add the flows among the items."""
    for item in items:
        if item.response.WhichOneof("response_types") == "flow":
            traffic.add(item.response.flow, item.extra)


def chosen(lines: list[Line], grouping: Grouping, order: str | None, rows: int | None) -> list[Line]:
    """The lines to show, in order."""
    return sorted(lines, key=ORDERS[order or USUAL[grouping]])[:rows]


def _request(ctx: click.Context, window: Window) -> observer_pb2.GetFlowsRequest:
    request = observer_pb2.GetFlowsRequest()
    window.fill(request)
    lists = selection.build(options.uses(ctx))
    request.whitelist.extend(lists["allowlist"])
    request.blacklist.extend(lists["denylist"])
    return request


def _shown(lines: list[Line], grouping: Grouping, output: str) -> str:
    if output == "json":
        return trafficview.as_json(lines) + "\n"
    width = shutil.get_terminal_size((_PLAIN_WIDTH, 24)).columns if sys.stdout.isatty() else _PLAIN_WIDTH
    return "".join(f"{line}\n" for line in trafficview.table(lines, grouping, width))


@click.command("top", cls=options.FilterCommand)
@_form("--by", type=click.Choice(GROUPINGS), default="talkers", show_default=True, help="What a line stands for.")
@_form("--window", default="30s", show_default=True, metavar="TIME", help="The time that is added up.")
@_form("--interval", default="1s", show_default=True, metavar="TIME", help="Between two pictures.")
@_form("--once", is_flag=True, help="Print the last window once, and end.")
@_narrowing
@click.pass_context
def top(ctx: click.Context, /, **given: Any) -> None:
    """Who talks, what is asked, what fails, what is slow: live. Keys: t s e l views, o order, p pause, q end."""
    window, interval = (_positive(name, given[name]) for name in ("window", "interval"))
    once, grouping = given["once"] or given["output"] == "json", Grouping(given["by"])
    request = _request(ctx, Window(follow=not once, since=f"{window}s"))
    feed = Feed(given["server"], request, remora_pb2.FlowOptions(processes=given["process"], failed=given["failed"]))
    traffic = Traffic(window)
    if once:
        feed.into(traffic)
        lines = chosen(traffic.lines(grouping, time.time_ns()), grouping, given["sort"], given["rows"])
        click.echo(_shown(lines, grouping, given["output"]), nl=False)
        return
    if not sys.stdout.isatty():
        raise UsageError("remora top needs a terminal; --once prints one picture")
    from daemon.cli.screen import Screen  # curses only where there is a terminal

    with endless():
        Screen(feed, traffic, grouping, given["sort"], given["rows"], interval).run()


@click.group("flows")
def flows() -> None:
    """Flows added up."""


@flows.command("summary", cls=options.FilterCommand)
@window_options
@_form("--by", type=click.Choice(GROUPINGS), default="talkers", show_default=True, help="What a line stands for.")
@options.section(options.OTHER)("--input-file", default="", metavar="FILE", help="Flows of a file, - for stdin.")
@_narrowing
@click.pass_context
def summary(ctx: click.Context, /, **given: Any) -> None:
    """Who talks to whom, how often, how much, with which errors and latencies; by default over all that is stored."""
    window = Window(**{name: given[name] for name in ("everything", "last", "first", "since", "until")}, stored=True)
    if given["follow"]:
        raise UsageError("a summary ends; `remora top` follows")
    request, grouping, traffic = _request(ctx, window), Grouping(given["by"]), Traffic()
    own = remora_pb2.FlowOptions(processes=given["process"], failed=given["failed"])
    if given["input_file"]:
        add(traffic, inputfile.items(given["input_file"], request, own))
    else:
        Feed(given["server"], request, own).into(traffic)
    lines = chosen(traffic.lines(grouping, time.time_ns()), grouping, given["sort"], given["rows"])
    click.echo(_shown(lines, grouping, given["output"]), nl=False)


def _positive(name: str, text: str) -> float:
    try:
        seconds = times.duration_ns(text) / 1e9
    except ValueError as error:
        raise UsageError(f'invalid argument "{text}" for "--{name}" flag: {error}') from error
    if seconds <= 0:
        raise UsageError(f'invalid argument "{text}" for "--{name}" flag: must be more than nothing')
    return seconds


COMMANDS: Mapping[str, click.Command] = {"top": top, "flows": flows}
