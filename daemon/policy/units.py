"""The rules that bind one direction of some workloads, and the ruleset that they come to.

All workloads that the same policies select (and that, for ingress, call their ports the same) share a unit. A unit
knows for every class which of its rules mean it; what those rules say together is painted once for each combination,
and there are few. So a class that comes or goes costs a unit a handful of look-ups, and a ruleset is written anew only
where its entries differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from daemon.model.policies import RuleAction
from daemon.policy.encode import encode
from daemon.policy.lens import ClassKey, NamedPort
from daemon.policy.parsed import Everyone, Layer, ParsedPolicy, ParsedRule, Peer
from daemon.policy.table import ANY_CLASS, Action, Direction, Entry
from daemon.policy.verdicts import Function, Span, Verdict, combine, constant, paint, plane_of

MAJORITY = 64  # classes that an entry for every class has to save before it says something else than the world's

Ports = tuple[NamedPort, ...]
Matched = tuple[int, ...]  # places of rules in the unit, in order of precedence
Sign = tuple[Matched, Ports]  # what the verdicts for a class follow from


class UnitKey(NamedTuple):
    """What makes two workloads share a unit: the policies (by identity) and, for ingress, their own named ports."""

    direction: Direction
    policies: tuple[ParsedPolicy, ...]
    ports: Ports = ()


class BoundRule(NamedTuple):
    """A rule among others: its layer, whether it only is audited, and its number."""

    layer: Layer
    audit: bool
    number: int
    rule: ParsedRule


class Content(NamedTuple):
    """A ruleset without its number."""

    entries: tuple[Entry, ...]
    default: Action
    default_rule: int
    default_audit: bool


class Defaults(NamedTuple):
    """Numbers of what stands for no rule: nothing restricts; policies in force isolate; audited ones, too."""

    open: int
    isolated: int  # 0: not isolated by policies in force
    audited: int  # 0: not isolated even if the audited policies were in force


class Unit:
    """One unit. `content` is what it came to when last asked."""

    def __init__(self, key: UnitKey, rules: Sequence[BoundRule], defaults: Defaults) -> None:
        self.key = key
        self.rules = rules
        self.peers = frozenset(peer for bound in rules for peer in bound.rule.peers) - {Everyone()}
        self.users = 0
        self.ruleset = 0
        self.crowded = False  # the entries for every class are not the world's
        self._defaults = defaults
        self._base = tuple(place for place, bound in enumerate(rules) if Everyone() in bound.rule.peers)
        self._signs: dict[int, Sign] = {}
        self._population: Counter[Sign] = Counter()
        self._functions: dict[Sign, Function] = {}
        self._resolves = key.direction is Direction.EGRESS and any(
            port.name for bound in rules for port in bound.rule.ports or ()
        )
        self.curious = self._resolves and any(
            port.name for place in self._base for port in rules[place].rule.ports or ()
        )  # every pod may matter: a rule for everyone asks for a named port
        self._audits = defaults.audited != defaults.isolated or any(bound.audit for bound in rules)

    def place(self, numbers: Iterable[int], keys: Mapping[int, ClassKey], members: Mapping[Peer, set[int]]) -> None:
        """See which rules mean these classes."""
        for number in numbers:
            matched = tuple(place for place, bound in enumerate(self.rules) if _means(bound.rule, number, members))
            pod = keys[number].pod
            sign = matched, pod.ports if pod and self._resolves else ()
            if sign != (self._base, ()):
                self._signs[number] = sign
                self._population[sign] += 1

    def forget(self, numbers: Iterable[int]) -> bool:
        """Classes that are gone; whether one of them had something of its own here."""
        gone = [self._signs.pop(number) for number in numbers if number in self._signs]
        self._population.subtract(gone)
        return bool(gone)

    def content(self, classes: Collection[int]) -> Content:
        """The ruleset for these classes (all that there are)."""
        base: Sign = (self._base, ())
        common, crowd = max(self._population.items(), key=_size, default=(base, 0))
        self.crowded = crowd > len(classes) - len(self._signs) + MAJORITY
        usual = self._function(common if self.crowded else base)
        default = self._function(((), ()))[-1][0][1]
        entries = [Entry(ANY_CLASS, *written[:3], *written[3]) for written in encode(usual, constant(default))]
        for number in sorted(classes if self.crowded else self._signs):
            own = self._function(self._signs.get(number, base))
            if own != usual:
                entries += [Entry(number, *written[:3], *written[3]) for written in encode(own, usual)]
        return Content(tuple(entries), *default)

    def _function(self, sign: Sign) -> Function:
        found = self._functions.get(sign)
        if found is None:
            matched, ports = sign
            bound = [self.rules[place] for place in matched]
            ports = self.key.ports if self.key.direction is Direction.INGRESS else ports
            enforced = _layered([one for one in bound if not one.audit], ports, self._defaults, self._defaults.isolated)
            wanted = _layered(bound, ports, self._defaults, self._defaults.audited) if self._audits else enforced
            found = self._functions[sign] = combine(enforced, wanted)
        return found


def _means(rule: ParsedRule, number: int, members: Mapping[Peer, set[int]]) -> bool:
    return any(isinstance(peer, Everyone) or number in members[peer] for peer in rule.peers)


def _size(item: tuple[Sign, int]) -> tuple[int, Sign]:
    return item[1], item[0]


def _layered(rules: Sequence[BoundRule], ports: Ports, defaults: Defaults, isolated: int) -> Function:
    """What rules say together; they are in order of precedence, so the last is painted first."""
    open_ = constant(Verdict(Action.ALLOW, defaults.open))
    function = open_
    for layer in (Layer.BASELINE, Layer.NETWORK, Layer.ADMIN):
        if layer is Layer.NETWORK and isolated:
            function = constant(Verdict(Action.DENY, isolated))
        passed = function
        for bound in reversed(rules):
            if bound.layer is layer:
                function = paint(function, spans_of(bound.rule, ports), _source(bound, passed))
    return function


def _source(bound: BoundRule, passed: Function) -> Function:
    """What a rule shows where it matches."""
    match bound.rule.action:
        case RuleAction.PASS:
            return passed
        case RuleAction.DENY:
            return constant(Verdict(Action.DENY, bound.number))
        case RuleAction.ACCEPT:
            return constant(Verdict(Action.ALLOW, bound.number))


def spans_of(rule: ParsedRule, named: Ports) -> list[Span] | None:
    """The stretches of ports that a rule matches, None for all traffic; a name that nobody has matches nothing."""
    if rule.ports is None:
        return None
    spans: list[Span] = []
    for port in rule.ports:
        if not port.name:
            spans.append((plane_of(port.protocol), port.low, port.high))
            continue
        found = [one for one in named if one.name == port.name and port.protocol in (0, one.protocol)]
        spans += [(plane_of(one.protocol), one.number, one.number) for one in found]
    return spans
