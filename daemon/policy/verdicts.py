"""What holds for one peer, for every protocol and port: a function, painted rule by rule and then put into entries.

A function has four planes, for TCP, UDP, SCTP and everything else; a plane is runs of ports with one verdict each. To
paint from the lowest precedence up to the highest is all that precedence takes. What comes out covers every packet
exactly once, so the entries made from it need no tie-breaking.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from daemon.policy.parsed import PORT_MAX
from daemon.policy.table import Action

PROTOCOLS = (6, 17, 132)  # TCP, UDP, SCTP: those that have ports here, in the order of the planes
OTHER = len(PROTOCOLS)


class Verdict(NamedTuple):
    """What a packet gets and the number of the rule that says so; an audited denial passes."""

    action: Action
    rule: int
    audit: bool = False

    @property
    def passes(self) -> bool:
        return self.action is Action.ALLOW or self.audit


Run = tuple[int, Verdict]  # from this port on, up to the next run
Plane = tuple[Run, ...]
Function = tuple[Plane, Plane, Plane, Plane]
Span = tuple[int, int, int]  # plane, first and last port


def constant(verdict: Verdict) -> Function:
    """One verdict for everything."""
    plane = ((0, verdict),)
    return (plane, plane, plane, plane)


def plane_of(protocol: int) -> int:
    """The plane of an IP protocol."""
    return PROTOCOLS.index(protocol) if protocol in PROTOCOLS else OTHER


def at(function: Function, protocol: int, port: int) -> Verdict:
    """The verdict for a packet."""
    plane = function[plane_of(protocol)]
    return plane[bisect_right(plane, port, key=_start) - 1][1]


def paint(below: Function, spans: Iterable[Span] | None, source: Function) -> Function:
    """`below`, where the spans (None: all there is) show what `source` says."""
    if spans is None:
        return source
    planes = list(below)
    for plane, low, high in spans:
        before = cut(planes[plane], 0, low - 1)
        planes[plane] = _joined((*before, *cut(source[plane], low, high), *cut(planes[plane], high + 1, PORT_MAX)))
    return (planes[0], planes[1], planes[2], planes[3])


def combine(enforced: Function, wanted: Function) -> Function:
    """What is enforced, with a mark where it passes what would be denied if every audited policy were in force."""
    if enforced == wanted:
        return enforced
    planes = [
        _joined(tuple((start, _marked(ours, theirs)) for start, ours, theirs in _side_by_side(*pair)))
        for pair in zip(enforced, wanted, strict=True)
    ]
    return (planes[0], planes[1], planes[2], planes[3])


def cut(plane: Plane, low: int, high: int) -> Plane:
    """The runs of a stretch of ports, the first beginning with it."""
    if low > high:
        return ()
    first = bisect_right(plane, low, key=_start) - 1
    last = bisect_right(plane, high, key=_start)
    return ((low, plane[first][1]), *plane[first + 1 : last])


def _start(run: Run) -> int:
    return run[0]


def _joined(runs: Plane) -> Plane:
    """Without runs that go on like the one before."""
    return tuple(run for index, run in enumerate(runs) if not index or runs[index - 1][1] != run[1])


def _marked(enforced: Verdict, wanted: Verdict) -> Verdict:
    denied = enforced.action is Action.ALLOW and wanted.action is Action.DENY
    return wanted._replace(audit=True) if denied else enforced


def _side_by_side(ours: Plane, theirs: Plane) -> Iterator[tuple[int, Verdict, Verdict]]:
    """Stretches in which both planes are constant."""
    for start in sorted({run[0] for run in (*ours, *theirs)}):
        (_, one), (_, other) = cut(ours, start, start)[0], cut(theirs, start, start)[0]
        yield start, one, other
