"""Lines of traffic as a table and as JSON, for `remora top` and `remora flows summary`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from daemon.cli.flowtext import escape
from daemon.cli.tables import shorten, size
from daemon.flows.summary import duration_text
from daemon.flows.traffic import Grouping, Line

_GAP = 2
_SHORTEST = 8  # columns that a name keeps

_NUMBERS = ("REQ/S", "REQUESTS", "BYTES/S", "ERRORS", "ERR%", "P50", "P90", "P99")


def table(lines: Sequence[Line], grouping: Grouping, width: int) -> list[str]:
    """Heading and lines, none longer than `width` while names can give way."""
    headings, rows = _cells(lines, grouping)
    names = len(headings) - (2 if grouping is Grouping.ERRORS else len(_NUMBERS))
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    while excess > 0:
        widest = max(range(names), key=lambda column: widths[column])
        if widths[widest] <= _SHORTEST:
            break
        widths[widest] -= 1
        excess -= 1
    return [_row(row, widths, names) for row in (headings, *rows)]


def _cells(lines: Sequence[Line], grouping: Grouping) -> tuple[list[str], list[list[str]]]:
    if grouping is Grouping.ERRORS:
        failed = [[*_names(one), one.protocol, one.reason, str(one.errors), f"{one.rate:.1f}"] for one in lines]
        return ["CLIENT", "SERVER", "PROTOCOL", "REASON", "ERRORS", "ERR/S"], failed
    served = grouping is Grouping.SERVICES
    rows = [[*_names(one)[1 if served else 0 :], one.protocol, *_numbers(one)] for one in lines]
    return [*([] if served else ["CLIENT"]), "SERVER", "PROTOCOL", *_NUMBERS], rows


def _names(one: Line) -> list[str]:
    return [escape(one.client), escape(one.server)]


def _numbers(one: Line) -> list[str]:
    times = [duration_text(value) for value in (one.p50, one.p90, one.p99)]
    share = f"{one.error_share:.1f}" if one.errors else "0"
    return [f"{one.rate:.1f}", str(one.requests), size(one.bytes_rate), str(one.errors), share, *times]


def _row(cells: Sequence[str], widths: Sequence[int], names: int) -> str:
    """Names to the left, numbers to the right."""
    told = [
        shorten(cell, width).ljust(width) if column < names else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return (" " * _GAP).join(told).rstrip()


def as_json(lines: Sequence[Line]) -> str:
    """One object a line, all in a list; latencies in ns, null where nothing was measured."""
    return json.dumps([{**asdict(one), "error_share": round(one.error_share, 3)} for one in lines])
