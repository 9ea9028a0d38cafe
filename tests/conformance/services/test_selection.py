"""Which endpoints are usable: the cases that kube-proxy's own rule is known by, as a table."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from daemon.model.objects import Endpoint, EndpointConditions, EndpointHints, ForNode, ForZone
from daemon.model.workload import Node
from daemon.services.selection import Candidate, Policy, Selection, select

CLUSTER, LOCAL, BOTH = Policy(), Policy(False, True), Policy(True, True)
HERE = Node("here", "zone-a")


def endpoint(name: str) -> Candidate:
    """An endpoint told in a word: number, then marks.

    L on this node; u not ready; t terminating and not ready but serving; x terminating and not serving; a, b hints for
    zone-a, zone-b; h, o hints for this node, for another.
    """
    marks = name.lstrip("0123456789")
    gone = "t" in marks or "x" in marks
    conditions = EndpointConditions(
        ready=False if gone or "u" in marks else None,
        serving=False if "x" in marks or "u" in marks else None,
        terminating=gone or None,
    )
    hints = EndpointHints(
        tuple(ForZone(f"zone-{mark}") for mark in "ab" if mark in marks),
        tuple(ForNode(node) for mark, node in (("h", "here"), ("o", "there")) if mark in marks),
    )
    node = "here" if "L" in marks else "there"
    return Candidate(name.encode(), Endpoint((f"10.0.0.{name[0]}",), conditions, hints, node))


@dataclass(frozen=True)
class Case:
    name: str
    policy: Policy
    endpoints: str
    cluster: str = ""
    local: str = ""
    reachable: str | None = None  # None: the set that the policy uses
    anywhere: bool = True
    node: Node = HERE


CASES = [
    Case("all ready endpoints are used", CLUSTER, "1L 2 3", "1L 2 3"),
    Case("no endpoints at all", CLUSTER, "", anywhere=False),
    Case("endpoints that are not ready are not used", CLUSTER, "1 2u", "1"),
    Case("only endpoints that are not ready", CLUSTER, "1u 2Lu", anywhere=False),
    Case("zone hints thin out", CLUSTER, "1a 2b 3a", "1a 3a"),
    Case("an endpoint with hints for both zones serves both", CLUSTER, "1ab 2b", "1ab"),
    Case("no endpoint is hinted for the zone", CLUSTER, "1b 2b", "1b 2b"),
    Case("one endpoint without hints switches hints off", CLUSTER, "1a 2b 3", "1a 2b 3"),
    Case("an endpoint that is not ready needs no hints", CLUSTER, "1a 2b 3u", "1a"),
    Case("a node without a zone ignores zone hints", CLUSTER, "1a 2b", "1a 2b", node=Node("here")),
    Case("a node in a third zone ignores zone hints", CLUSTER, "1a 2b", "1a 2b", node=Node("here", "zone-c")),
    Case("node hints win over zone hints", CLUSTER, "1ah 2ao 3ao", "1ah"),
    Case("zone hints are used where no node hint names this node", CLUSTER, "1ao 2bo", "1ao"),
    Case("node hints on some endpoints only are ignored", CLUSTER, "1ah 2a", "1ah 2a"),
    Case("node hints alone, none for this node", CLUSTER, "1o 2o", "1o 2o"),
    Case("half with node hints, half with zone hints", CLUSTER, "1h 2a", "1h 2a"),
    Case("terminating ones are used when nothing is ready", CLUSTER, "1t 2Lt 3x", "1t 2Lt"),
    Case("terminating ones are not used beside a ready one", CLUSTER, "1 2t", "1"),
    Case("terminating ones ignore hints", CLUSTER, "1bt 2at", "1bt 2at"),
    Case("terminating ones that fail readiness are never used", CLUSTER, "1x 2x", anywhere=False),
    Case("hints do not fall back to terminating ones of the zone", CLUSTER, "1b 2at", "1b"),
    Case("local only", LOCAL, "1L 2 3L", local="1L 3L"),
    Case("local ignores hints", LOCAL, "1Lb 2a", local="1Lb"),
    Case("local has none, but another node has", LOCAL, "1 2", anywhere=True),
    Case("local has none, another node's terminate", LOCAL, "1t", anywhere=True),
    Case("local has none and nobody has", LOCAL, "1u 2x", anywhere=False),
    Case("local falls back to terminating on its own", LOCAL, "1Lt 2", local="1Lt"),
    Case("local prefers ready over terminating", LOCAL, "1Lt 2L 3", local="2L"),
    Case("local does not use what fails readiness", LOCAL, "1Lx 2", local="", anywhere=True),
    Case("both: local is a part of cluster", BOTH, "1L 2", "1L 2", "1L", "1L 2"),
    Case("both: hints thin out cluster only, and are merged", BOTH, "1Lb 2a 3b", "2a", "1Lb", "1Lb 2a"),
    Case("both: local falls back, cluster does not", BOTH, "1Lt 2", "2", "1Lt", "1Lt 2"),
    Case("both: everything terminates, elsewhere", BOTH, "1t 2t", "1t 2t", "", "1t 2t"),
    Case("both: everything terminates, here too", BOTH, "1Lt 2t", "1Lt 2t", "1Lt", "1Lt 2t"),
    Case("both: nothing usable", BOTH, "1u 2x", "", "", "", anywhere=False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_usable_endpoints(case: Case) -> None:
    found = select([endpoint(name) for name in case.endpoints.split()], case.policy, case.node)
    reachable = case.reachable if case.reachable is not None else case.cluster or case.local
    assert names(found) == (case.cluster, case.local, reachable)
    assert found.anywhere is case.anywhere


def names(found: Selection) -> tuple[str, ...]:
    sets = (found.cluster, found.local, found.reachable)
    return tuple(" ".join(candidate.record.decode() for candidate in chosen) for chosen in sets)
