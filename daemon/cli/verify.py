"""`remora verify`: do the kernel's maps say what the objects say? The exit code is the short answer."""

from __future__ import annotations

import click

from daemon.cli import jsonpb, options
from daemon.cli.client import connect
from daemon.cli.errors import Exit
from daemon.cli.flowtext import escape
from daemon.cli.server import Server
from daemon.cli.tables import columns
from daemon.proto import remora_pb2

_TIMEOUT = 120.0  # s; both maps are read whole and everything is computed anew
_SIGNS = {"missing": "-", "extra": "+", "different": "~"}


@click.command("verify")
@options.server_option
@options.output_option
def command(server: Server, output: str) -> int:
    """Compare the kernel's maps with the objects: frontends, counts, flags, every backend slot.

    Everything is computed anew from the objects and read back from the kernel; nothing is changed.
    Exit codes: 0 equal, 1 different, 3 agent not reachable.
    """
    with connect(server) as client:
        answer = client.agent.Verify(remora_pb2.VerifyRequest(), timeout=_TIMEOUT)
    click.echo(jsonpb.line(answer) + "\n" if output == "json" else escape(render(answer)), nl=False)
    return Exit.ERROR if answer.differences else Exit.OK


def render(answer: remora_pb2.VerifyResponse) -> str:
    """A line for each difference: - missing in the kernel, + extra in the kernel, ~ different."""
    compared = f"{answer.frontends:,} frontends and {answer.slots:,} backend slots"
    if not answer.differences:
        return f"the kernel agrees with the objects: {compared}\n"
    rows = [
        [_SIGNS.get(one.kind, "?"), one.map, one.place, one.service or "-", _words(one)] for one in answer.differences
    ]
    count = len(rows)
    head = f"the kernel differs from the objects in {count:,} place{'s' if count > 1 else ''} of {compared}\n"
    return head + columns(rows, padding=2)


def _words(one: remora_pb2.Difference) -> str:
    if one.kind == "missing":
        return f"missing, wanted {one.wanted}"
    if one.kind == "extra":
        return f"extra, found {one.found}"
    return f"wanted {one.wanted}, found {one.found}"
