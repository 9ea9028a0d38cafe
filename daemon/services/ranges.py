"""The map `source_ranges`: from where each Service's load balancer addresses are open.

A Service whose frontends carry FrontendFlag.RANGES is closed to all that no entry here admits, so what is missing keeps
clients out and never lets one in. Prefixes are added before others are taken away.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from daemon.services.force import Applied
from daemon.services.table import RANGE_SIZE
from ebpf.maps import Columns, HashMap

SERVICE_BITS = 32  # the prefix covers the Service's number before the address

_RECORD = np.dtype([("prefix", np.uint8), ("addr", np.uint32, 4)])  # RANGE_SIZE bytes


def write_ranges(table: HashMap, applied: Iterable[Applied]) -> None:
    """Make the map say what the ports in force say; raises KernelError."""
    missing, extra = compare_ranges(table, applied)
    table.update(missing, np.ones(len(missing), table.value_dtype))
    table.delete(extra)


def compare_ranges(table: HashMap, applied: Iterable[Applied]) -> tuple[Columns, Columns]:
    """Keys that the map lacks, and those that it has too much; raises KernelError."""
    wanted, (held, _) = _keys(table, applied), table.items()
    missing = np.setdiff1d(_opaque(wanted), _opaque(held)).view(table.key_dtype)
    return missing, np.setdiff1d(_opaque(held), _opaque(wanted)).view(table.key_dtype)


def _keys(table: HashMap, applied: Iterable[Applied]) -> Columns:
    guarded = [one for one in applied if one.entry.ranges]
    blob = b"".join(prefix for one in guarded for prefix in one.entry.ranges)
    ranges = np.frombuffer(blob, _RECORD, len(blob) // RANGE_SIZE)
    keys = np.zeros(len(ranges), table.key_dtype)
    keys["prefix"] = ranges["prefix"].astype(np.uint32) + SERVICE_BITS
    keys["service"] = np.repeat([one.number for one in guarded], [len(one.entry.ranges) for one in guarded])
    keys["addr"] = ranges["addr"]
    return keys


def _opaque(keys: Columns) -> Columns:
    return np.ascontiguousarray(keys).view(np.dtype((np.void, keys.dtype.itemsize)))
