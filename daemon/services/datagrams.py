"""UDP flows, and the endpoints that may keep them.

UDP has nobody to tell a client that its backend is gone, so flows are let go of from here: sockets of workloads are
closed (`udp`), flows from outside are cut (`translations`). Both go by one rule. A flow is a Service port's number and
a backend, so a backend that another Service still has keeps none of this one's. As with kube-proxy an endpoint keeps
the flows that it has for as long as it serves, also where it terminates and others are ready, where hints lead
elsewhere or where a traffic policy admits it no more.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.model.shelves import differing
from daemon.services.force import Applied
from daemon.services.table import RECORD_SIZE, Block, PortKey, ServiceTable, records

Columns = npt.NDArray[Any]

BACKEND = np.dtype((np.void, RECORD_SIZE))
"""A backend as one opaque value: address and port in network order."""

_PLACE = np.dtype([("addr", np.uint32, 4), ("port", ">u2")])  # RECORD_SIZE bytes
_PARTS = np.dtype([("service", np.uint32), ("backend", BACKEND)])
_FLOW = np.dtype((np.void, _PARTS.itemsize))


def places(addresses: Columns, ports: Columns) -> Columns:
    """Backends as opaque values, shape (n,), of addresses (n, 4) and ports whose dtype says their order."""
    found = np.zeros(len(ports), _PLACE)
    found["addr"], found["port"] = addresses, ports
    opaque: Columns = found.view(BACKEND)
    return opaque


def flows(numbers: Columns | int, backends: Columns) -> Columns:
    """Flows as opaque values, shape (n,)."""
    found = np.zeros(len(backends), _PARTS)
    found["service"], found["backend"] = numbers, backends
    opaque: Columns = found.view(_FLOW)
    return opaque


def keepable(applied: Iterable[Applied]) -> Columns:
    """All flows that may go on, of the ports in force."""
    udp = [one for one in applied if one.entry.key.protocol == socket.IPPROTO_UDP]
    runs = [np.frombuffer(one.entry.backends + one.entry.retained, BACKEND) for one in udp]
    numbers = np.repeat(np.array([one.number for one in udp], np.uint32), [len(run) for run in runs])
    return flows(numbers, np.concatenate([np.zeros(0, BACKEND), *runs]))


def lost_datagrams(before: ServiceTable, after: ServiceTable) -> bool:
    """Whether a UDP port has lost an endpoint that served, from one table to the next."""
    old, new = (_serving(blocks.values()) for blocks in differing(before.blocks, after.blocks))
    return any(not new.get(key, set()).issuperset(served) for key, served in old.items())


def _serving(blocks: Iterable[Block]) -> dict[PortKey, set[bytes]]:
    return {
        entry.key: set(records(entry.backends + entry.retained))
        for block in blocks
        for entry in block.entries
        if entry.key.protocol == socket.IPPROTO_UDP
    }
