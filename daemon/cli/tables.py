"""Aligned columns and human-sized numbers for everything that is printed for people."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.proto import remora_pb2

_PADDING = 3
_WIDTH = 100
_SHORT_ID = 12  # characters of a container's id


def columns(rows: Sequence[Sequence[str]], padding: int = _PADDING) -> str:
    """Rows with left-aligned cells, one line each; the last cell is not padded."""
    if not rows:
        return ""
    widths = [max(len(row[index]) for row in rows) + padding for index in range(len(rows[0]) - 1)]
    lines = ("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1] for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def shorten(text: str, width: int) -> str:
    """`text`, its end replaced by an ellipsis when it is longer than `width`."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def fitted(rows: Sequence[Sequence[str]], width: int = _WIDTH) -> str:
    """Rows as columns, the last cell cut so that no line is longer than `width`."""
    if not rows:
        return ""
    used = sum(max(len(row[index]) for row in rows) + 2 for index in range(len(rows[0]) - 1))
    return columns([[*row[:-1], shorten(row[-1], max(width - used, 12))] for row in rows], padding=2)


def size(count: float) -> str:
    """Bytes with a decimal unit: `512B`, `3.4kB`, `1.2GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f}{unit}" if unit == "B" else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.1f}TB"


def extra_text(extra: remora_pb2.FlowExtra) -> str:
    """What a kernel record adds to a flow: `[out 5 pkts 1.2kB, in 4 pkts 3.4kB, handshake 0.21ms, curl(4711)]`."""
    parts = [
        f"out {extra.forward_packets} pkts {size(extra.forward_bytes)}",
        f"in {extra.reverse_packets} pkts {size(extra.reverse_bytes)}",
    ]
    if extra.handshake_ns:
        parts.append(f"handshake {extra.handshake_ns / 1e6:.2f}ms")
    if extra.srtt_ns:
        parts.append(f"rtt {extra.srtt_ns / 1e6:.2f}ms")
    if extra.retransmits:
        parts.append(f"retransmits {extra.retransmits}")
    if extra.pid:
        parts.append(f"{_printable(extra.comm) or 'pid'}({extra.pid}{_place(extra)})")
    if extra.failure:
        parts.append(f"failed: {extra.failure}{f' {extra.failure_detail}' if extra.failure_detail else ''}")
    return f"[{', '.join(parts)}]"


def _place(extra: remora_pb2.FlowExtra) -> str:
    """Container or unit, as `docker ps` and `systemctl` show them."""
    where = extra.container[:_SHORT_ID] or extra.unit
    return f" in {_printable(where)}" if where else ""


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
