"""`remora connectivity test`: steer, guard and watch, end to end against a running agent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from daemon.cli import options
from daemon.cli.client import connect
from daemon.cli.errors import CliError, Exit
from daemon.cli.flowtext import escape
from daemon.cli.local import agent_pid
from daemon.cli.server import Server
from daemon.proto import remora_pb2

if TYPE_CHECKING:
    from daemon.connectivity import Result


@click.group("connectivity")
def command() -> None:
    """Does the agent do its work, end to end."""


@command.command("test")
@options.server_option
@options.output_option
@click.option("--kubernetes", is_flag=True, help="With short-lived pods on the agent's node, made by your own rights.")
@click.option("--kubeconfig", default="", metavar="FILE", help="Whose rights; else $KUBECONFIG or ~/.kube/config.")
@click.option("--image", default="", help="Image of remora for the pods; else that of the agent's pod.")
def test(server: Server, output: str, kubernetes: bool, kubeconfig: str, image: str) -> int:
    """Check steer, guard and watch with short-lived namespaces and one manifest file; removes both again.

    Works with an agent that reads a folder of manifests. Traffic stays on a bridge of the test's own; objects of
    others are not touched. With --kubernetes it makes pods, Services and a policy in a namespace of its own instead,
    for an agent that listens to an API server. Exit codes: 0 all well, 1 a check failed, 3 agent not reachable.
    """
    from daemon.connectivity import Target, run, run_in_cluster
    from daemon.demo.signals import Interrupted
    from daemon.sources.kubernetes.config import access
    from ebpf.errors import RemoraError

    results: list[Result] = []

    def tell(result: Result) -> None:
        results.append(result)
        if output != "json":
            click.echo(escape(line(result)), nl=False)

    try:
        with connect(server) as client:
            status = client.agent.Status(remora_pb2.StatusRequest(), timeout=client.timeout)
            target = Target(client.agent, agent_pid(server), status)
            well = run_in_cluster(target, access(kubeconfig, ""), image, tell) if kubernetes else run(target, tell)
    except RemoraError as error:
        raise CliError(str(error)) from error
    except Interrupted as signal:
        click.echo(f"remora: stopped by {signal}; everything was removed", err=True)
        return signal.exit_code
    click.echo(json.dumps(_told(server, well, results)) if output == "json" else _summary(well, results))
    return Exit.OK if well else Exit.ERROR


def line(result: Result) -> str:
    """A check as a line, and as a second one where to look."""
    mark = {"ok": "ok  ", "failed": "FAIL", "skipped": "skip"}[result.outcome.value]
    text = f"{mark}  {result.job:<6} {result.what:<37} {result.seconds:5.2f}s  {result.words}\n"
    return text + (f"      look at: {result.hint}\n" if result.hint else "")


def _summary(well: bool, results: list[Result]) -> str:
    failed = sum(result.outcome.value == "failed" for result in results)
    spent = sum(result.seconds for result in results)
    return f"{len(results)} checks in {spent:.1f} s: {'all is well' if well else f'{failed} failed'}"


def _told(server: Server, well: bool, results: list[Result]) -> dict[str, object]:
    checks = [
        {
            "job": one.job,
            "what": one.what,
            "outcome": one.outcome.value,
            "seconds": round(one.seconds, 3),
            "words": one.words,
            "hint": one.hint,
        }
        for one in results
    ]
    return {"server": str(server), "ok": well, "checks": checks}
