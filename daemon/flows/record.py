"""One flow record as Python values, for the moments when a single flow is looked at.

The hot path works on columns and never makes these. Whoever tells one flow in words, or pairs one message, wants a
dozen of its fields; reading them one by one from a numpy row costs a microsecond each. So the layout, whatever BCC
reported, is turned into one `struct` format, and a row is read in one call.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, NamedTuple

import numpy as np

Row = np.void
RowArray = np.ndarray[Any, np.dtype[Any]]

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


class FlowRecord(NamedTuple):
    """The fields of `struct flow_event` (bpf_programs/include/structs.h); addresses, MACs and comm are bytes."""

    time: int
    started: int
    forward_packets: int
    forward_bytes: int
    reverse_packets: int
    reverse_bytes: int
    cgroup: int
    src: bytes
    dst: bytes
    src_workload: int
    dst_workload: int
    service: int
    pid: int
    ifindex: int
    handshake: int
    length: int
    l7: int
    src_port: int
    dst_port: int
    family: int
    proto: int
    kind: int
    verdict: int
    reason: int
    point: int
    direction: int
    reply: int
    tcp_flags: int
    icmp_type: int
    icmp_code: int
    marks: int
    src_mac: bytes
    dst_mac: bytes
    comm: bytes
    srtt_us: int
    retransmits: int
    failure: int
    detail: int


def read_record(row: Row) -> FlowRecord:
    """The values of one row; raises ValueError when the row's layout lacks a field of `FlowRecord`."""
    return _reader(row.dtype)(row)


class _Reader:
    def __init__(self, dtype: np.dtype[Any]) -> None:
        names = sorted(dtype.names or (), key=lambda name: _offset(dtype, name))
        missing = sorted(set(FlowRecord._fields) - set(names))
        if missing:
            raise ValueError(f"flow record layout lacks {', '.join(missing)}: structs.h and daemon.flows.record differ")
        self._struct = struct.Struct(_format(dtype, names))
        self._order = [names.index(name) for name in FlowRecord._fields]

    def __call__(self, row: Row) -> FlowRecord:
        values = self._struct.unpack(row.tobytes())
        return FlowRecord._make([values[index] for index in self._order])


@cache
def _reader(dtype: np.dtype[Any]) -> _Reader:
    return _Reader(dtype)


def _offset(dtype: np.dtype[Any], name: str) -> int:
    assert dtype.fields is not None
    return int(dtype.fields[name][1])


def _format(dtype: np.dtype[Any], names: list[str]) -> str:
    """A `struct` format with the padding written out, since numpy has settled the alignment already."""
    parts, position = ["="], 0
    for name in names:
        assert dtype.fields is not None
        field, offset = dtype.fields[name][:2]
        parts.append(f"{offset - position}x")
        parts.append(_CODES[field.itemsize] if field.subdtype is None else f"{field.itemsize}s")
        position = offset + field.itemsize
    parts.append(f"{dtype.itemsize - position}x")
    return "".join(parts)
