"""`remora agent`, `demo` and `cleanup`: the commands that work on this host and not through the API.

They need root and the heavy imports, which are loaded here, inside the command,
so that no other command pays for them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from daemon.cli.errors import CliError, UsageError


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Errors of the kernel border as one line; root asked for before anything is touched."""
    if os.geteuid() != 0:
        raise CliError(f"{what} loads programs into the kernel and needs root; run: sudo remora {what}")
    from ebpf.errors import RemoraError

    try:
        yield
    except RemoraError as error:
        raise CliError(str(error)) from error


_config = click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings of the agent.")


@click.command("agent")
@_config
def agent(config: Path | None) -> None:
    """Run the agent on this host until SIGTERM."""
    with _explained("agent"):
        from daemon.agent.main import run

        run(config)


@click.command("demo")
@click.option("--duration", default="15s", show_default=True, metavar="TIME", help="How long the traffic runs.")
@click.option("--keep", is_flag=True, help="Leave everything running afterwards, for exploring.")
def demo(duration: str, keep: bool) -> int:
    """A small shop of namespaces on this host, with traffic and the live view; cleans up."""
    from daemon.cli import times

    try:
        seconds = times.duration_ns(duration) / 1e9
    except ValueError as error:
        raise UsageError(f"--duration: {error}") from error
    with _explained("demo"):
        from daemon.demo import run

        return run(duration=seconds, keep=keep)


@click.command("cleanup")
@_config
def cleanup(config: Path | None) -> None:
    """Detach and unpin everything of remora on this host; the agent must be stopped."""
    with _explained("cleanup"):
        from daemon.settings_file import load
        from ebpf import datapath

        loaded = load(config)
        done = datapath.cleanup(Path(loaded.bpffs), Path(loaded.state_dir))
    for line in done:
        click.echo(line)
    click.echo("nothing of remora is left in the kernel" if done else f"nothing to remove below {loaded.bpffs}")


COMMANDS: Mapping[str, click.Command] = {"agent": agent, "demo": demo, "cleanup": cleanup}
