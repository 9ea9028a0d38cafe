"""Slices change, and what a Service leads to follows: without a gap, and as for a node that starts only then.

A slice is told in a line: `one/a: p11=11 p12=12 @ 1 2L` is slice a of Service one with two ports and the endpoints
10.0.0.1 and, on this node, 10.0.0.2. What follows is told as `one.p11: 1:11 2:11`; all other ports refuse.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.conformance.services.host import REFUSED, Host
from tests.unit.services.build import Object, service, slice_

ADDRESSES = {"one": "10.96.0.1", "two": "10.96.0.2"}
PORTS = {"": 80, "p11": 1100, "p12": 1200, "p13": 1300, "p14": 1400}
SERVICES = [
    service(name, address, *({"name": port, "port": number, "protocol": "UDP"} for port, number in PORTS.items()))
    for name, address in ADDRESSES.items()
]


@dataclass(frozen=True)
class Transition:
    name: str
    before: str
    after: str | None  # None: no change
    leads: str  # afterwards


TRANSITIONS = [
    Transition("one port without a name stays", "one/a: =11 @ 1", None, "one.: 1:11"),
    Transition("a named port of this node's endpoint stays", "one/a: p11=11 @ 1L", None, "one.p11: 1:11"),
    Transition(
        "two slices with a port each stay", "one/a: p11=11 @ 1; one/b: p12=12 @ 2", None, "one.p11: 1:11; one.p12: 2:12"
    ),
    Transition(
        "two slices with several ports and endpoints here and there stay",
        "one/a: p11=11 p12=12 @ 1L; one/b: p13=13 @ 2 3L",
        None,
        "one.p11: 1:11; one.p12: 1:12; one.p13: 2:13 3:13",
    ),
    Transition(
        "two Services with overlapping ports and addresses stay",
        "one/a: p11=11 p12=12 @ 1 2L; one/b: p13=13 p14=14 @ 3 4L; two/a: p11=21 p12=22 @ 1 2L",
        None,
        "one.p11: 1:11 2:11; one.p12: 1:12 2:12; one.p13: 3:13 4:13; one.p14: 3:14 4:14;"
        " two.p11: 1:21 2:21; two.p12: 1:22 2:22",
    ),
    Transition("the first slice comes", "", "one/a: =11 @ 1L", "one.: 1:11"),
    Transition("the last slice goes", "one/a: =11 @ 1L", "", ""),
    Transition(
        "an endpoint and a port come",
        "one/a: p11=11 @ 1",
        "one/a: p11=11 p12=12 @ 1 2L",
        "one.p11: 1:11 2:11; one.p12: 1:12 2:12",
    ),
    Transition("an endpoint and a port go", "one/a: p11=11 p12=12 @ 1 2L", "one/a: p11=11 @ 1", "one.p11: 1:11"),
    Transition(
        "a second slice comes with a port of its own",
        "one/a: p11=11 @ 1",
        "one/a: p11=11 @ 1; one/b: p12=22 @ 2L",
        "one.p11: 1:11; one.p12: 2:22",
    ),
    Transition("the second slice goes", "one/a: p11=11 @ 1; one/b: p12=22 @ 2L", "one/a: p11=11 @ 1", "one.p11: 1:11"),
    Transition("a port gets another name", "one/a: p11=11 @ 1", "one/a: p12=11 @ 1", "one.p12: 1:11"),
    Transition("a port gets another number", "one/a: p11=11 @ 1", "one/a: p11=22 @ 1", "one.p11: 1:22"),
    Transition(
        "much comes and goes in both Services at once",
        "one/a: p11=11 @ 1L 2; one/b: p12=12 @ 3; two/a: p11=21 p12=22 @ 4L",
        "one/a: p11=11 p13=13 @ 2 5L; one/c: p12=12 @ 6; two/b: p14=24 @ 4L",
        "one.p11: 2:11 5:11; one.p13: 2:13 5:13; one.p12: 6:12; two.p14: 4:24",
    ),
    Transition("a slice without endpoints gets its first", "one/a: =11 @", "one/a: =11 @ 1", "one.: 1:11"),
]


def objects(text: str) -> list[Object]:
    """The Services with the slices of a text."""
    return [*SERVICES, *(_slice(line) for line in text.split(";") if line.strip())]


def _slice(line: str) -> Object:
    head, _, tail = line.partition(":")
    owner, _, name = head.strip().partition("/")
    listed, _, names = tail.partition("@")
    ports = [port.partition("=")[::2] for port in listed.split()]
    endpoints = [
        {"addresses": [f"10.0.0.{each.rstrip('L')}"], "nodeName": "here" if each.endswith("L") else "there"}
        for each in names.split()
    ]
    return slice_(
        owner,
        "",
        f"{owner}-{name}",
        ports=[{"name": port, "port": int(number), "protocol": "UDP"} for port, number in ports],
        endpoints=endpoints,
    )


def leads(host: Host) -> dict[str, str]:
    """Where each port leads that leads anywhere; the backends without the network's part."""
    answers = {
        f"{name}.{port}": host.ask(address, number, "UDP")
        for name, address in ADDRESSES.items()
        for port, number in PORTS.items()
    }
    return {port: answer.replace("10.0.0.", "") for port, answer in answers.items() if answer != REFUSED}


@pytest.mark.parametrize("transition", TRANSITIONS, ids=lambda each: each.name)
def test_a_transition(transition: Transition) -> None:
    host, fresh = Host(), Host()
    host.apply(*objects(transition.before))
    changes = host.apply(*objects(transition.before if transition.after is None else transition.after))
    expected = dict(line.strip().split(": ") for line in transition.leads.split(";") if line.strip())
    assert leads(host) == expected
    fresh.apply(*objects(transition.before if transition.after is None else transition.after))
    assert leads(fresh) == expected
    host.collect()
    assert len(host.backends.rows) == len(fresh.backends.rows)
    assert host.reader.broken == []
    assert bool(changes) is (transition.after is not None)
