"""`remora policy test` and `suggest`: recorded flows put to policies not in force, and policies made from them.

Flows come from an agent's store or from a file; both commands decide here and change nothing anywhere.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemon.cli import options, times
from daemon.cli.client import connect
from daemon.cli.errors import CliError, Exit, UsageError
from daemon.cli.flowtext import escape
from daemon.cli.server import Server
from daemon.cli.tables import fitted
from daemon.proto import flow_pb2, observer_pb2
from daemon.proto import remora_pb2 as pb
from ebpf.errors import RemoraError

if TYPE_CHECKING:
    from daemon.model.snapshot import Snapshot
    from daemon.policy.recorded import Seen
    from daemon.policy.whatif import Change, Outlook

_ALL = 2**64 - 1
_TIMEOUT = 120.0  # s; the whole store may have to be sent

_since = click.option("--since", default="", metavar="TIME", help="Flows from then on (1h, or a date); default: all.")
_input = click.option("--input", "file", default="", metavar="FILE", help="Flows from a file (-: stdin), as -o jsonpb.")


@click.command("test")
@click.option("-f", "--filename", "paths", multiple=True, required=True, metavar="FILE", help="Candidates: YAML, or -.")
@click.option("--alone", is_flag=True, help="Only the candidates, without the policies that are in force.")
@_since
@_input
@options.server_option
@options.output_option
def test(paths: tuple[str, ...], alone: bool, since: str, file: str, server: Server, output: str) -> int:
    """What candidate policies would do to the flows that were seen; changes nothing.

    The candidates replace those of the same name among the policies in force. With --input no agent is asked, and
    the candidates stand alone.

    Exit codes: 0 nothing that passed would be denied, 1 something would.
    """
    from daemon.policy.whatif import what_if

    present = _nothing() if file else _present(server, alone)
    seen = _seen(server, since, file)
    outlook = what_if(seen, _candidate(present, paths))
    click.echo(_json(outlook) if output == "json" else escape(render(outlook)), nl=False)
    return Exit.OK if outlook.harmless else Exit.ERROR


@click.command("suggest")
@click.option("-n", "--namespace", "namespaces", multiple=True, required=True, metavar="NAMESPACE", help="For whom.")
@_since
@_input
@options.server_option
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True, help="Form.")
def suggest(namespaces: tuple[str, ...], since: str, file: str, server: Server, output: str) -> None:
    """Least-privilege NetworkPolicies of a namespace, made from the flows that were seen."""
    from daemon.policy.suggest import suggest as suggested

    seen = _seen(server, since, file)
    if not any(space in namespaces for one in seen for space in (one.source.namespace, one.destination.namespace)):
        raise CliError(f"no flows of {', '.join(namespaces)} were seen; see `remora observe -n {namespaces[0]}`")
    made = suggested(seen, namespaces)
    for one in made.left_out:
        pair = f"{one.source.workload} to {one.destination.workload}"
        click.echo(f"remora: not said by any policy: protocol {one.protocol}, {pair}", err=True)
    click.echo(_manifests(made.policies, output), nl=False)


def render(outlook: Outlook) -> str:
    """What would change, most frequent first."""
    head = f"{outlook.asked:,} records of opened connections were asked\n"
    denied = _table("would be DENIED, and passed", outlook.denied)
    allowed = _table("would be ALLOWED, and were denied", outlook.allowed)
    return head + (denied + allowed or "nothing would change\n")


def _table(title: str, changes: Mapping[Change, int]) -> str:
    if not changes:
        return ""
    rows = [
        [f"{count:,}", one.source, one.destination, _target(one), one.rule.words if one.rule else "-"]
        for one, count in sorted(changes.items(), key=lambda item: (-item[1], item[0][:4]))
    ]
    header = ["RECORDS", "FROM", "TO", "PORT", "BY"]
    return f"{sum(changes.values()):,} records {title}:\n" + fitted([header, *rows])


def _target(one: Change) -> str:
    from daemon.policy.explain import TRANSPORTS

    return f"{one.port}/{TRANSPORTS[one.protocol]}" if one.protocol in TRANSPORTS else f"protocol {one.protocol}"


def _json(outlook: Outlook) -> str:
    def told(changes: Mapping[Change, int]) -> list[dict[str, Any]]:
        return [
            {
                "source": one.source,
                "destination": one.destination,
                "protocol": one.protocol,
                "port": one.port,
                "rule": one.rule.words if one.rule else "",
                "records": count,
            }
            for one, count in sorted(changes.items(), key=lambda item: (-item[1], item[0][:4]))
        ]

    value = {"asked": outlook.asked, "denied": told(outlook.denied), "allowed": told(outlook.allowed)}
    return json.dumps(value, ensure_ascii=False) + "\n"


def _manifests(policies: tuple[dict[str, Any], ...], output: str) -> str:
    if output == "json":
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(policies)}, ensure_ascii=False) + "\n"
    import yaml

    return yaml.safe_dump_all(policies, sort_keys=False)


def _seen(server: Server, since: str, file: str) -> Counter[Seen]:
    """What policies would have been asked; raises CliError for a recording that cannot be read."""
    from daemon.policy.recorded import questions, read_lines

    if not file:
        return questions(_stored(server, since))
    try:
        with nullcontext(sys.stdin) if file == "-" else Path(file).open() as lines:
            return questions(flow for flow in read_lines(lines) if _late_enough(flow, since))
    except OSError as error:
        raise CliError(f"open {file}: {(error.strerror or str(error)).lower()}") from error
    except RemoraError as error:
        raise CliError(str(error)) from error


def _late_enough(flow: flow_pb2.Flow, since: str) -> bool:
    return not since or flow.time.ToNanoseconds() >= _moment(since).since.ToNanoseconds()


def _stored(server: Server, since: str) -> Iterator[flow_pb2.Flow]:
    request = _moment(since) if since else observer_pb2.GetFlowsRequest(number=_ALL)
    request.extensions.Pack(pb.FlowOptions(plain=True))
    with connect(server) as client:
        for batch in client.agent.GetFlowBatches(request, timeout=_TIMEOUT):
            yield from (item.response.flow for item in batch.items if item.response.HasField("flow"))


def _moment(since: str) -> observer_pb2.GetFlowsRequest:
    try:
        return observer_pb2.GetFlowsRequest(since=times.parse(since))
    except ValueError as error:
        raise UsageError(f"failed to parse the since time: {error}") from error


def _nothing() -> Snapshot:
    from daemon.model.snapshot import Snapshot

    return Snapshot()


def _present(server: Server, alone: bool) -> Snapshot:
    """Namespaces, and unless the candidates stand alone the policies in force, as an agent tells them."""
    from daemon.model.objects import Namespace, ObjectMeta

    with connect(server) as client:
        answer = client.agent.ListPolicies(pb.ListPoliciesRequest(), timeout=_TIMEOUT)
    spaces = tuple(Namespace(metadata=ObjectMeta(one.name, "", dict(one.labels))) for one in answer.namespaces)
    present = replace(_nothing(), namespaces=spaces)
    texts = () if alone else [(one.name, one.manifest) for one in answer.policies]
    return _with(present, texts)


def _candidate(present: Snapshot, paths: tuple[str, ...]) -> Snapshot:
    """The policies of files put over those that are there."""
    try:
        texts = [(path, sys.stdin.read() if path == "-" else Path(path).read_text()) for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"cannot read {error}; name a YAML file with -f") from error
    found = _with(present, texts)
    if (found.policies, found.cluster_policies) == (present.policies, present.cluster_policies):
        raise CliError(f"{', '.join(paths)}: no policy in it that is not in force as it is; nothing to test")
    return found


def _with(present: Snapshot, texts: Any) -> Snapshot:
    from daemon.model.objects import Namespace
    from daemon.model.policies import ClusterNetworkPolicy, NetworkPolicy
    from daemon.sources.decode import read_manifest
    from daemon.sources.manifest import ManifestError

    chosen = {one.ref: one for one in (*present.policies, *present.cluster_policies, *present.namespaces)}
    for name, text in texts:
        try:
            chosen.update((one.object.ref, one.object) for one in read_manifest(text).objects)
        except ManifestError as error:
            raise CliError(f"{name}:{error.line}: {error}") from error
    ordered = [chosen[ref] for ref in sorted(chosen)]
    return replace(
        present,
        policies=tuple(one for one in ordered if isinstance(one, NetworkPolicy)),
        cluster_policies=tuple(one for one in ordered if isinstance(one, ClusterNetworkPolicy)),
        namespaces=tuple(one for one in ordered if isinstance(one, Namespace)),
    )
