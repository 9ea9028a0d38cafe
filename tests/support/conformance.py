"""Keeps what became of each conformance case, and writes it down where a run is asked to.

A case's name is that of the catalogue, with the test's parameters after it: stable, whatever the test is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import pytest

MARK = "conformance"


class Result(Enum):
    PASSED = "passed"
    FAILED = "failed"
    PENDING = "pending"
    NOT_RUN = "not run"


@dataclass
class Outcomes:
    """The results by case, of one run."""

    results: dict[str, Result]

    def note(self, name: str, report: pytest.TestReport) -> None:
        """Take over what a phase of a test says; a failure in any phase stays."""
        if report.failed:
            self.results[name] = Result.FAILED
        elif report.skipped and name in self.results:
            self.results[name] = Result.PENDING if hasattr(report, "wasxfail") else Result.NOT_RUN
        elif report.when == "call" and self.results.get(name) is not Result.FAILED:
            self.results[name] = Result.PASSED


def case_of(item: pytest.Item) -> str:
    """The full name of a test's case; "" for a test that is none."""
    mark = item.get_closest_marker(MARK)
    if mark is None:
        return ""
    name = str(mark.args[0])
    callspec = getattr(item, "callspec", None)
    parameters = callspec.id.replace(name, "").strip("-").replace("--", "-") if callspec else ""
    return f"{name}/{parameters}" if parameters else name


def expect_pending(items: list[pytest.Item], pending: Mapping[str, str]) -> None:
    """Mark the tests of pending cases, named in full or without parameters, as to fail."""
    for item in items:
        name = case_of(item)
        reason = pending.get(name) or pending.get(name.partition("/")[0])
        if reason:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
