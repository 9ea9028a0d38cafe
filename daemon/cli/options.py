"""click options that keep the order of filter flags.

`--not` negates the flag behind it, so the order of flags carries meaning, and
click gathers the values of each flag apart. Its parser knows the order, though:
the command reads it once more and hands the flags on as they stood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

from daemon.cli import client
from daemon.cli.selection import FLAGS, FilterFlag

Uses = list[tuple[FilterFlag | None, str]]
Command = TypeVar("Command", bound=Callable[..., Any])
_KEY = "daemon.cli.uses"


class FilterOption(click.Option):
    """The option of one filter flag, or of --not (`flag` is None)."""

    def __init__(self, flag: FilterFlag | None) -> None:
        self.flag = flag
        if flag is None:
            super().__init__(["--not", "negate"], is_flag=True, help="Negate the next filter.", expose_value=False)
            return
        names = [f"--{flag.name}", *([f"-{flag.short}"] if flag.short else []), f"filter_{flag.name}".replace("-", "_")]
        help_text = flag.help[0].upper() + flag.help[1:].rstrip(",") + "."
        if flag.fixed is None:
            super().__init__(names, multiple=True, metavar=flag.metavar, help=help_text, expose_value=False)
        else:
            super().__init__(names, is_flag=True, help=help_text, expose_value=False)


class FilterCommand(click.Command):
    """A command with all filter flags; `uses` of its context are the flags in the order given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [FilterOption(None), *map(FilterOption, FLAGS)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[_KEY] = list(_uses(values, order))
        return super().parse_args(ctx, args)


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
    """--server, for every command that asks an agent."""
    return click.option(
        "--server",
        envvar=client.ENVIRONMENT,
        default=client.DEFAULT_SERVER,
        show_default=True,
        metavar="ADDRESS",
        help=f"Agent to ask: unix:///path or host:port; environment {client.ENVIRONMENT}.",
    )(command)


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
