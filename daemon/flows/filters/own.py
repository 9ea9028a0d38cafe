"""What can be asked of flows beyond `flow.FlowFilter`: the process, slow answers, and everything that failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from daemon.flows import wrong
from daemon.flows.record import RowArray
from daemon.proto import flow_pb2, remora_pb2
from ebpf.constants import EventKind, Verdict

Mask = np.ndarray[Any, np.dtype[np.bool_]]


def asks(options: remora_pb2.FlowOptions) -> bool:
    """Whether anything is asked."""
    return bool(options.processes or options.latency_above_ns or options.failed)


def accepts_own(options: remora_pb2.FlowOptions, flow: flow_pb2.Flow, extra: remora_pb2.FlowExtra) -> bool:
    """Whether a flow is what is asked for."""
    if options.processes and not ({extra.comm, str(extra.pid)} & set(options.processes)):
        return False
    if options.latency_above_ns and max(flow.l7.latency_ns, extra.handshake_ns) <= options.latency_above_ns:
        return False
    return not options.failed or bool(wrong.reason(flow))


def mask_own(options: remora_pb2.FlowOptions) -> Callable[[RowArray], Mask]:
    """The mask (n,) bool of records that `accepts_own` may accept; it never leaves one out that it would."""

    def mask(rows: RowArray) -> Mask:
        messages = rows["kind"] == EventKind.L7
        passed = np.ones(len(rows), np.bool_)
        if options.processes:
            passed &= _by_process(rows, options.processes)
        if options.latency_above_ns:
            passed &= messages | (rows["handshake"].astype(np.uint64) * 1_000 > options.latency_above_ns)
        if options.failed:
            passed &= messages | (rows["failure"] != 0) | (rows["verdict"] == Verdict.DROPPED)
        return passed

    return mask


def _by_process(rows: RowArray, wanted: Any) -> Mask:
    """Names are compared as text of up to 16 bytes, numbers as numbers."""
    names = np.array([text.encode()[:16] for text in wanted], "S16")
    numbers = np.array(
        [int(text) for text in wanted if text.isascii() and text.isdecimal() and len(text) < 10], np.uint32
    )
    comm = np.ascontiguousarray(rows["comm"]).view("S16").reshape(len(rows))
    found: Mask = np.isin(comm, names) | np.isin(rows["pid"], numbers)
    return found
