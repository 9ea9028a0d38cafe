"""How a figure is told: a JSON line for programs on standard output, a sentence for people on standard error."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """What a value should be at most (`"<="`) or at least (`">="`)."""

    relation: str
    limit: float

    def met(self, value: float) -> bool:
        """Is the value on the right side, the limit included?"""
        return value <= self.limit if self.relation == "<=" else value >= self.limit

    def __str__(self) -> str:
        return f"{self.relation} {self.limit:,g}" if self.limit < 1e6 else f"{self.relation} {self.limit:,.0f}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One result; `note` is for people only: spread, baseline, what else is worth knowing."""

    name: str
    value: float
    unit: str
    goal: Goal | None = None
    note: str = ""

    @property
    def met(self) -> bool:
        """True also where there is no goal."""
        return self.goal is None or self.goal.met(self.value)


def at_most(limit: float) -> Goal:
    """A goal that smaller values meet."""
    return Goal("<=", limit)


def at_least(limit: float) -> Goal:
    """A goal that larger values meet."""
    return Goal(">=", limit)


def tell(figure: Figure) -> bool:
    """Print a figure both ways; did it meet its goal?"""
    goal = str(figure.goal) if figure.goal else None
    line = {"name": figure.name, "value": round(figure.value, 4), "unit": figure.unit, "goal": goal}
    print(json.dumps(line), flush=True)
    judged = "" if goal is None else f"   goal {goal}: {'met' if figure.met else 'MISSED'}"
    note = f"   ({figure.note})" if figure.note else ""
    say(f"   {figure.name:<34} {_readable(figure.value):>12} {figure.unit}{judged}{note}")
    return figure.met


def say(words: str) -> None:
    """A line for people."""
    print(words, file=sys.stderr, flush=True)


def _readable(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
