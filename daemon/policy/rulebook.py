"""Numbers for rules and for rulesets, and the words for rules.

A rule keeps its number as long as it says the same, a ruleset as long as its content is the same, and no number ever
comes to mean something else: flows, counters and connections in the kernel carry them. What binds nobody any more is
kept for a while, because flows are told after the fact and because pods come back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from daemon.model.objects import ObjectRef
from daemon.policy.classes import Numbers
from daemon.policy.parsed import PORT_MAX, Everyone, Layer, ParsedPolicy, ParsedRule
from daemon.policy.table import Direction, Match, Rule, Ruleset
from daemon.policy.units import Content

IDLE_MAX = 16_384  # rules that bind nobody and still have their number

RuleKey = tuple[Rule, ParsedRule | None]
K = TypeVar("K")


class _Book(Generic[K]):
    """Numbers by content, counted by use."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._by_content: dict[K, int] = {}
        self._uses: Counter[int] = Counter()
        self._contents: dict[int, K] = {}

    def take(self, content: K) -> int:
        number = self._by_content.get(content)
        if number is None:
            number = self._by_content[content] = self._numbers.take()
            self._contents[number] = content
        self._uses[number] += 1
        return number

    def drop(self, number: int) -> bool:
        """One use less; whether that was the last."""
        self._uses[number] -= 1
        if self._uses[number]:
            return False
        del self._uses[number]
        return True

    def forget(self, number: int) -> None:
        del self._by_content[self._contents.pop(number)]


class RuleBook:
    """Rules by number: those in use, and those of late."""

    def __init__(self, numbers: Numbers) -> None:
        self._book: _Book[RuleKey] = _Book(numbers)
        self._used: dict[int, Rule] = {}
        self._idle: dict[int, Rule] = {}
        self._told: tuple[Mapping[int, Rule], Mapping[int, Rule]] | None = None

    def take(self, rule: Rule, content: ParsedRule | None = None) -> int:
        """The number of a rule, counted once more."""
        number = self._book.take((rule, content))
        if number not in self._used:
            self._told = None
            self._used[number] = rule
            self._idle.pop(number, None)
        return number

    def drop(self, numbers: Iterable[int]) -> None:
        """Count rules once less."""
        for number in numbers:
            if self._book.drop(number):
                self._told = None
                self._idle[number] = self._used.pop(number)
        for number in list(self._idle)[: max(0, len(self._idle) - IDLE_MAX)]:
            self._book.forget(number)
            del self._idle[number]

    def told(self) -> tuple[Mapping[int, Rule], Mapping[int, Rule]]:
        """The rules in use, and the idle ones; the same objects until something changes."""
        if self._told is None:
            self._told = dict(self._used), dict(self._idle)
        return self._told


class RulesetBook:
    """Rulesets by number, all in use."""

    def __init__(self, numbers: Numbers) -> None:
        self._book: _Book[Content] = _Book(numbers)
        self._rulesets: dict[int, Ruleset] = {}
        self._told: Mapping[int, Ruleset] | None = {}

    def take(self, content: Content) -> int:
        number = self._book.take(content)
        if number not in self._rulesets:
            self._told = None
            self._rulesets[number] = Ruleset(number, *content)
        return number

    def drop(self, number: int) -> None:
        if self._book.drop(number):
            self._told = None
            self._book.forget(number)
            del self._rulesets[number]

    def told(self) -> Mapping[int, Ruleset]:
        """All rulesets; the same object until something changes."""
        if self._told is None:
            self._told = dict(self._rulesets)
        return self._told


def words(policy: ParsedPolicy, direction: Direction, rule: ParsedRule) -> Rule:
    """The words for one rule."""
    action = "Allow" if policy.layer is Layer.NETWORK else rule.action.value
    return Rule((policy.ref,), direction, rule.place, rule.name, action, _match(rule))


def _match(rule: ParsedRule) -> Match:
    """What the rule looks at: peers, ports, or protocols without a port."""
    anyone = any(isinstance(peer, Everyone) for peer in rule.peers)
    if rule.ports is None:
        return Match.ALL if anyone else Match.L3_ONLY
    if all((port.low, port.high, port.name) == (0, PORT_MAX, "") for port in rule.ports):
        return Match.PROTO_ONLY if anyone else Match.L3_PROTO
    return Match.L4_ONLY if anyone else Match.L3_L4


def isolation(policies: Sequence[ParsedPolicy], direction: Direction, audited: bool) -> Rule | None:
    """What stands for "isolated by these": those in force, or the audited ones, too; None where none isolates."""
    found: tuple[ObjectRef, ...] = tuple(
        policy.ref for policy in policies if direction in policy.isolates and (audited or not policy.audit)
    )
    return Rule(found, direction) if found else None
