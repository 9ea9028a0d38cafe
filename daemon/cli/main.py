"""The entry point: finds the command, loads only its module, turns failures into one line and a code."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module

import click

from daemon.cli.errors import CliError, Exit

_COMMANDS: Mapping[str, tuple[str, str]] = {
    "agent": ("agent", "Run the agent on this host."),
    "bugtool": ("bugtool", "Pack state of agent and host into one archive."),
    "cleanup": ("agent", "Detach and unpin everything of remora on this host."),
    "completion": ("completion", "Print the completion script of a shell."),
    "config": ("configure", "Keep how the agent is reached."),
    "connectivity": ("connectivity", "Try steer, guard and watch end to end against the running agent."),
    "demo": ("agent", "A small shop of namespaces, with traffic and the live view."),
    "endpoint": ("listing", "Workloads, their addresses and devices."),
    "flows": ("top", "Flows added up: who talks to whom, how fast, with which errors."),
    "identity": ("listing", "Label sets and their numbers."),
    "list": ("aggregator", "Nodes and namespaces."),
    "map": ("listing", "Kernel maps and how full they are."),
    "monitor": ("monitor", "Raw datapath records as they come."),
    "observe": ("observe", "Flows, live or stored."),
    "policy": ("policy", "Network policies: what is in force, why, and what a change would do."),
    "preflight": ("preflight", "Is this host ready; asks no agent."),
    "service": ("service", "Services and their backends, as the kernel has them."),
    "shield": ("shield", "What is not let in from outside, why, and who is banned."),
    "status": ("status", "State of the agent and what is wrong with it."),
    "top": ("top", "Live table of talkers, services, errors and latencies."),
    "verify": ("verify", "Do the kernel's maps say what the objects say."),
    "watch": ("aggregator", "Agents that aggregators are told of."),
    "version": ("completion", "Version of this program."),
}
_HIDDEN: Mapping[str, str] = {"reflect": "aggregator"}


class LazyGroup(click.Group):
    """Commands whose modules are loaded when they are called: `observe` must start at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS and cmd_name not in _HIDDEN:
            return None
        name = _HIDDEN.get(cmd_name) or _COMMANDS[cmd_name][0]
        module = import_module(f"daemon.cli.{name}")
        commands: Mapping[str, click.Command] = getattr(module, "COMMANDS", {})
        return commands.get(cmd_name) or getattr(module, "command", None)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group("remora", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="remora", message="remora %(version)s")
def cli() -> None:
    """Services steered in the kernel and every flow seen, beside any CNI.

    Exit codes: 0 done, 1 failed or degraded, 2 wrong use, 3 agent not reachable, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and leave with its exit code."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run a command line; the exit code. Expected failures are one line on stderr."""
    try:
        result = cli.main(arguments, prog_name="remora", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as help_page:
        click.echo(help_page.ctx.get_help() if help_page.ctx else "", err=True)
        return Exit.USAGE
    except click.UsageError as error:
        _complain(f"{error.format_message()} See `{_path(error)} --help`.")
        return Exit.USAGE
    except CliError as error:
        _complain(error.message)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    return result if isinstance(result, int) else Exit.OK


def _path(error: click.UsageError) -> str:
    return error.ctx.command_path if error.ctx else "remora"


def _complain(message: str) -> None:
    click.echo(f"remora: {' '.join(message.split())}", err=True)


if __name__ == "__main__":
    main()
