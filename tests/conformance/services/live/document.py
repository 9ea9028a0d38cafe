"""The published table: every case with what is checked, its class and its result. Written by a run, never by hand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.conformance.services.live.catalogue import CASES, NOT_RUN
from tests.conformance.services.live.pending import PENDING
from tests.support.conformance import Result

DOCUMENT = Path(__file__).parents[4] / "docs" / "service-conformance.md"

_HEAD = """\
# Service conformance

What remora does where Kubernetes' own end-to-end suites say what a service proxy must do. The cases are theirs, the
tests are ours: three nodes in network namespaces on one kernel, each with an agent, a cgroup and a bpffs folder of its
own, a router between them, clients outside. Objects are manifests written by hand, so what controllers and kubelet
would do is not part of it. Timeouts that are only patience are shorter here.

This file is written by `sudo make conformance`; a run of some cases alone (`ARGS='-k hairpin'`) renews their rows. A
test holds its list of cases against the tests that exist.

Classes: N network namespaces; N+C with slices that a controller would write; 2N, 3N several nodes; LB a load balancer
(here a router that has ways to the nodes); A the API alone; n/a not applicable. A name with `IPv6` belongs to the
suites' dual-stack group. Clients: ann, bea, cleo and those beside them are pods; vic and val are pods that no socket
program sees, like virtual machines; one, two and three are the nodes; the customer is outside.
"""
_DEPARTURES = """
## Departures from kube-proxy

- A pod or node that connects to a Service is translated at the socket, so nothing needs its address to be hidden on
  the way back: where kube-proxy masquerades a pod's connection to a node port or a balancer's address, the endpoint
  sees the pod itself. What comes from outside is masqueraded as kube-proxy does it.
- The table of clients, addresses and policies exists for four configurations of kube-proxy (with and without a detector
  of local traffic, with and without masquerade-all). remora always knows what is local and has no such switches; the
  live table is the one with a detector. All 108 cells are in `tests/conformance/services/test_matrix.py`.
- An endpoint that terminates and still serves keeps the UDP flows of connected sockets and of clients outside, as with
  kube-proxy. A socket that names the frontend with each datagram, and a pod without socket programs, go to an endpoint
  that is ready at once: no answer is lost by that, since the one that drains still answers what it was asked.
- SCTP: its checksum covers the ports and is left to devices, so addresses are translated and ports are not. A Service
  serves pods by its ClusterIP, and clients outside by the addresses of balancers and external IPs, where `port` and
  `targetPort` are equal; elsewhere, and so by node ports, it refuses. Of clients from outside with one source port and
  one backend the first is served. The node's own SCTP is not translated.
"""


def page(results: Mapping[str, Result]) -> str:
    """The whole document."""
    return "\n".join([_HEAD, _counts(results), *_sections(results), _not_run(), _DEPARTURES])


def renew(results: Mapping[str, Result]) -> None:
    """Write the document; of a case that was not run, the row of the run before stays."""
    before = documented() if DOCUMENT.exists() else {}
    kept = {name: before.get(name, result) for name, result in results.items() if result is Result.NOT_RUN}
    DOCUMENT.write_text(page({**before, **results, **kept}))


def documented() -> dict[str, Result]:
    """The cases that the document lists, with their results."""
    rows = re.findall(r"^\| `([^`]+)` \|.*\| ([^|:]+)[^|]*\|$", DOCUMENT.read_text(), re.MULTILINE)
    return {name: Result(word.strip()) for name, word in rows}


def _counts(results: Mapping[str, Result]) -> str:
    tally = Counter(results.values())
    words = ", ".join(f"{tally[result]} {result.value}" for result in Result if tally[result])
    return f"{len(results)} tests of {len(CASES)} cases: {words}.\n"


def _sections(results: Mapping[str, Result]) -> Iterator[str]:
    for section in dict.fromkeys(case.section for case in CASES.values()):
        rows = [row for row in sorted(results) if CASES[row.partition("/")[0]].section == section]
        yield f"## {section.capitalize()}\n\n| case | class | what is checked | result |\n|---|---|---|---|"
        order = {name: index for index, name in enumerate(CASES)}
        rows.sort(key=lambda row: order[row.partition("/")[0]])
        yield "\n".join(_row(row, results[row]) for row in rows) + "\n"


def _row(name: str, result: Result) -> str:
    case = CASES[name.partition("/")[0]]
    reason = PENDING.get(name) or PENDING.get(case.name)
    told = f"pending: {reason}" if result is Result.PENDING else result.value
    return f"| `{name}` | {case.kind} | {case.checks} | {told} |"


def _not_run() -> str:
    head = "## Cases that are not run\n\n| section | class | case | why |\n|---|---|---|---|"
    rows = [f"| {left.section} | {left.kind} | {left.checks} | {left.reason} |" for left in NOT_RUN]
    return "\n".join([head, *rows])
