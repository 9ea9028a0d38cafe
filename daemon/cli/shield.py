"""`remora shield`: what is not let in from outside, why a source is or is not, and how to let one in again."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

import click

from daemon.cli import jsonpb, options, times
from daemon.cli.client import connect
from daemon.cli.errors import Exit, UsageError
from daemon.cli.flowtext import escape
from daemon.cli.server import Server
from daemon.cli.tables import fitted, size
from daemon.proto import remora_pb2 as pb

_WIDTH = 100
_TIMEOUT = 30.0  # s; the thread that programs may be at work


@click.command("list")
@options.server_option
@options.output_option
def list_(server: Server, output: str) -> None:
    """Rules in force with the packets that they decided, and the sources that are banned for a time."""
    with connect(server) as client:
        answer = client.agent.ListShield(pb.ListShieldRequest(), timeout=_TIMEOUT)
    click.echo(jsonpb.line(answer) + "\n" if output == "json" else escape(listing(answer)), nl=False)


@click.command("explain")
@click.argument("address")
@options.server_option
@options.output_option
def explain(address: str, server: Server, output: str) -> None:
    """What becomes of packets from ADDRESS: the entry of a list that has it, a ban, what its limits leave it."""
    with connect(server) as client:
        answer = client.agent.ExplainShield(pb.ExplainShieldRequest(address=checked(address)), timeout=_TIMEOUT)
    click.echo(jsonpb.line(answer) + "\n" if output == "json" else escape(explanation(answer)), nl=False)


@click.command("unban")
@click.argument("address")
@options.server_option
def unban(address: str, server: Server) -> int:
    """Let a banned ADDRESS in again; what it does from now on counts anew.

    Exit codes: 0 it was banned and is no more, 1 it was not banned.
    """
    with connect(server) as client:
        answer = client.agent.Unban(pb.UnbanRequest(address=checked(address)), timeout=_TIMEOUT)
    if not answer.HasField("ban"):
        click.echo(f"{address} is not banned; `remora shield explain {address}` says what becomes of it")
        return Exit.ERROR
    click.echo(f"{answer.ban.address} is let in again; it was banned for {remaining(answer.ban)} more")
    return Exit.OK


def checked(address: str) -> str:
    """An address as it is; raises UsageError for what is none."""
    try:
        return str(ip_address(address))
    except ValueError as error:
        raise UsageError(f"{address!r} is no address; for example 192.0.2.7 or 2001:db8::7") from error


def listing(answer: pb.ListShieldResponse) -> str:
    """Rules, bans and devices as text."""
    blocks = []
    if answer.rules:
        header = ["RULE", "KIND", "MODE", "ENTRIES", "PACKETS", "BYTES", "WOULD DROP"]
        blocks.append(fitted([header, *map(_rule, answer.rules)]))
    if answer.bans:
        rows = [[one.address, remaining(one), one.rule or "-"] for one in answer.bans]
        blocks.append(fitted([["BANNED", "FOR", "BECAUSE OF"], *rows]))
    blocks.append(f"on {', '.join(answer.devices)}\n" if answer.devices else "on no device: nothing is dropped\n")
    return "\n".join(blocks) if answer.rules else "no Shield is in force\n"


def _rule(one: pb.ShieldRule) -> list[str]:
    lists = one.kind in ("allow", "deny", "protect")
    mode = "-" if one.kind in ("allow", "protect") else "dry run" if one.dry_run else "enforced"
    entries = f"{one.entries:,}" if lists else "-"
    return [one.name, one.kind, mode, entries, f"{one.packets:,}", size(one.bytes), f"{one.would_drop:,}"]


def explanation(answer: pb.ExplainShieldResponse) -> str:
    """An explanation as text: the answer, then what it follows from."""
    lines = _wrapped("", answer.words)
    if answer.HasField("ban"):
        lines.append(
            f"  banned for {remaining(answer.ban)} more, because of {answer.ban.rule or 'a rule that is gone'}\n"
        )
    lines += _indented(_listed(answer.listed))
    lines += _indented(_buckets(answer.buckets))
    if answer.proven_ns:
        lines.append(f"  proven to exist, for {times.age(answer.proven_ns)} more\n")
    for note in answer.notes:
        lines += _wrapped("note: ", note)
    return "".join(lines)


def _listed(listed: Sequence[pb.ShieldListed]) -> str:
    rows = [
        [
            one.prefix,
            one.rule,
            f"{one.kind}, dry run" if one.dry_run else one.kind,
            "*" if one.decides else "",
            one.place,
        ]
        for one in listed
    ]
    return fitted([["ENTRY", "LIST", "KIND", "DECIDES", "WHERE"], *rows], _WIDTH - 2) if rows else ""


def _buckets(buckets: Sequence[pb.ShieldBucket]) -> str:
    rows = [
        [one.rule, f"{one.match}{', dry run' if one.dry_run else ''}", one.shared_by, *_left(one)] for one in buckets
    ]
    return fitted([["LIMIT", "OF", "SHARED BY", "PACKETS LEFT", "BYTES LEFT"], *rows], _WIDTH - 2) if rows else ""


def _left(one: pb.ShieldBucket) -> tuple[str, str]:
    packets = f"{one.packets_left:,} of {one.packet_burst:,}" if one.packet_rate else "-"
    return packets, f"{size(one.bytes_left)} of {size(one.byte_burst)}" if one.byte_rate else "-"


def remaining(ban: pb.ShieldBan) -> str:
    """How long a ban lasts."""
    return times.age(ban.remaining_ns)


def _wrapped(head: str, text: str) -> list[str]:
    return [f"{line}\n" for line in textwrap.wrap(head + text, _WIDTH, subsequent_indent=" " * len(head))]


def _indented(text: str) -> list[str]:
    return [f"  {line}\n" for line in text.splitlines()]


COMMANDS: Mapping[str, click.Command] = {
    "shield": click.Group(
        "shield",
        help="What is not let in from outside, why, and who is banned.",
        commands=[list_, explain, unban],
    )
}
