"""Which part of what is stored was asked for: --last, --first, --all, --since, --until, --follow.

Flows, agent events and debug events are chosen alike, so their requests are filled here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from google.protobuf.timestamp_pb2 import Timestamp

from daemon.cli import options, times
from daemon.cli.errors import UsageError
from daemon.proto import observer_pb2

DEFAULT_NUMBER = 20
ALL = 2**64 - 1

Request = observer_pb2.GetFlowsRequest | observer_pb2.GetAgentEventsRequest | observer_pb2.GetDebugEventsRequest
Command = TypeVar("Command", bound=Callable[..., Any])
_EXCLUSIVE = (("--first", "--last"), ("--first", "--all"), ("--first", "--follow"), ("--last", "--all"))


@dataclass(frozen=True, slots=True)
class Window:
    """The flags; a number of 0 is one that was not given. `stored`: flows come from a file, all of them by default."""

    follow: bool = False
    everything: bool = False
    last: int = 0
    first: int = 0
    since: str = ""
    until: str = ""
    stored: bool = False

    def fill(self, request: Request) -> None:
        """Write it into a request; raises UsageError for flags that contradict each other."""
        self._check()
        request.follow = self.follow
        if self.since:
            request.since.CopyFrom(_moment("since", self.since))
        if self.until and not self.follow:
            request.until.CopyFrom(_moment("until", self.until))
        if isinstance(request, observer_pb2.GetFlowsRequest) and self.first:
            request.first, request.number = True, self.first
        else:
            request.number = self._last(bool(self.since) or request.HasField("until"))

    def _check(self) -> None:
        given = {"--first": self.first, "--last": self.last, "--all": self.everything, "--follow": self.follow}
        for one, other in _EXCLUSIVE:
            if given[one] and given[other]:
                raise UsageError(f"cannot set both {one} and {other}")

    def _last(self, timed: bool) -> int:
        if timed:
            return self.last
        if self.everything:
            return ALL
        return self.last or (0 if self.follow or self.stored else DEFAULT_NUMBER)


def _moment(name: str, text: str) -> Timestamp:
    try:
        return times.parse(text)
    except ValueError as error:
        raise UsageError(f"failed to parse the {name} time: {error}") from error


def window_options(command: Command) -> Command:
    """The flags, passed on as `window`, a dict of what was given."""
    option = options.section("Selectors")
    when = "relative (3s, 4m, 1h43m), or a date such as 2026-01-31, 2026-01-31T10:00:00Z"
    number = click.IntRange(0)
    for one in reversed(
        (
            option("--all", "everything", is_flag=True, help="All that is stored."),
            option("--first", type=number, default=0, metavar="N", help="The oldest N."),
            option("-f", "--follow", is_flag=True, help="Go on with what comes."),
            option("--last", type=number, default=0, metavar="N", help=f"The newest N.  [default: {DEFAULT_NUMBER}]"),
            option("--since", default="", metavar="TIME", help=f"From then on: {when}."),
            option("--until", default="", metavar="TIME", help="Up to then, in the same forms."),
        )
    ):
        command = one(command)
    return command
