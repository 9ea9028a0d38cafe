"""What a look at this host needs: files below a root, and the output of tools, in bounded time.

A check that asks only this can be tried on a folder of made-up files and made-up answers of tools.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

RUN_TIMEOUT = 10.0  # s that a tool may take; iptables-save of 40,000 Services takes about five


class ToolError(Exception):
    """A tool is there and did not answer; the text says why."""


def run_tool(argv: Sequence[str]) -> str | None:
    """What a tool prints; None where it is not installed. Raises ToolError where it fails or takes too long."""
    path = shutil.which(argv[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, *argv[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=RUN_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{argv[0]} did not finish in {RUN_TIMEOUT:.0f} s") from error
    except OSError as error:
        raise ToolError(f"{argv[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise ToolError(f"{argv[0]} failed: {words[0] if words else f'exit code {done.returncode}'}")
    return done.stdout.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Host:
    """A host, or a folder that stands for one. `superuser`: kernel and rules may be asked."""

    root: Path = Path("/")
    superuser: bool = False
    run: Callable[[Sequence[str]], str | None] = run_tool

    def path(self, name: str | Path) -> Path:
        """An absolute name, below the root."""
        return self.root / str(name).lstrip("/")

    def text(self, name: str | Path) -> str:
        """Content of a file, without the last newline; "" where it cannot be read."""
        try:
            return self.path(name).read_text(errors="replace").strip()
        except OSError:
            return ""

    def names(self, name: str | Path) -> list[str]:
        """Entries of a folder, sorted; none where it cannot be read."""
        try:
            return sorted(entry.name for entry in self.path(name).iterdir())
        except OSError:
            return []


def this_host() -> Host:
    """The host that we run on."""
    return Host(superuser=os.geteuid() == 0)
