"""Durations and dates of --since and --until, layouts of output."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from daemon.cli import times

NOW = datetime(2026, 3, 7, 12, 0, 0, tzinfo=UTC)
STAMP = Timestamp(seconds=1_772_874_311, nanos=408_120_000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3s", "2026-03-07T11:59:57Z"),
        ("1h43m", "2026-03-07T10:17:00Z"),
        ("1.5h", "2026-03-07T10:30:00Z"),
        ("300ms", "2026-03-07T11:59:59.700Z"),
        ("2026-03-01", "2026-03-01T00:00:00Z"),
        ("2026-03-01T15Z", "2026-03-01T15:00:00Z"),
        ("2026-03-01T15+02:00", "2026-03-01T13:00:00Z"),
        ("2026-03-01T15:04Z", "2026-03-01T15:04:00Z"),
        ("2026-03-01T15:04:05Z", "2026-03-01T15:04:05Z"),
        ("2026-03-01T15:04:05.250+01:00", "2026-03-01T14:04:05.250Z"),
        ("Sun, 01 Mar 2026 15:04:05 +0000", "2026-03-01T15:04:05Z"),
    ],
)
def test_a_moment_is_a_duration_ago_or_a_date(text: str, expected: str) -> None:
    assert times.parse(text, NOW).ToJsonString() == expected


@pytest.mark.parametrize("text", ["", "5", "5 m", "-5m", "m", "Mar  7 12:00:00.000", "2026-03-01T15:04:05", "5x"])
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="neither a duration"):
        times.parse(text, NOW)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("StampMilli", "Mar  7 09:05:11.408"),
        ("YearMonthDay", "2026-03-07"),
        ("YearMonthDayHour", "2026-03-07T09Z"),
        ("YearMonthDayHourMinute", "2026-03-07T09:05Z"),
        ("RFC3339", "2026-03-07T09:05:11Z"),
        ("RFC3339Milli", "2026-03-07T09:05:11.408Z"),
        ("RFC3339Nano", "2026-03-07T09:05:11.40812Z"),
        ("RFC1123Z", "Sat, 07 Mar 2026 09:05:11 +0000"),
    ],
)
def test_layouts_are_those_of_hubble(layout: str, expected: str) -> None:
    assert times.LAYOUTS[layout](STAMP) == expected


@pytest.mark.parametrize(
    ("span", "expected"),
    [(0, "0ms"), (120_000_000, "120ms"), (8 * 10**9, "8s"), (312 * 10**9, "5m12s"), (277_200 * 10**9, "3d5h")],
)
def test_ages_show_the_two_largest_units(span: int, expected: str) -> None:
    assert times.age(span) == expected
