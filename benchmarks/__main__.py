"""The command line: which benchmarks, in which order; exit code 0 all goals met, 1 one was missed or failed.

The work is done by a child in a session of its own. This process only waits: when it ends or a signal comes, it kills
the child and removes by name all that the child can have made. So there is no moment at which a failure or Ctrl-C
could leave something behind.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import FrameType

from benchmarks.report import Figure, say, tell
from benchmarks.stand import occupied
from ebpf.errors import RemoraError

NAMES = (
    "agent", "records", "flows", "scrape", "throughput", "connect", "packet", "services", "outside",
    "policy_compile", "policy_packet", "policy_force", "kubernetes", "xdp",
)  # fmt: skip
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """One of the ending signals came."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def main() -> int:
    """Run what was asked for; the exit code."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measure what remora costs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; none: all")
    names = parser.parse_args().names or list(NAMES)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    try:
        with occupied():
            return _supervised(names)
    except Interrupted as interrupted:
        say(f"stopped by {interrupted}; everything was removed")
        return interrupted.exit_code
    except RemoraError as error:
        say(f"benchmarks: {error}")
        return 1


def _supervised(names: list[str]) -> int:
    """Run benchmarks in a child that does not outlive this call; its exit code. Raises Interrupted."""
    child = os.fork()
    if not child:
        os.setsid()
        os._exit(_work(names))
    before = {number: signal.signal(number, _interrupt) for number in ENDING}
    try:
        _, status = os.waitpid(child, 0)
    except Interrupted:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    finally:
        for number in before:
            signal.signal(number, signal.SIG_IGN)  # what follows is cleaning up
    return abs(os.waitstatus_to_exitcode(status))


def _interrupt(number: int, frame: FrameType | None) -> None:
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)
    raise Interrupted(number)


def _work(names: list[str]) -> int:
    """All benchmarks, in the child; a failure is told and does not keep the others from running."""
    missed = [name for name in names if not _run(name)]
    return 1 if missed else 0


def _run(name: str) -> bool:
    """One benchmark; True when it met its goals."""
    say(f"── {name}")
    measure: Callable[[], Iterator[Figure]] = import_module(f"benchmarks.{name}").measure
    try:
        return False not in {tell(figure) for figure in measure()}
    except Exception as error:
        say(f"{name} failed: {type(error).__name__}: {error}")
        return False


if __name__ == "__main__":
    sys.exit(main())
