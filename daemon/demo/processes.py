"""Starts programs inside a network namespace and a cgroup, and ends them.

The shell steps into the cgroup and `nsenter` into the namespace before the program begins, so it never runs a moment
outside, and its process id is the one that we started. `ip netns exec` would not do: it hides the mounts below /sys
that the agent needs.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_ENTER = 'if [ -n "$1" ]; then echo $$ > "$1/cgroup.procs" || exit 125; fi; shift; exec "$@"'
_PATIENCE = 5.0  # s between asking a process to end and killing it

Output = IO[bytes] | int | None


def command(argv: Sequence[str], namespace: Path | None = None, cgroup: Path | None = None) -> list[str]:
    """The command line that runs `argv` there; exit code 125 when the cgroup cannot be entered."""
    enter = ["nsenter", f"--net={namespace}"] if namespace else []
    return ["/bin/sh", "-c", _ENTER, "enter", str(cgroup or ""), *enter, *argv]


def spawn(
    argv: Sequence[str],
    namespace: Path | None = None,
    cgroup: Path | None = None,
    *,
    stdin: Output = subprocess.DEVNULL,
    stdout: Output = None,
    stderr: Output = None,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program there, in a session of its own: Ctrl-C reaches only us, who end the rest in order."""
    return subprocess.Popen(
        command(argv, namespace, cgroup),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=os.environ | (environment or {}),
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes], patience: float = _PATIENCE) -> int:
    """Ask a process to end, kill it when it does not; its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
