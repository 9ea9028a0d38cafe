"""Label selectors in Kubernetes' syntax, over labels that carry a source.

`a=b`, `a==b`, `a!=b`, `a in (x,y)`, `a notin (x)`, `a`, `!a`, `a>1`, `a<1`; a comma is AND. A key may name the source
of the label, `k8s:app`; without one, or with `any:`, every source will do. Labels of flows read `source:key=value`.

Syntax: the API's reference of labels and selectors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from daemon.flows.filters.errors import FilterError, quoted
from daemon.proto import flow_pb2

Predicate = Callable[[flow_pb2.Flow], bool]
Labels = Mapping[str, Mapping[str, str]]
"""Values by key, and for each by source."""

_TOKEN = re.compile(r"\s*(?:(?P<op>==|!=|=|!|,|\(|\)|<|>)|(?P<word>[^\s!=,()<>]+))")
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
_OPERATORS = frozenset({"==", "!=", "=", "!", ",", "(", ")", "<", ">"})
_COMPARED = {"=": True, "==": True, "!=": False}


def by_labels(labels: Callable[[flow_pb2.Flow], Sequence[str]], selectors: Iterable[str]) -> Predicate:
    wanted = [_Parser(selector).selector() for selector in selectors]

    def match(flow: flow_pb2.Flow) -> bool:
        present = _parsed(tuple(labels(flow)))
        return any(all(requirement.accepts(present) for requirement in selector) for selector in wanted)

    return match


@dataclass(frozen=True, slots=True)
class Requirement:
    """One part of a selector: whether the key's value is among `values` must be as `positive` says.

    `values` None asks only whether the key is there. `bound` compares numbers: -1 the value must be less than the one
    in `values`, 1 greater.
    """

    source: str
    key: str
    values: frozenset[str] | None
    positive: bool = True
    bound: int = 0

    def accepts(self, labels: Labels) -> bool:
        by_source = labels.get(self.key, {})
        found = by_source.get(self.source) if self.source != "any" else next(iter(by_source.values()), None)
        if self.bound:
            return found is not None and self._compare(found)
        present = found is not None and (self.values is None or found in self.values)
        return present == self.positive

    def _compare(self, found: str) -> bool:
        (limit,) = self.values or ("",)
        return _is_number(found) and (int(found) - int(limit)) * self.bound > 0


class _Parser:
    """Reads a selector from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._next = 0

    def selector(self) -> list[Requirement]:
        if not self._tokens:
            return []
        requirements = [self._requirement()]
        while self._take(","):
            requirements.append(self._requirement())
        if self._next < len(self._tokens):
            raise self._unexpected("',' or the end")
        return requirements

    def _requirement(self) -> Requirement:
        negated = self._take("!")
        source, key = _key(self._word("a label"))
        if negated or self._peek() in ("", ","):
            return Requirement(source, key, None, not negated)
        operator = self._tokens[self._next]
        self._next += 1
        if operator in _COMPARED:
            return Requirement(source, key, frozenset({self._value()}), _COMPARED[operator])
        if operator in ("in", "notin"):
            return Requirement(source, key, self._values(), operator == "in")
        if operator in ("<", ">"):
            return Requirement(source, key, frozenset({self._number()}), bound=1 if operator == ">" else -1)
        raise FilterError(
            f"unable to parse requirement: found {quoted(operator)}, expected one of: "
            f"!=, <, =, ==, >, in, notin, in selector {quoted(self._text)}"
        )

    def _values(self) -> frozenset[str]:
        if not self._take("("):
            raise self._unexpected("'('")
        values = {self._value()}
        while self._take(","):
            values.add(self._value())
        if not self._take(")"):
            raise self._unexpected("',' or ')'")
        return frozenset(values)

    def _value(self) -> str:
        if self._peek() in ("", ",", ")"):
            return ""
        value = self._word("a value")
        if not _NAME.fullmatch(value):
            raise FilterError(f"unable to parse requirement: {quoted(value)} is no label value")
        return value

    def _number(self) -> str:
        value = self._word("a number")
        if not _is_number(value):
            raise FilterError(f"unable to parse requirement: {quoted(value)} is no integer")
        return value

    def _word(self, what: str) -> str:
        word = self._peek()
        if not word or word in _OPERATORS:
            raise self._unexpected(what)
        self._next += 1
        return word

    def _take(self, operator: str) -> bool:
        found = self._peek() == operator
        self._next += found
        return found

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _unexpected(self, expected: str) -> FilterError:
        found = self._peek() or "the end"
        return FilterError(
            f"unable to parse requirement: found {quoted(found)}, expected {expected} in selector {quoted(self._text)}"
        )


def _tokens(text: str) -> list[str]:
    """Operators and words; whatever stands between blanks and operators is a word."""
    return [match["op"] or match["word"] for match in _TOKEN.finditer(text.strip())]


def _key(word: str) -> tuple[str, str]:
    """Source and key; `any` when the word names no source."""
    source, colon, key = word.partition(":")
    if not colon:
        source, key = "any", word
    prefix, slash, name = key.rpartition("/")
    if not _NAME.fullmatch(name) or (slash and not _PREFIX.fullmatch(prefix)):
        raise FilterError(f"unable to parse requirement: {quoted(word)} is no label key")
    return source, key


@lru_cache(1_024)
def _parsed(labels: tuple[str, ...]) -> Labels:
    parsed: dict[str, dict[str, str]] = {}
    for label in labels:
        name, _, value = label.partition("=")
        source, colon, key = name.partition(":")
        source, key = (source, key) if colon else ("unspec", name)
        parsed.setdefault(key, {})[source] = value
    return parsed


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() and len(text) <= 20
