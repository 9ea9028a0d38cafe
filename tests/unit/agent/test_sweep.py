"""Connections that end in silence: which are failures, whose, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daemon.agent.sweep import SECOND, blame, final_records, tells, unanswered
from ebpf.constants import Direction, Failure
from tests.support.layouts import dtype, flow_dtype

OVERFLOW = 40


def connection(**fields: Any) -> tuple[np.ndarray, np.ndarray]:
    """A workload's connection with one SYN at second 100, told by its own device."""
    keys, values = np.zeros(1, dtype("conn_key")), np.zeros(1, dtype("conn"))
    keys["proto"] = 6
    values["direction"], values["probe"], values["syn"] = Direction.EGRESS, 1, 100 * SECOND
    values["out"]["packets"] = 1
    values["out"]["first"] = values["out"]["last"] = 100 * SECOND
    for name, value in fields.items():
        side, _, field = name.partition("__")
        if field:
            values[side][field] = value
        else:
            (keys if name == "proto" else values)[name] = value
    return keys, values


def is_silent(second: float, **fields: Any) -> bool:
    return bool(unanswered(*connection(**fields), int(second * SECOND))[0])


def test_a_syn_that_nobody_answers_fails_once_it_should_have_been_sent_again() -> None:
    assert not is_silent(103.9)
    assert is_silent(104.1)


def test_the_longer_somebody_asks_the_longer_he_is_waited_for() -> None:
    asked_until_107 = {"out__packets": 4, "out__last": 107 * SECOND}
    assert not is_silent(117.9, **asked_until_107)
    assert is_silent(118.1, **asked_until_107)


@pytest.mark.parametrize(
    "other",
    [{"in__packets": 1}, {"ended": 1}, {"proto": 17}, {"syn": 0}],
    ids=["answered", "told already", "not TCP", "begun before the agent"],
)
def test_what_was_answered_or_never_asked_is_no_failure(other: dict[str, int]) -> None:
    assert not is_silent(500, **other)


@pytest.mark.parametrize("other", [{"probe": 0}, {"watched": 1}, {"failure": Failure.REFUSED}])
def test_a_failure_that_is_told_elsewhere_is_not_told_here(other: dict[str, int]) -> None:
    _, values = connection(**other)
    assert not tells(values)[0]


@pytest.mark.parametrize(
    ("dropped", "failure"),
    [(0, Failure.TIMED_OUT), (12, Failure.KERNEL_DROP), (OVERFLOW, Failure.ACCEPT_QUEUE)],
)
def test_silence_is_explained_by_what_the_kernel_did(dropped: int, failure: Failure) -> None:
    keys, values = connection(dropped=dropped)
    rows = final_records(keys, values, flow_dtype(), 105 * SECOND)
    blame(rows, values, np.array([True]), OVERFLOW)
    assert (rows["failure"][0], rows["detail"][0], rows["tcp_flags"][0]) == (failure, dropped, 2)
    blame(rows, values, np.array([False]), OVERFLOW)
    assert (rows["failure"][0], rows["detail"][0]) == (Failure.NONE, 0)
