"""Which clients stay with which backend now: session affinity, read from the kernel.

The programs know a client by its network namespace, or by its device where no socket program sees it. They hold to a
stay only while it is young enough and its backend is still there, so only those that they would hold to are told.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.agent.wording import record_words
from daemon.endpoints import Devices
from daemon.model import HOST, Workload
from daemon.services import ServicePortEntry
from daemon.services.table import RECORD_SIZE, records
from ebpf.maps import HashMap
from ebpf.namespaces import cookies_of, netns_cookie

Columns = npt.NDArray[Any]

_CLIENT_DEVICE = 1 << 63  # as detour.h marks clients that are known by their device


@dataclass(frozen=True, slots=True)
class Stay:
    """The backend (RECORD_SIZE bytes) that a client has, and for how many seconds it will have it if it stays away."""

    backend: bytes
    left: float


def stays(affinities: HashMap, number: int, entry: ServicePortEntry) -> dict[int, Stay]:
    """The stays with a Service port of this number, by client; raises KernelError."""
    now, present = time.monotonic_ns(), set(records(entry.backends))
    found: dict[int, Stay] = {}
    with affinities.beside() as table:
        for keys, values in table.chunks():
            found.update(_young(keys, values, number, now - entry.affinity * 10**9))
    return {
        client: Stay(stay.backend, entry.affinity + stay.left - now / 1e9)
        for client, stay in found.items()
        if stay.backend in present
    }


def _young(keys: Columns, values: Columns, number: int, since: int) -> Iterable[tuple[int, Stay]]:
    """Those of a Service that were used since then; `left` is when, in seconds of CLOCK_MONOTONIC."""
    rows = np.flatnonzero((keys["service"] == number) & (values["last"].astype(np.int64) > since))
    for row in rows.tolist():
        backend = values["backend"][row].tobytes()[:RECORD_SIZE]
        yield int(keys["client"][row]), Stay(backend, int(values["last"][row]) / 1e9)


def clients_of(caller: Workload, devices: Devices) -> frozenset[int]:
    """By what the programs may know a workload of this node."""
    if caller.id == HOST.id:
        return frozenset({netns_cookie()})
    found = [one for one in devices.devices if one.ifindex == caller.ifindex]
    cookies = cookies_of({one.netns_inode for one in found})
    return frozenset({*cookies.values(), *(_CLIENT_DEVICE | one.ifindex for one in found)})


def told(found: Mapping[int, Stay], caller: Workload | None, clients: Collection[int]) -> list[str]:
    """The stays in words: how many clients each backend has, and what the caller has."""
    counts = Counter(stay.backend for stay in found.values())
    shares = ", ".join(f"{count} with {record_words(backend)}" for backend, count in sorted(counts.items()))
    words = [f"clients that stay with a backend now: {shares}" if shares else "no client stays with a backend now"]
    if caller is not None:
        name = f"{caller.namespace}/{caller.name}".removeprefix("/")
        own = [stay for client, stay in found.items() if client in clients]
        words += [f"{name} stays with {record_words(one.backend)} for another {one.left:.0f} s" for one in own]
        words += [] if own else [f"{name} stays with none: a backend will be drawn"]
    return words
