"""From wanted policies to what the kernel decides by.

A `table` is all that the kernel needs and all that a human is told of it: classes of addresses, rulesets of disjoint
entries, and the rule behind every verdict.
"""

from daemon.policy.table import (
    ANY_CLASS,
    FIRST_CLASS,
    WORLD_CLASS,
    Action,
    Direction,
    Entry,
    Isolation,
    PolicyTable,
    Rule,
    Ruleset,
)

__all__ = [
    "ANY_CLASS",
    "FIRST_CLASS",
    "WORLD_CLASS",
    "Action",
    "Direction",
    "Entry",
    "Isolation",
    "PolicyTable",
    "Rule",
    "Ruleset",
]
