"""Label selectors in a form that can be compared, hashed and asked quickly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from daemon.model.policies import LabelSelector, Operator


class Condition(NamedTuple):
    """One condition on one label."""

    key: str
    operator: Operator
    values: frozenset[str]

    def holds(self, labels: Mapping[str, str]) -> bool:
        """NotIn and DoesNotExist hold where the key is absent."""
        if self.operator is Operator.IN:
            return labels.get(self.key) in self.values
        if self.operator is Operator.NOT_IN:
            return labels.get(self.key) not in self.values
        return (self.key in labels) is (self.operator is Operator.EXISTS)


Selector = tuple[Condition, ...]
EVERYTHING: Selector = ()


def selector_of(written: LabelSelector) -> Selector:
    """The conditions of a selector, in an order of their own, so that equal ones are equal."""
    conditions = {Condition(key, Operator.IN, frozenset({value})) for key, value in written.match_labels.items()}
    conditions |= {Condition(one.key, one.operator, frozenset(one.values)) for one in written.match_expressions}
    return tuple(sorted(conditions, key=lambda one: (one.key, one.operator.value, sorted(one.values))))


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether all conditions hold."""
    return all(condition.holds(labels) for condition in selector)


def keys_of(selector: Selector) -> set[str]:
    """The labels that a selector looks at."""
    return {condition.key for condition in selector}
