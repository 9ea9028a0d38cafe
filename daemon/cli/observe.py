"""`remora observe`: flows as they come or as they are stored, with the flags of `hubble observe`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click
import grpc

from daemon.cli import eventsobserve, inputfile, options, rawfilters, selection, times
from daemon.cli.client import Client, connect, translate
from daemon.cli.errors import CliError, UsageError, endless
from daemon.cli.flowtext import FlowText
from daemon.cli.printer import FORMATS, PRINTERS, Printer
from daemon.cli.server import Server
from daemon.cli.window import Window, window_options
from daemon.proto import flow_pb2, observer_pb2, remora_pb2

_ALIASES = {"jsonpb": "json", "JSON": "json", "tab": "table"}


@dataclass(frozen=True, slots=True)
class Flags:
    """The command line apart from filter flags and from what chooses a part of the store."""

    server: Server
    output: str
    color: str
    time_format: str
    numeric: bool
    ip_translation: bool
    print_node_name: bool
    print_policy_names: bool
    extra: bool
    process: tuple[str, ...]
    latency_above: str
    failed: bool
    allowlist: tuple[str, ...]
    denylist: tuple[str, ...]
    field_mask: tuple[str, ...]
    use_default_field_masks: bool
    input_file: str
    print_raw_filters: bool
    silent_errors: bool
    debug: bool

    @property
    def form(self) -> str:
        """The output format without its aliases; raises UsageError for one that there is not."""
        form = _ALIASES.get(self.output, self.output)
        if form not in FORMATS:
            raise UsageError(f"invalid output format: {self.output}")
        return form

    def own(self) -> remora_pb2.FlowOptions:
        """What the flags beyond Hubble's ask for."""
        try:
            above = times.duration_ns(self.latency_above) if self.latency_above else 0
        except ValueError as error:
            raise UsageError(f'invalid argument "{self.latency_above}" for "--latency-above" flag: {error}') from error
        return remora_pb2.FlowOptions(
            processes=self.process, latency_above_ns=above, failed=self.failed, plain=not self.extra
        )


_raw = options.section("Raw filters")
_own = options.section(options.OWN)
_form = options.section("Formatting")
_other = options.section(options.OTHER)

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    window_options,
    _raw("--allowlist", multiple=True, metavar="JSON", help="Send what these filters match."),
    _raw("--denylist", multiple=True, metavar="JSON", help="Leave out what these filters match."),
    _own("--process", multiple=True, metavar="NAME", help="Process at the local end, by name or number."),
    _own("--latency-above", default="", metavar="TIME", help="Answers and handshakes that took longer: 250ms."),
    _own("--failed", is_flag=True, help="Drops, failed connections, errors of HTTP and DNS."),
    _own("--extra", is_flag=True, help="Add packets, bytes, handshake time and process (compact, json)."),
    _form("-o", "--output", default="compact", show_default=True, metavar="FORM", help=", ".join(FORMATS) + "."),
    _form("--print-node-name", is_flag=True, help="Show the node that saw the flow."),
    _form("--print-policy-names", is_flag=True, help="Show the policies behind a verdict."),
    _form(
        "--time-format", default="StampMilli", show_default=True, metavar="NAME", help=f"{', '.join(times.LAYOUTS)}."
    ),
    _form("--color", default="auto", show_default=True, metavar="WHEN", help="auto, always or never."),
    _form("--ip-translation/--no-ip-translation", default=True, help="Names instead of addresses.  [default: on]"),
    _form("--numeric", is_flag=True, help="Addresses instead of names."),
    options.server_option,
    _other("--field-mask", multiple=True, metavar="FIELDS", help="Fields of a flow, parted by commas (json only)."),
    _other("--input-file", default="", metavar="FILE", help="Read flows from a file of JSON lines, - for stdin."),
    _other("--print-raw-filters", is_flag=True, help="Print the filters as sent, and end."),
    _other("-s", "--silent-errors", is_flag=True, help="Nothing about nodes on stderr."),
    _other("--use-default-field-masks/--no-default-field-masks", default=True, help="Ask only for what is shown."),
    _other("-D", "--debug", is_flag=True, help="More about nodes on stderr."),
)


def _with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for one in reversed(_OPTIONS):
        function = one(function)
    return function


def _observe(ctx: click.Context, /, **given: Any) -> None:
    if isinstance(ctx.command, click.Group) and ctx.invoked_subcommand:
        return
    chosen = {name: given.pop(name) for name in ("follow", "everything", "last", "first", "since", "until")}
    flags = Flags(**given)
    run(ctx, flags, Window(**chosen, stored=bool(flags.input_file)))


def run(ctx: click.Context, flags: Flags, window: Window) -> None:
    """Build the request, then print what comes until the stream ends."""
    filters = _filters(ctx, flags)
    if flags.print_raw_filters:
        click.echo(rawfilters.printed(filters), nl=False)
        return
    request = requested(flags, window, filters)
    printer = _printer(flags)
    with endless(window.follow):
        for items in _items(flags, request):
            for item in items:
                printer.write(item)
            if window.follow:
                printer.out.flush()
    printer.close()


def requested(
    flags: Flags, window: Window, filters: Mapping[str, list[flow_pb2.FlowFilter]]
) -> observer_pb2.GetFlowsRequest:
    """The request that a command line makes; raises UsageError for flags that make no sense together."""
    if window.follow and flags.form == "table":
        raise UsageError("table output format is not compatible with follow mode")
    request = observer_pb2.GetFlowsRequest()
    request.field_mask.paths.extend(rawfilters.mask(flags.field_mask, flags.form, flags.use_default_field_masks))
    window.fill(request)
    request.whitelist.extend(filters["allowlist"])
    request.blacklist.extend(filters["denylist"])
    if not request.field_mask.paths:
        request.ClearField("field_mask")
    return request


def _items(flags: Flags, request: observer_pb2.GetFlowsRequest) -> Iterator[Iterable[remora_pb2.FlowItem]]:
    """What comes, in the lists in which it comes."""
    if flags.input_file:
        yield inputfile.items(flags.input_file, request, flags.own())
        return
    with connect(flags.server) as client:
        for batch in batches(client, request, flags.own()):
            yield batch.items


def batches(
    client: Client, request: observer_pb2.GetFlowsRequest, own: remora_pb2.FlowOptions
) -> Iterator[remora_pb2.FlowBatch]:
    """Flows from an agent of ours, or one by one from any other server of the observer API."""
    extended = observer_pb2.GetFlowsRequest()
    extended.CopyFrom(request)
    extended.extensions.Pack(own)
    try:
        yield from client.agent.GetFlowBatches(extended)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise translate(error, client.server) from error
        if own.processes or own.latency_above_ns or own.failed:
            raise CliError(
                f"{client.server} is no agent of remora: --process, --latency-above, --failed need one"
            ) from error
        for response in client.observer.GetFlows(request):
            yield remora_pb2.FlowBatch(items=[remora_pb2.FlowItem(response=response)])


def _filters(ctx: click.Context, flags: Flags) -> Mapping[str, list[flow_pb2.FlowFilter]]:
    lists = selection.build(options.uses(ctx))
    return {
        "allowlist": [*lists["allowlist"], *rawfilters.parse("allowlist", flags.allowlist)],
        "denylist": [*lists["denylist"], *rawfilters.parse("denylist", flags.denylist)],
    }


def _printer(flags: Flags) -> Printer:
    form = flags.form
    text = FlowText(
        names=flags.ip_translation and not flags.numeric,
        colour=form in ("compact", "dict") and wants_colour(flags.color),
        policy_names=flags.print_policy_names,
        layout=times.layout(flags.time_format),
    )
    err = None if flags.silent_errors else sys.stderr
    return PRINTERS[form](sys.stdout, err, text, flags.print_node_name, flags.extra, flags.debug)


def wants_colour(when: str) -> bool:
    """Whether to colour: always, never, or on a terminal that does not forbid it (NO_COLOR, TERM=dumb)."""
    if when not in ("auto", "always", "never"):
        raise UsageError(f"invalid color value: {when}; there are auto, always and never")
    if when != "auto":
        return when == "always"
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


flows = click.command("flows", cls=options.FilterCommand, help="Flows; what `remora observe` shows by itself.")(
    _with_options(click.pass_context(_observe))
)
command = click.command(
    "observe",
    cls=options.FilterGroup,
    invoke_without_command=True,
    subcommand_metavar="[COMMAND]",
    help="Show flows: who talked to whom, about what, with which outcome.",
)(_with_options(click.pass_context(_observe)))
for _one in (flows, eventsobserve.agent_events, eventsobserve.debug_events):
    command.add_command(_one)
