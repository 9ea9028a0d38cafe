"""`remora policy`: what is in force, what it says of a connection, what nobody needs, and what a change would do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import click

from daemon.cli import jsonpb, options
from daemon.cli.client import connect
from daemon.cli.errors import CliError, Exit, UsageError
from daemon.cli.flowtext import escape
from daemon.cli.server import Server
from daemon.cli.tables import columns, fitted
from daemon.cli.whatif import suggest, test
from daemon.proto import remora_pb2 as pb

_WIDTH = 100
_PROTOCOLS = ("TCP", "UDP", "SCTP", "ICMP")
_TIMEOUT = 30.0  # s; the thread that programs may be at work


@click.command("list")
@options.server_option
@options.output_option
def list_(server: Server, output: str) -> None:
    """Policies in force, with the workloads that they bind here and the packets that their rules decided."""
    answer = _asked(server)
    click.echo(jsonpb.line(answer) + "\n" if output == "json" else escape(listing(answer.policies)), nl=False)


@click.command("get")
@click.argument("name")
@click.option("-n", "--namespace", default="", metavar="NAMESPACE", help="Namespace; default: wherever NAME is.")
@options.server_option
@options.output_option
def get(name: str, namespace: str, server: Server, output: str) -> None:
    """One policy: whom it selects here, its rules and their hits, whether it is only audited."""
    space, slash, own = name.rpartition("/")
    if slash and namespace:
        raise UsageError(f"the namespace is given twice: {name} and --namespace {namespace}")
    space = space or namespace
    found = [one for one in _asked(server).policies if one.name == own and (not space or one.namespace == space)]
    if not found:
        where = f" in namespace {space}" if space else ""
        raise CliError(f"no policy {own}{where}; `remora policy list` names them")
    if output == "json":
        click.echo(jsonpb.line(pb.ListPoliciesResponse(policies=found)))
    else:
        click.echo(escape("\n".join(map(detail, found))), nl=False)


@click.command("explain")
@click.option("--from", "source", required=True, metavar="PARTY", help="Workload, its owner, an address, or world.")
@click.option("--to", "destination", required=True, metavar="PARTY", help="The same, for who is asked.")
@click.option("--port", "place", required=True, metavar="PORT/PROTO", help="5432/TCP; or ICMP, which has no port.")
@click.option("--live", is_flag=True, help="Ask the kernel's maps, too, and say if they differ.")
@options.server_option
@options.output_option
def explain(source: str, destination: str, place: str, live: bool, server: Server, output: str) -> int:
    """What policies say of a connection: at both ends, by which rule, and what came nearest to allow it.

    Exit codes: 0 answered, 1 the kernel says something else than the policies (--live).
    """
    port, protocol = target(place)
    request = pb.ExplainPolicyRequest(source=source, destination=destination, port=port, protocol=protocol, live=live)
    with connect(server) as client:
        answer = client.agent.ExplainPolicy(request, timeout=_TIMEOUT)
    words = f"{source} to {destination}, {place}"
    click.echo(jsonpb.line(answer) + "\n" if output == "json" else escape(explanation(answer, words)), nl=False)
    return Exit.ERROR if answer.differs else Exit.OK


@click.command("coverage")
@options.server_option
@options.output_option
def coverage(server: Server, output: str) -> None:
    """What policies leave open and what nobody needs: workloads that nothing isolates, rules that nothing hit."""
    answer = _asked(server)
    if output == "json":
        click.echo(jsonpb.line(pb.ListPoliciesResponse(policies=unused(answer), workloads=open_workloads(answer))))
    else:
        click.echo(escape(covered(answer)), nl=False)


def target(place: str) -> tuple[int, str]:
    """`PORT/PROTO`, `PORT` (of TCP) or `ICMP`; raises UsageError."""
    port, _, protocol = place.partition("/")
    if not port.isdecimal():
        port, protocol = "0", place
    protocol = (protocol or "TCP").upper()
    known = protocol in _PROTOCOLS or protocol == "ICMPV6"
    if not known or int(port) > 65535 or (protocol in _PROTOCOLS[:3] and not int(port)):
        raise UsageError(f"{place!r} is not PORT/PROTO; for example 5432/TCP, 53/UDP or ICMP")
    return int(port), protocol


def listing(policies: Sequence[pb.NetworkPolicy]) -> str:
    """One line a policy."""
    header = ["POLICY", "TIER", "ISOLATES", "RULES", "WORKLOADS HERE", "HITS", "DENIED BY DEFAULT", "MODE"]
    rows = [
        [
            _name(one),
            f"{one.tier} {one.priority}" if one.tier else "-",
            ",".join(one.isolates) or "-",
            str(len(one.rules)),
            str(len(one.workloads)),
            f"{sum(rule.hits for rule in one.rules):,}",
            f"{one.default_denials:,}",
            "audit" if one.audit else "enforced",
        ]
        for one in policies
    ]
    return fitted([header, *rows]) if rows else "no policies\n"


def detail(one: pb.NetworkPolicy) -> str:
    """A policy as text."""
    facts = [
        ["Kind", f"{one.kind}, {one.tier} tier, priority {one.priority}" if one.tier else one.kind],
        ["Mode", "audit: counted and told, never enforced" if one.audit else "enforced"],
        ["Isolates", ", ".join(one.isolates) or "nothing"],
        ["Denied by default", f"{one.default_denials:,} packets" if one.isolates else "-"],
    ]
    lines = [f"{_name(one)}\n", *_indented(columns(facts))]
    lines += _wrapped("workloads here: ", ", ".join(one.workloads) or "none")
    rows = [["RULE", "ACTION", "HITS", "PORTS", "PEERS"], *(_rule(rule) for rule in one.rules)]
    return "".join([*lines, *(_indented(fitted(rows, _WIDTH - 2)) if one.rules else ["  no rules\n"])])


def _rule(rule: pb.PolicyRule) -> list[str]:
    name = f"{rule.direction} {rule.number}{f' {rule.name}' if rule.name else ''}"
    return [name, rule.action, f"{rule.hits:,}", ", ".join(rule.ports) or "all", "; ".join(rule.peers) or "nobody"]


def explanation(answer: pb.ExplainPolicyResponse, question: str) -> str:
    """An explanation as text: the answer, then both ends."""
    lines = [f"{question}: {'allowed' if answer.passes else 'denied'}\n"]
    for side in answer.sides:
        lines += _wrapped("  ", f"{side.party} ({side.address}) {side.words}")
        for miss in (one for one in side.misses if one not in side.words):
            lines += _wrapped("    near: ", miss)
        if side.live:
            lines += _wrapped("    kernel: ", side.live)
    for note in answer.notes:
        lines += _wrapped("note: ", note)
    if answer.differs:
        lines += _wrapped("", "THE KERNEL DIFFERS from the policies; look at the warnings of `remora status`")
    return "".join(lines)


def open_workloads(answer: pb.ListPoliciesResponse) -> list[pb.PolicyWorkload]:
    """Workloads that nothing isolates in one direction or both."""
    return [one for one in answer.workloads if not (one.ingress and one.egress)]


def unused(answer: pb.ListPoliciesResponse) -> list[pb.NetworkPolicy]:
    """Policies that bind nobody here, and those with rules that nothing hit, with these rules alone."""
    found = []
    for one in answer.policies:
        idle = [rule for rule in one.rules if not rule.hits]
        if idle or not one.workloads:
            made = pb.NetworkPolicy(kind=one.kind, namespace=one.namespace, name=one.name, workloads=one.workloads)
            made.rules.extend(idle)
            found.append(made)
    return found


def covered(answer: pb.ListPoliciesResponse) -> str:
    """Coverage as text."""
    left = open_workloads(answer)
    lines = [f"{len(answer.workloads) - len(left)} of {len(answer.workloads)} workloads here are isolated both ways\n"]
    rows = [[f"{one.namespace}/{one.name}", _state(one.ingress), _state(one.egress)] for one in left]
    lines += _indented(fitted([["NOT ISOLATED", "INGRESS", "EGRESS"], *rows])) if rows else []
    idle = [(one, rule) for one in unused(answer) for rule in one.rules]
    lines.append(f"{len(idle)} rules decided nothing since the agent started\n")
    told = [[_name(one), f"{rule.direction} {rule.number}", "; ".join(rule.peers)] for one, rule in idle]
    lines += _indented(fitted([["RULE OF", "RULE", "PEERS"], *told], _WIDTH - 2)) if told else []
    absent = [_name(one) for one in answer.policies if not one.workloads]
    lines += _wrapped("bind nobody on this node: ", ", ".join(absent)) if absent else []
    return "".join(lines)


def _state(isolating: Sequence[str]) -> str:
    return "isolated" if isolating else "open"


def _asked(server: Server) -> pb.ListPoliciesResponse:
    with connect(server) as client:
        answer: pb.ListPoliciesResponse = client.agent.ListPolicies(pb.ListPoliciesRequest(), timeout=_TIMEOUT)
    return answer


def _name(one: pb.NetworkPolicy) -> str:
    return f"{one.namespace}/{one.name}" if one.namespace else one.name


def _indented(text: str) -> Iterable[str]:
    return [f"  {line}\n" for line in text.splitlines()]


def _wrapped(head: str, text: str) -> list[str]:
    indent = " " * (len(head) if head.isspace() else len(head) - len(head.lstrip()) + 2)
    return [f"{line}\n" for line in textwrap.wrap(head + text, _WIDTH, subsequent_indent=indent)]


COMMANDS: Mapping[str, click.Command] = {
    "policy": click.Group(
        "policy",
        help="Network policies: what is in force, why, and what a change would do.",
        commands=[list_, get, explain, coverage, test, suggest],
    )
}
