"""`remora observe`: flows as they come or as they are stored, with the flags of `hubble observe`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import click
import grpc
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from daemon.cli import jsonpb, options, selection, times
from daemon.cli.client import Client, connect, translate
from daemon.cli.errors import UsageError
from daemon.cli.flowtext import FlowText
from daemon.cli.printer import FORMATS, PRINTERS, Printer
from daemon.proto import flow_pb2, observer_pb2, remora_pb2

DEFAULT_NUMBER = 20
ALL = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of the store was asked for, as flags gave it."""

    follow: bool
    everything: bool
    last: int | None
    first: int | None
    since: str | None
    until: str | None

    def request(self) -> observer_pb2.GetFlowsRequest:
        """The request without its filters; raises UsageError for flags that contradict each other."""
        self._check()
        request = observer_pb2.GetFlowsRequest(follow=self.follow, first=self.first is not None)
        request.number = self._number()
        if self.since:
            request.since.CopyFrom(_moment("--since", self.since))
        if self.until and not self.follow:
            request.until.CopyFrom(_moment("--until", self.until))
        return request

    def _check(self) -> None:
        given = {
            "--first": self.first is not None,
            "--last": self.last is not None,
            "--all": self.everything,
            "--follow": self.follow,
        }
        for one, other in (("--first", "--last"), ("--first", "--all"), ("--first", "--follow"), ("--last", "--all")):
            if given[one] and given[other]:
                raise UsageError(f"cannot set both {one} and {other}")

    def _number(self) -> int:
        if self.everything:
            return ALL
        number = self.last if self.last is not None else self.first
        if number is not None:
            return number
        return 0 if self.follow or self.since or self.until else DEFAULT_NUMBER


def _moment(name: str, text: str) -> Timestamp:
    try:
        return times.parse(text)
    except ValueError as error:
        raise UsageError(f"invalid {name} value: {error}") from error


@click.command("observe", cls=options.FilterCommand)
@options.server_option
@click.option("-f", "--follow", is_flag=True, help="Go on with flows as they come.")
@click.option("--last", type=click.IntRange(0), metavar="N", help="The newest N flows.  [default: 20]")
@click.option("--first", type=click.IntRange(0), metavar="N", help="The oldest N flows.")
@click.option("--all", "everything", is_flag=True, help="All stored flows.")
@click.option("--since", metavar="TIME", help="From then on: 5m, 1h30m, or a date such as 2026-01-31T10:00:00Z.")
@click.option("--until", metavar="TIME", help="Up to then.")
@click.option("-o", "--output", type=click.Choice(FORMATS), default="compact", show_default=True, help="Form.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
@click.option("--time-format", type=click.Choice(list(times.LAYOUTS)), default="StampMilli", show_default=True)
@click.option("--numeric", is_flag=True, help="Addresses instead of names.")
@click.option("--ip-translation/--no-ip-translation", default=True, hidden=True)
@click.option("--print-node-name", is_flag=True, help="Show the node that saw the flow.")
@click.option("--print-policy-names", is_flag=True, help="Show the policies behind a verdict.")
@click.option("--extra", is_flag=True, help="Add packets, bytes, handshake time and process (compact, json).")
@click.option("--allowlist", multiple=True, metavar="JSON", help="Raw filters: send what they match.")
@click.option("--denylist", multiple=True, metavar="JSON", help="Raw filters: leave out what they match.")
@click.option("--field-mask", metavar="FIELDS", help="Fields of a flow, parted by commas (json only).")
@click.option("--print-raw-filters", is_flag=True, help="Print the filters as sent, and end.")
@click.option("-s", "--silent-errors", is_flag=True, help="Nothing about nodes on stderr.")
@click.option("-D", "--debug", is_flag=True, help="More about nodes on stderr.")
@click.pass_context
def command(ctx: click.Context, /, **flags: object) -> None:
    """Show flows: who talked to whom, about what, with which outcome."""
    run(ctx, Flags(**flags))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Flags:
    """The command line apart from filter flags."""

    server: str
    follow: bool
    last: int | None
    first: int | None
    everything: bool
    since: str | None
    until: str | None
    output: str
    color: str
    time_format: str
    numeric: bool
    ip_translation: bool
    print_node_name: bool
    print_policy_names: bool
    extra: bool
    allowlist: tuple[str, ...]
    denylist: tuple[str, ...]
    field_mask: str | None
    print_raw_filters: bool
    silent_errors: bool
    debug: bool


def run(ctx: click.Context, flags: Flags) -> None:
    """Build the request, then print what comes until the stream ends."""
    filters = _filters(ctx, flags)
    if flags.print_raw_filters:
        click.echo(raw_filters(filters), nl=False)
        return
    output = flags.output
    if flags.follow and output in ("table", "tab"):
        raise UsageError("table output format is not compatible with follow mode")
    if flags.field_mask and output not in ("json", "jsonpb"):
        raise UsageError(f"{output} output format is not compatible with custom field mask")
    window = Window(flags.follow, flags.everything, flags.last, flags.first, flags.since, flags.until)
    request = window.request()
    request.whitelist.extend(filters["allowlist"])
    request.blacklist.extend(filters["denylist"])
    request.field_mask.paths.extend(flags.field_mask.split(",") if flags.field_mask else ())
    printer = _printer(flags, output)
    with connect(flags.server) as client:
        for batch in batches(client, request):
            for item in batch.items:
                printer.write(item)
            if flags.follow:
                printer.out.flush()
    printer.close()


def batches(client: Client, request: observer_pb2.GetFlowsRequest) -> Iterator[remora_pb2.FlowBatch]:
    """Flows from an agent of ours, or one by one from any other server of the observer API."""
    try:
        yield from client.agent.GetFlowBatches(request)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise translate(error, client.server) from error
        for response in client.observer.GetFlows(request):
            yield remora_pb2.FlowBatch(items=[remora_pb2.FlowItem(response=response)])


def _filters(ctx: click.Context, flags: Flags) -> Mapping[str, list[flow_pb2.FlowFilter]]:
    lists = selection.build(options.uses(ctx))
    return {
        "allowlist": [*lists["allowlist"], *_raw("--allowlist", flags.allowlist)],
        "denylist": [*lists["denylist"], *_raw("--denylist", flags.denylist)],
    }


def _raw(name: str, texts: tuple[str, ...]) -> list[flow_pb2.FlowFilter]:
    """Filters given as JSON, several objects one after another in a text."""
    found: list[flow_pb2.FlowFilter] = []
    for text in texts:
        rest = text.strip()
        while rest:
            try:
                value, end = json.JSONDecoder().raw_decode(rest)
                found.append(json_format.ParseDict(value, flow_pb2.FlowFilter()))
            except (ValueError, json_format.ParseError) as error:
                raise UsageError(f"invalid {name} flag: failed to decode '{rest}': {error}") from error
            rest = rest[end:].strip()
    return found


def raw_filters(filters: Mapping[str, list[flow_pb2.FlowFilter]]) -> str:
    """The filter lists as YAML, each filter a JSON text."""
    lines: list[str] = []
    for name, entries in filters.items():
        if entries:
            quoted = (jsonpb.line(entry).replace("'", "''") for entry in entries)
            lines += [f"{name}:", *(f"    - '{entry}'" for entry in quoted)]
    return "".join(f"{line}\n" for line in lines)


def _printer(flags: Flags, output: str) -> Printer:
    text = FlowText(
        names=flags.ip_translation and not flags.numeric,
        colour=output in ("compact", "dict") and wants_colour(flags.color),
        policy_names=flags.print_policy_names,
        layout=times.LAYOUTS[flags.time_format],
    )
    err = None if flags.silent_errors else sys.stderr
    return PRINTERS[output](sys.stdout, err, text, flags.print_node_name, flags.extra, flags.debug)


def wants_colour(when: str) -> bool:
    """Whether to colour: always, never, or on a terminal that does not forbid it (NO_COLOR, TERM=dumb)."""
    if when != "auto":
        return when == "always"
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
