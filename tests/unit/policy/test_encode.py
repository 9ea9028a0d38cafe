"""Entries say what the function says, after the longest prefix, and there are few of them."""

from __future__ import annotations

from random import Random

import pytest

from daemon.policy.encode import Written, encode
from daemon.policy.table import Action
from daemon.policy.verdicts import PROTOCOLS, Function, Verdict, at, combine, constant, paint

VERDICTS = (Verdict(Action.ALLOW, 1), Verdict(Action.ALLOW, 2), Verdict(Action.DENY, 3))
OPEN, _, SHUT = map(constant, VERDICTS)
EDGES = (0, 1, 79, 80, 81, 1023, 1024, 32_767, 32_768, 65_534, 65_535)


def looked_up(entries: tuple[Written, ...], protocol: int, port: int) -> Verdict | None:
    """The longest prefix that matches; None for a miss."""
    found = [
        (bits if written else -1, verdict)
        for written, low, bits, verdict in entries
        if not written or (written == protocol and port >> (16 - bits) == low >> (16 - bits))
    ]
    return max(found, key=lambda one: one[0])[1] if found else None


def random_function(random: Random) -> Function:
    function = constant(random.choice(VERDICTS))
    for _ in range(random.randrange(4)):
        spans = [(plane, *sorted(random.choices(EDGES, k=2))) for plane in range(3) if random.random() < 0.6]
        source = constant(random.choice(VERDICTS))
        function = paint(function, None if random.random() < 0.1 else spans, source)  # type: ignore[arg-type]
    return function


@pytest.mark.parametrize("seed", range(300))
def test_entries_and_misses_together_say_the_function(seed: int) -> None:
    random = Random(seed)
    function, missed = random_function(random), random_function(random)
    entries = encode(function, missed)
    assert len({written[:3] for written in entries}) == len(entries)
    for protocol in (*PROTOCOLS, 1):
        for port in EDGES if protocol in PROTOCOLS else (0,):
            assert (looked_up(entries, protocol, port) or at(missed, protocol, port)) == at(function, protocol, port)


def test_what_a_miss_says_needs_no_entry() -> None:
    assert encode(OPEN, OPEN) == ()
    (everything,) = encode(SHUT, OPEN)
    assert everything[:3] == (0, 0, 0)


def test_an_exception_is_one_more_entry() -> None:
    function = paint(SHUT, [(0, 22, 22)], OPEN)
    assert sorted(written[:3] for written in encode(function, OPEN)) == [(0, 0, 0), (6, 22, 16)]


def test_a_range_takes_no_more_than_thirty_prefixes() -> None:
    assert len(encode(paint(SHUT, [(0, 1, 65_534)], OPEN), SHUT)) <= 30


def test_all_of_one_protocol_is_one_entry() -> None:
    ((protocol, low, bits, _),) = encode(paint(SHUT, [(1, 0, 65_535)], OPEN), SHUT)
    assert (protocol, low, bits) == (17, 0, 0)


def test_only_what_passes_and_would_not_is_marked() -> None:
    wanted = paint(OPEN, [(0, 80, 90)], SHUT)
    marked = combine(paint(OPEN, [(0, 85, 100)], SHUT), wanted)
    assert [(at(marked, 6, port).action, at(marked, 6, port).audit) for port in (79, 80, 85, 95)] == [
        (Action.ALLOW, False),
        (Action.DENY, True),
        (Action.DENY, False),
        (Action.DENY, False),
    ]
