"""`remora completion` and `remora version`: what shells and scripts ask for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import click
from click.shell_completion import get_completion_class

from daemon.cli.errors import CliError


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script.

    bash: remora completion bash > /etc/bash_completion.d/remora
    """
    from daemon.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise CliError(f"no completion for {shell}; there is one for bash, zsh and fish")
    click.echo(kind(cli, {}, "remora", "_REMORA_COMPLETE").source())


@click.command("version")
def version() -> None:
    """Print the version of this program."""
    try:
        click.echo(f"remora {installed_version('remora')}")
    except PackageNotFoundError as error:
        raise CliError("remora is not installed in this environment; run `make install`") from error


COMMANDS: Mapping[str, click.Command] = {"completion": completion, "version": version}
