"""Ends connections that ended without a word.

The kernel sees a FIN or a reset. It does not see a UDP exchange that is over, or
a peer that vanished. The connection table is walked from here, in columns:
entries that were silent too long go, and where packets came after the last
record, a last one tells the final totals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.services import translations
from ebpf.addresses import MAPPED
from ebpf.constants import Direction, EventKind, Failure, Point, Verdict
from ebpf.maps import HashMap

SECOND = 1_000_000_000
TCP = 6
SYN = 2
CLOSED_TIMEOUT = 10 * SECOND  # after FIN or reset: late packets still find their connection
OPENING_TIMEOUT = 60 * SECOND  # TCP without a finished handshake
UNANSWERED_GRACE = 4 * SECOND  # beyond the time in which a SYN would be sent again; the slowest stacks begin at 3 s
ESTABLISHED_TIMEOUT = 8000 * SECOND  # TCP; above the two hours of Linux' keep-alive
OTHER_TIMEOUT = 60 * SECOND  # UDP, ICMP and the rest

Columns = npt.NDArray[Any]


class Census:
    """Counts the entries of maps that nobody else reads: one map a round, so that no round takes long."""

    def __init__(self, maps: Iterable[HashMap]) -> None:
        self._waiting = deque(maps)

    def next(self) -> None:
        """Count the map that was counted longest ago."""
        if self._waiting:
            self._waiting[0].count()
            self._waiting.rotate(-1)


class Sweeper:
    """Walks the map of connections; for one thread."""

    def __init__(self, connections: HashMap, outside: HashMap, flow_dtype: np.dtype[Any], overflow: int = 0) -> None:
        """`overflow`: the kernel's drop reason for a full accept queue, 0 where it has none."""
        self._connections = connections
        self._outside = outside
        self._flow = flow_dtype
        self._overflow = overflow
        self.watched: frozenset[bytes] = frozenset()
        """addresses (16 bytes) of which is to be told whether somebody has a connection to them"""
        self.talked_to: frozenset[bytes] = frozenset()
        """those of them that somebody had one to at the last walk"""

    def sweep(self, now: int) -> Columns:
        """Remove what is over at `now` (ns, CLOCK_MONOTONIC); final records, shape (n,)."""
        rows = []
        met: set[bytes] = set()
        for keys, values in self._connections.chunks():
            silent = unanswered(keys, values, now)
            over = idle(keys, values, now) | silent
            if over.any():
                self._connections.delete(keys[over])
                told = over & (unreported(values) | (silent & tells(values)))
                ended = final_records(keys[told], values[told], self._flow, now)
                blame(ended, values[told], (silent & tells(values))[told], self._overflow)
                rows.append(ended)
            met |= self._met(keys[~over])
        self.talked_to = frozenset(met)
        for keys, values, answers in translations.ended(self._outside, now):
            rows.append(outside_records(keys, values, answers, self._flow, now))
        return np.concatenate(rows) if rows else np.empty(0, self._flow)

    def _met(self, keys: Columns) -> frozenset[bytes]:
        """The watched addresses among the remote ends of connections."""
        if not self.watched or not len(keys):
            return frozenset()
        remotes = np.ascontiguousarray(keys["remote"]).view("V16").reshape(-1)
        return self.watched.intersection(one.tobytes() for one in np.unique(remotes))


def idle(keys: Columns, values: Columns, now: int) -> npt.NDArray[np.bool_]:
    """Which connections were silent longer than their kind may be."""
    last = np.maximum(values["out"]["last"], values["in"]["last"])
    tcp = keys["proto"] == TCP
    limit = np.full(len(keys), OTHER_TIMEOUT)
    limit[tcp] = np.where(values["handshake"][tcp] > 0, ESTABLISHED_TIMEOUT, OPENING_TIMEOUT)
    limit[values["ended"] != 0] = CLOSED_TIMEOUT
    result: npt.NDArray[np.bool_] = now - last.astype(np.int64) > limit
    return result


def unanswered(keys: Columns, values: Columns, now: int) -> npt.NDArray[np.bool_]:
    """Which TCP connections nobody answered, and whose initiator has stopped asking.

    SYNs are sent again in intervals that double, so the next is due when as much time has passed as since the first.
    """
    egress = values["direction"] == Direction.EGRESS
    asked = np.where(egress, values["out"]["packets"], values["in"]["packets"])
    answers = np.where(egress, values["in"]["packets"], values["out"]["packets"])
    first = np.where(egress, values["out"]["first"], values["in"]["first"]).astype(np.int64)
    last = np.where(egress, values["out"]["last"], values["in"]["last"]).astype(np.int64)
    opening = (keys["proto"] == TCP) & (values["syn"] != 0) & (asked > 0) & (answers == 0) & (values["ended"] == 0)
    result: npt.NDArray[np.bool_] = opening & (now - last > last - first + UNANSWERED_GRACE)
    return result


def tells(values: Columns) -> npt.NDArray[np.bool_]:
    """Which connections' failures are told by their device, and were not yet: see failure.h."""
    result: npt.NDArray[np.bool_] = (values["probe"] != 0) & (values["watched"] == 0) & (values["failure"] == 0)
    return result


def blame(rows: Columns, values: Columns, silent: npt.NDArray[np.bool_], overflow: int) -> None:
    """Say of the unanswered ones why: what the kernel is known to have done to their packets, or nothing."""
    dropped = values["dropped"]
    known = np.where((dropped == overflow) & (overflow != 0), Failure.ACCEPT_QUEUE, Failure.KERNEL_DROP)
    rows["failure"] = np.where(silent, np.where(dropped != 0, known, Failure.TIMED_OUT), Failure.NONE)
    rows["detail"] = np.where(silent, dropped, 0)
    rows["tcp_flags"] = np.where(silent, SYN, 0)


def unreported(values: Columns) -> npt.NDArray[np.bool_]:
    """Which connections had packets after their last record, and no final record yet."""
    told = np.maximum(values["out"]["reported"], values["in"]["reported"])
    last = np.maximum(values["out"]["last"], values["in"]["last"])
    result: npt.NDArray[np.bool_] = (last > told) & (values["ended"] == 0)
    return result


def final_records(keys: Columns, values: Columns, dtype: np.dtype[Any], now: int) -> Columns:
    """EVENT_END records in the direction of the initiator."""
    rows = np.zeros(len(keys), dtype)
    egress = values["direction"] == Direction.EGRESS
    rows["time"] = now
    rows["started"] = _first(values)
    for name in ("packets", "bytes"):
        rows[f"forward_{name}"] = np.where(egress, values["out"][name], values["in"][name])
        rows[f"reverse_{name}"] = np.where(egress, values["in"][name], values["out"][name])
    for ours, out, back in (("src", "local", "remote"), ("dst", "remote", "local")):
        rows[ours] = np.where(egress[:, None], keys[out], keys[back])
        rows[f"{ours}_port"] = np.where(egress, keys[f"{out}_port"], keys[f"{back}_port"])
        rows[f"{ours}_workload"] = np.where(egress, values[f"{out}_workload"], values[f"{back}_workload"])
    told = ("cgroup", "service", "pid", "handshake", "direction", "marks", "comm", "rule", "srtt_us", "retransmits")
    for name in told:
        rows[name] = values[name]
    rows["ifindex"], rows["proto"] = keys["ifindex"], keys["proto"]
    rows["family"] = np.where(_mapped(keys["local"]), 4, 6)
    rows["kind"], rows["verdict"] = EventKind.END, Verdict.FORWARDED
    rows["point"] = np.where(egress, Point.TO_STACK, Point.TO_ENDPOINT)
    return rows


def outside_records(keys: Columns, values: Columns, answers: Columns, dtype: np.dtype[Any], now: int) -> Columns:
    """EVENT_END records of connections from outside, as their clients know them."""
    rows = np.zeros(len(keys), dtype)
    rows["time"], rows["started"] = now, values["started"]
    for name in ("packets", "bytes"):
        rows[f"forward_{name}"], rows[f"reverse_{name}"] = values[name], answers[name]
    for name in ("src", "dst", "src_port", "dst_port", "proto"):
        rows[name] = keys[name]
    rows["service"], rows["ifindex"] = values["service"], values["ifindex"]
    rows["family"] = np.where(_mapped(keys["src"]), 4, 6)
    rows["kind"], rows["verdict"] = EventKind.END, Verdict.FORWARDED
    rows["direction"], rows["point"] = Direction.INGRESS, Point.FROM_NETWORK
    return rows


def _first(values: Columns) -> Columns:
    out, back = values["out"]["first"], values["in"]["first"]
    return np.where(out == 0, back, np.where(back == 0, out, np.minimum(out, back)))


def _mapped(address: Columns) -> npt.NDArray[np.bool_]:
    prefix = np.frombuffer(MAPPED, np.uint32)
    result: npt.NDArray[np.bool_] = (address[:, :3] == prefix).all(axis=1)
    return result
