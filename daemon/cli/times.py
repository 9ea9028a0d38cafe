"""Times as people write and read them: layouts for output, durations and dates for --since and --until.

Names and forms of the layouts are those of Hubble's CLI, so that scripts which
read its output read ours. Everything is UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from daemon.cli.errors import UsageError

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SHORT = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d))?(Z|[+-]\d\d:\d\d))?")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def _moment(stamp: Timestamp) -> datetime:
    return datetime.fromtimestamp(stamp.seconds, UTC)


def _rfc3339(digits: int) -> Callable[[Timestamp], str]:
    """RFC 3339 with at most `digits` digits of a second, trailing zeros dropped."""

    def write(stamp: Timestamp) -> str:
        fraction = f"{stamp.nanos:09d}"[:digits].rstrip("0")
        return f"{_moment(stamp):%Y-%m-%dT%H:%M:%S}{'.' if fraction else ''}{fraction}Z"

    return write


def _stamp_milli(stamp: Timestamp) -> str:
    at = _moment(stamp)
    return f"{_MONTHS[at.month - 1]} {at.day:2d} {at:%H:%M:%S}.{stamp.nanos // 10**6:03d}"


def _rfc1123z(stamp: Timestamp) -> str:
    at = _moment(stamp)
    return f"{_DAYS[at.weekday()]}, {at.day:02d} {_MONTHS[at.month - 1]} {at:%Y %H:%M:%S} +0000"


LAYOUTS: Mapping[str, Callable[[Timestamp], str]] = {
    "StampMilli": _stamp_milli,
    "YearMonthDay": lambda stamp: f"{_moment(stamp):%Y-%m-%d}",
    "YearMonthDayHour": lambda stamp: f"{_moment(stamp):%Y-%m-%dT%HZ}",
    "YearMonthDayHourMinute": lambda stamp: f"{_moment(stamp):%Y-%m-%dT%H:%MZ}",
    "RFC3339": _rfc3339(0),
    "RFC3339Milli": _rfc3339(3),
    "RFC3339Micro": _rfc3339(6),
    "RFC3339Nano": _rfc3339(9),
    "RFC1123Z": _rfc1123z,
}


def layout(name: str) -> Callable[[Timestamp], str]:
    """The layout of that name; raises UsageError for another."""
    found = LAYOUTS.get(name)
    if found is None:
        raise UsageError(f"invalid time format: {name}; there are {', '.join(LAYOUTS)}")
    return found


def duration_ns(text: str) -> int:
    """Nanoseconds of `1h43m`, `1.5s`, `300ms`; raises ValueError for anything else."""
    if text == "0":
        return 0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration such as 30s, 5m or 1h43m")
    return round(sum(float(number) * _UNITS[unit] for number, unit in parts))


def parse(text: str, now: datetime | None = None) -> Timestamp:
    """The moment meant by a duration ago or a date; raises ValueError for text that is neither."""
    stamp = Timestamp()
    try:
        ago = duration_ns(text)
    except ValueError:
        stamp.FromDatetime(_date(text))
        return stamp
    stamp.FromDatetime((now or datetime.now(UTC)) - timedelta(microseconds=ago / 1000))
    return stamp


def _date(text: str) -> datetime:
    for read in (datetime.fromisoformat, _rfc1123z_time):
        try:
            at = read(_completed(text))
        except ValueError:
            continue
        if at.tzinfo is not None:
            return at
    raise ValueError(f"{text!r} is neither a duration (5m, 1h30m) nor a date (2026-01-31, 2026-01-31T10:00:00Z)")


def _completed(text: str) -> str:
    """A date that stops at the day, hour or minute, in full; other text as it is."""
    short = _SHORT.fullmatch(text)
    if short is None:
        return text
    day, hour, minute, zone = short.groups()
    return f"{day}T{hour or '00'}:{minute or '00'}:00{zone or 'Z'}"


def _rfc1123z_time(text: str) -> datetime:
    return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S %z")


def age(ns: int) -> str:
    """A span in the two largest units that matter: `3d4h`, `5m12s`, `8s`, `120ms`."""
    if ns < 10**9:
        return f"{ns // 10**6}ms"
    seconds = ns // 10**9
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return "".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count)


def go_duration(ns: int) -> str:
    """A span as Go prints it, without a fraction of less than it has: `25h1m1s`, `1m30s`, `4.5s`, `0s`."""
    if 0 < ns < 10**9:
        unit, name = (10**6, "ms") if ns >= 10**6 else (10**3, "µs") if ns >= 10**3 else (1, "ns")
        return f"{_decimal(ns, unit)}{name}"
    minutes, rest = divmod(ns, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    parts = (f"{hours}h" if hours else "", f"{minutes}m" if hours or minutes else "")
    return f"{''.join(parts)}{_decimal(rest, 10**9)}s"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)
