"""How commands fail: one line on stderr and a stable exit code, never a traceback.

Scripts rely on the codes, people on the line. So every expected failure becomes
a CliError here, with foreign errors (gRPC, sockets) translated in one place.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from enum import IntEnum

import click


class Exit(IntEnum):
    """Exit codes of every command; part of the interface, never renumbered."""

    OK = 0
    ERROR = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130  # as shells tell SIGINT


class CliError(click.ClickException):
    """A failure that the user can act on: `message` is one line."""

    exit_code = int(Exit.ERROR)

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class UsageError(CliError):
    """Flags that make no sense, alone or together."""

    exit_code = int(Exit.USAGE)


class UnreachableError(CliError):
    """No agent answers."""

    exit_code = int(Exit.UNREACHABLE)


def endless(follows: bool = True) -> AbstractContextManager[object]:
    """For what goes on until somebody ends it: there Ctrl-C is the end, and no failure."""
    return suppress(KeyboardInterrupt) if follows else nullcontext()
