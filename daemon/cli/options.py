"""click options that keep the order of filter flags.

`--not` negates the flag behind it, so the order of flags carries meaning, and
click gathers the values of each flag apart. Its parser knows the order, though:
the command reads it once more and hands the flags on as they stood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, wraps
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

from daemon.cli import client, config, times
from daemon.cli.errors import UsageError
from daemon.cli.selection import FLAGS, FilterFlag
from daemon.cli.server import DEFAULT_ADDRESS, Server

Uses = list[tuple[FilterFlag | None, str]]
Command = TypeVar("Command", bound=Callable[..., Any])
_KEY = "daemon.cli.uses"

OTHER = "Other"
OWN = "Beyond Hubble"
SECTIONS = ("Selectors", "Filters", "Raw filters", OWN, "Formatting", "Server", OTHER)
"""Headings of options, in the order of help."""


class SectionOption(click.Option):
    """An option that help shows under a heading of its own."""

    def __init__(self, *args: Any, section: str = OTHER, **kwargs: Any) -> None:
        self.section = section
        super().__init__(*args, **kwargs)


def section(heading: str) -> Callable[..., Callable[[Command], Command]]:
    """`click.option` for options of one section."""
    return partial(click.option, cls=SectionOption, section=heading)


class FilterOption(SectionOption):
    """The option of one filter flag, or of --not (`flag` is None)."""

    def __init__(self, flag: FilterFlag | None) -> None:
        self.flag = flag
        how: dict[str, Any] = {"section": "Filters", "expose_value": False}
        if flag is None:
            super().__init__(["--not", "negate"], is_flag=True, help="Negate the next filter.", **how)
            return
        names = [f"--{flag.name}", *([f"-{flag.short}"] if flag.short else []), f"filter_{flag.name}".replace("-", "_")]
        how["help"] = flag.help[0].upper() + flag.help[1:].rstrip(",") + "."
        if flag.fixed is None:
            super().__init__(names, multiple=True, metavar=flag.metavar, **how)
        else:
            super().__init__(names, is_flag=True, **how)


class SectionCommand(click.Command):
    """Shows the options under headings, in the order in which the headings first come."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                found.setdefault(getattr(parameter, "section", OTHER), []).append(record)
        for heading in sorted(found, key=_place):
            with formatter.section(heading):
                formatter.write_dl(found[heading])


def _place(heading: str) -> int:
    return SECTIONS.index(heading)


class FilterCommand(SectionCommand):
    """A command with all filter flags; `uses` of its context are the flags in the order given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [FilterOption(None), *map(FilterOption, FLAGS)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_KEY] = list(_uses(values, order))
        return super().parse_args(ctx, args)


class FilterGroup(FilterCommand, click.Group):
    """The same for a command that has commands below it and does something by itself."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def _uses(values: Any, order: Sequence[click.Parameter]) -> Iterator[tuple[FilterFlag | None, str]]:
    given: dict[str, Iterator[str]] = {}
    for option in order:
        if not isinstance(option, FilterOption):
            continue
        if option.flag is None or option.flag.fixed is not None:
            yield option.flag, option.flag.fixed or "" if option.flag else ""
            continue
        queue = given.setdefault(str(option.name), iter(values[option.name]))
        yield option.flag, next(queue)


def uses(ctx: click.Context) -> Uses:
    """The filter flags of this command line, in order."""
    return list(ctx.meta[_KEY])


def server_option(command: Command) -> Command:
    """--server and what belongs to it, for every command that asks an agent; the command gets a `Server`."""

    @wraps(command)
    def run(*args: Any, **given: Any) -> Any:
        found = {name: given.pop(name) for name in _SERVER_NAMES}
        return command(*args, server=_server(click.get_current_context(), found), **given)

    applied: Any = run
    for one in reversed(_SERVER_OPTIONS):
        applied = one(applied)
    return cast("Command", applied)


def _server_option(name: str, text: str, **how: Any) -> Callable[[Any], Any]:
    variable = "REMORA_" + name.upper().replace("-", "_")
    return click.option(f"--{name}", cls=SectionOption, section="Server", envvar=variable, help=text, **how)


_SERVER_OPTIONS = (
    _server_option(
        "server",
        f"Agent to ask: unix:///path, host:port or tls://host:port; environment {client.ENVIRONMENT}.",
        default=DEFAULT_ADDRESS,
        show_default=True,
        metavar="ADDRESS",
    ),
    _server_option("tls", "Speak TLS; a server tls://… does too.", is_flag=True),
    _server_option("tls-allow-insecure", "Take any certificate: whoever is in between can read all.", is_flag=True),
    _server_option("tls-ca-cert-files", "Authorities to trust, PEM; commas between files.", metavar="FILES"),
    _server_option("tls-client-cert-file", "Certificate to show, PEM.", metavar="FILE"),
    _server_option("tls-client-key-file", "Key of that certificate, PEM.", metavar="FILE"),
    _server_option("tls-server-name", "Name that must stand in the server's certificate.", metavar="NAME"),
    _server_option("basic-auth-username", "Name to log in with; over TLS only.", metavar="NAME"),
    _server_option("basic-auth-password", "Password to log in with.", metavar="PASSWORD"),
    _server_option("timeout", "Kept for scripts: connections are made when needed.", default="5s", metavar="TIME"),
    _server_option(
        "request-timeout", "How long a single answer may take.", default="12s", show_default=True, metavar="TIME"
    ),
)
SERVER_KEYS: Mapping[str, str] = {
    "server": DEFAULT_ADDRESS,
    "tls": "false",
    "tls-allow-insecure": "false",
    "tls-ca-cert-files": "",
    "tls-client-cert-file": "",
    "tls-client-key-file": "",
    "tls-server-name": "",
    "basic-auth-username": "",
    "basic-auth-password": "",
    "timeout": "5s",
    "request-timeout": "12s",
}
"""What the file of `remora config` may hold, with the defaults."""

_SERVER_NAMES = tuple(key.replace("-", "_") for key in SERVER_KEYS)


def _server(ctx: click.Context, given: Mapping[str, Any]) -> Server:
    """The server of a command line, what it leaves out taken from the file."""
    kept = config.read()

    def value(key: str) -> Any:
        name = key.replace("-", "_")
        chosen = ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
        return given[name] if chosen or key not in kept else kept[key]

    return Server(
        address=str(value("server")),
        tls=is_true(value("tls")),
        allow_insecure=is_true(value("tls-allow-insecure")),
        authorities=tuple(filter(None, str(value("tls-ca-cert-files") or "").split(","))),
        certificate=value("tls-client-cert-file") or "",
        key=value("tls-client-key-file") or "",
        name=value("tls-server-name") or "",
        user=value("basic-auth-username") or "",
        password=value("basic-auth-password") or "",
        request_timeout=_seconds("request-timeout", value("request-timeout")),
    )


def is_true(value: object) -> bool:
    """A flag, from the command line or a file."""
    return str(value).lower() in ("true", "1", "yes")


def _seconds(name: str, text: object) -> float:
    try:
        return times.duration_ns(str(text)) / 1e9
    except ValueError as error:
        raise UsageError(f'invalid argument "{text}" for "--{name}" flag: {error}') from error


def output_option(command: Command) -> Command:
    """-o for listings: a table or JSON."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="Form of the output.",
    )(command)
