"""`remora preflight`: is this host ready? Asks no agent, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daemon.cli import options
from daemon.cli.errors import CliError, Exit
from daemon.cli.flowtext import escape
from daemon.cli.tables import columns

if TYPE_CHECKING:
    from daemon.agent.finding import Finding


@click.command("preflight")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings of the agent to come.")
@options.output_option
def command(config: Path | None, output: str) -> int:
    """Is this host ready: kernel, packages, cgroups, bpffs, rules of another proxy, sysctls.

    Works without an agent; root sees more. Exit codes: 0 ready (warnings allowed), 1 something is missing.
    """
    from daemon.agent.preflight import inspect, ready
    from daemon.settings_file import load
    from ebpf.errors import RemoraError

    try:
        findings = inspect(load(config))
    except RemoraError as error:
        raise CliError(str(error)) from error
    if output == "json":
        click.echo(json.dumps({"ready": ready(findings), "findings": [_values(one) for one in findings]}))
    else:
        click.echo(escape(render(findings)), nl=False)
    return Exit.OK if ready(findings) else Exit.ERROR


def render(findings: Sequence[Finding]) -> str:
    """A line for each finding, and one with what to do below those that need it."""
    lines = columns([[one.level.value, one.what, one.words] for one in findings], padding=2).splitlines()
    indent = " " * (max((len(one.level.value) for one in findings), default=0) + 2)
    told = [[line, f"{indent}→ {one.todo}"] if one.todo else [line] for line, one in zip(lines, findings, strict=True)]
    return "".join(f"{line}\n" for pair in told for line in pair)


def _values(finding: Finding) -> dict[str, str]:
    return {"level": finding.level.value, "what": finding.what, "words": finding.words, "todo": finding.todo}
