"""`remora status`: what an operator must know at night, most urgent first, on one screen.

The exit code is the short answer: 0 healthy, 1 degraded, 3 nobody answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import click
from google.protobuf.timestamp_pb2 import Timestamp

from daemon.cli import jsonpb, options, serverstatus, times
from daemon.cli.client import connect
from daemon.cli.errors import Exit
from daemon.cli.flowtext import escape
from daemon.cli.observe import wants_colour
from daemon.cli.server import Server
from daemon.cli.tables import fitted, shorten, size
from daemon.proto import remora_pb2

_WIDTH = 100
_GREEN, _RED, _YELLOW = 32, 31, 33

Paint = Callable[[int, str], str]


@click.command("status")
@options.server_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", *serverstatus.FORMS]),
    default="text",
    show_default=True,
    help="Form; compact, dict, table and jsonpb are those of `hubble status`, for any server.",
)
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def command(server: Server, output: str, color: str) -> int:
    """State of the agent: kernel, programs, maps, sources, losses, warnings.

    Exit codes: 0 healthy, 1 degraded, 3 agent not reachable.
    """
    with connect(server) as client:
        if output in serverstatus.FORMS:
            click.echo(serverstatus.report(client, output), nl=False)
            return Exit.OK
        status = client.agent.Status(remora_pb2.StatusRequest(), timeout=client.timeout)
    if output == "json":
        click.echo(jsonpb.line(status))
    else:
        click.echo(render(status, painter(wants_colour(color))), nl=False, color=True)
    return Exit.OK if status.health == remora_pb2.HEALTH_OK else Exit.ERROR


def painter(colour: bool) -> Paint:
    """Puts text in an ANSI colour, or leaves it."""
    return lambda code, text: f"\x1b[{code}m{text}\x1b[0m" if colour else text


def render(status: remora_pb2.StatusResponse, paint: Paint) -> str:
    """The status as text, no line longer than 100 columns."""
    sections = (
        ("", _head(status, paint)),
        ("Warnings", [f"{paint(_RED, '!')} {shorten(escape(text), _WIDTH - 4)}" for text in status.warnings]),
        ("Flows", _flows(status)),
        ("Sources", [line for source in status.sources for line in _source(source, paint)]),
        ("Datapath", _counters(status.counters, paint)),
        ("Programs", _programs(status.programs)),
        ("Maps", map_lines(status.maps)),
        ("Kernel", _features(status.features, paint)),
    )
    blocks = ["".join(_section(title, lines)) for title, lines in sections if lines]
    return "\n".join(blocks)


def _section(title: str, lines: Iterable[str]) -> Iterable[str]:
    indent = ""
    if title:
        yield f"{title}\n"
        indent = "  "
    for line in lines:
        yield f"{indent}{line}\n"


def _head(status: remora_pb2.StatusResponse, paint: Paint) -> list[str]:
    healthy = status.health == remora_pb2.HEALTH_OK
    word = paint(_GREEN, "healthy") if healthy else paint(_RED, "degraded")
    facts = [
        f"up {times.age(status.uptime_ns)}",
        f"pid {status.pid}",
        f"memory {size(status.resident_bytes)}",
        f"kernel {status.kernel}",
        f"metrics :{status.metrics_port}" if status.metrics_port else "metrics off",
    ]
    places = [f"config {status.config or 'defaults'}", f"pins {status.pins} ({status.origin})"]
    counts = f"{status.services} services, {status.endpoints} endpoints"
    if status.policies:
        counts += f", {status.policies} policies restrict {status.restricted} of {status.guarded} workloads here"
    return [
        f"remora {status.version} on {escape(status.node)}: {word}",
        shorten(", ".join(facts), _WIDTH),
        shorten(", ".join(places), _WIDTH),
        counts,
    ]


def _flows(status: remora_pb2.StatusResponse) -> list[str]:
    flows = status.flows
    fill = f"{100 * flows.stored / flows.capacity:.1f}%" if flows.capacity else "0%"
    oldest = f", oldest {_ago(flows.oldest)}" if flows.HasField("oldest") else ""
    lines = [
        f"{flows.stored:,} of {flows.capacity:,} stored ({fill}){oldest}",
        f"{flows.seen:,} seen, {flows.rate:,.1f}/s over the last minute, {flows.followers} following",
    ]
    lost = [_loss(loss) for loss in status.losses if loss.count]
    return [*lines, *(lost or ["nothing lost"])]


def _loss(loss: remora_pb2.Loss) -> str:
    when = f", last {_ago(loss.last)}" if loss.HasField("last") else ""
    return f"{loss.count:,} lost in the {loss.where}{when}"


def _ago(stamp: Timestamp) -> str:
    return f"{times.age(max(0, time.time_ns() - stamp.ToNanoseconds()))} ago"


def _source(source: remora_pb2.Source, paint: Paint) -> Iterable[str]:
    counts = [
        f"{count} {name}"
        for name, count in (
            ("Services", source.services),
            ("EndpointSlices", source.slices),
            ("Pods", source.pods),
            ("Namespaces", source.namespaces),
            ("ignored", source.ignored),
        )
        if count or name != "ignored"
    ]
    yield shorten(f"{source.kind} {source.path}, read {times.age(source.age_ns)} ago", _WIDTH - 2)
    yield f"  {', '.join(counts)}"
    for colour, word, entries in ((_RED, "problem", source.problems), (_YELLOW, "note", source.notes)):
        for entry in entries:
            place = f"{entry.file}:{entry.line}" if entry.line else entry.file
            text = shorten(escape(f"{place}: {entry.message}"), _WIDTH - 5 - len(word))
            yield f"  {paint(colour, word)} {text}"


def _counters(counters: Sequence[remora_pb2.Counter], paint: Paint) -> list[str]:
    """Counters that counted something, faults in colour; the rest in one line."""
    shown = [counter for counter in counters if counter.value]
    lines = _lines([[f"{counter.value:,}", counter.name, counter.meaning] for counter in shown])
    zero = len(counters) - len(shown)
    painted = [paint(_YELLOW, line) if one.fault else line for one, line in zip(shown, lines, strict=True)]
    return [*painted, f"others at 0: {zero}"] if zero else painted


def _programs(programs: Sequence[remora_pb2.Program]) -> list[str]:
    rows = [["NAME", "HOOK", "ID", "ATTACHED TO"]]
    rows += [[one.name, one.hook, str(one.id), _places(one.attached)] for one in programs]
    return _lines(rows) if programs else []


def _places(places: Sequence[str]) -> str:
    if not places:
        return "nothing"
    return f"{len(places)}: {', '.join(places)}" if len(places) > 1 else places[0]


def map_lines(maps: Sequence[remora_pb2.Map]) -> list[str]:
    """Maps as lines of a table with a header."""
    rows = [["NAME", "TYPE", "ENTRIES", "MAX", "FILL", "WHAT"]]
    for one in maps:
        fill = f"{100 * one.entries / one.max_entries:.1f}%" if one.max_entries and not one.uncounted else "-"
        entries = "-" if one.uncounted else f"{one.entries:,}"
        rows.append([one.name, one.type, entries, f"{one.max_entries:,}", fill, one.purpose])
    return _lines(rows) if maps else []


def _features(features: Sequence[remora_pb2.Feature], paint: Paint) -> list[str]:
    rows = [[_presence(one), one.name, one.purpose] for one in features]
    colours = [_GREEN if one.present else _RED if one.required else _YELLOW for one in features]
    return [
        line.replace(row[0], paint(colour, row[0]), 1)
        for row, line, colour in zip(rows, _lines(rows), colours, strict=True)
    ]


def _presence(feature: remora_pb2.Feature) -> str:
    return "yes" if feature.present else "MISSING" if feature.required else "no"


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    return fitted(rows, _WIDTH - 2).splitlines()
