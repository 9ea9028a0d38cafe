"""Connections from outside: when they are over, and when they must not go on.

The programs write two entries for each connection, one a direction, and never take one away except where a client
begins anew. So the table is walked from here. How long a silence means the end depends on what both directions have
seen, and both entries go together; one whose other half is not there goes by what it has seen itself.

UDP flows to endpoints that may not keep them are cut, and the client's next datagram opens a new one.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.services.datagrams import flows, places
from ebpf.constants import TranslationMark
from ebpf.maps import HashMap

Columns = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

SECOND = 1_000_000_000
ENDED = 10 * SECOND  # after a reset, or a FIN of both: late packets still find their connection
OPENING = 60 * SECOND  # TCP without a finished handshake
HALF_CLOSED = 3600 * SECOND  # one side has said that it is done, as the kernel's CLOSE_WAIT under kube-proxy
ESTABLISHED = 8000 * SECOND  # above the two hours of Linux' keep-alive
DATAGRAMS = 60 * SECOND  # UDP
DIRECT_CLOSED = 60 * SECOND  # a FIN of a client whose backend answers it directly: nothing tells when that is done
ASSOCIATIONS = 210 * SECOND  # SCTP, as the kernel's own tracking: several heartbeats may be lost
FIN, RST, ACK = 1, 4, 16


def ended(table: HashMap, now: int) -> Iterator[tuple[Columns, Columns, Columns]]:
    """Remove what is over at `now` (ns, CLOCK_MONOTONIC); keys and values of the clients' directions, and the answers'.

    Of the answers' direction all is zero where it was not there.
    """
    for keys, values in table.chunks():
        maybe = now - values["last"].astype(np.int64) > _limits(keys["proto"], values["flags"], values["flags"])
        keys, values = keys[maybe], values[maybe]
        others = opposite(keys, values)
        halves = _looked_up(table, others)
        direct = values["marks"] & TranslationMark.DIRECT != 0
        flags = np.where(direct, values["flags"], halves["flags"])
        limits = _limits(keys["proto"], values["flags"], flags)
        limits[direct & (flags & (FIN | RST) == FIN)] = DIRECT_CLOSED
        last = np.maximum(values["last"], halves["last"])
        over = now - last.astype(np.int64) > limits
        table.delete(np.concatenate((keys[over], others[over])))
        yield _clients_first((keys[over], values[over]), (others[over], halves[over]))


def cut_stale(table: HashMap, kept: Columns) -> int:
    """Remove the UDP flows that are not among those that may go on; how many. Raises KernelError."""
    cut = 0
    for keys, values in table.chunks():
        ours = values["service"] != 0  # else the Service is known to the node that the client asked
        udp = (keys["proto"] == socket.IPPROTO_UDP) & (values["marks"] & TranslationMark.REPLY == 0) & ours
        keys, values = keys[udp], values[udp]
        stale = ~np.isin(flows(values["service"], backends(values)), kept)
        table.delete(np.concatenate((keys[stale], opposite(keys[stale], values[stale]))))
        cut += int(np.count_nonzero(stale))
    return cut


def backends(values: Columns) -> Columns:
    """Backends of the clients' directions, as opaque values of RECORD_SIZE bytes, shape (n,)."""
    return places(values["dst"], values["dst_port"])


def opposite(keys: Columns, values: Columns) -> Columns:
    """Keys of the other directions."""
    found = np.zeros(len(keys), keys.dtype)
    found["src"], found["dst"] = values["dst"], values["src"]
    found["src_port"], found["dst_port"] = values["dst_port"], values["src_port"]
    found["proto"] = keys["proto"]
    return found


def _clients_first(these: tuple[Columns, Columns], those: tuple[Columns, Columns]) -> tuple[Columns, Columns, Columns]:
    """Pairs of directions in any order to keys and values of the client's, and values of the answers', each once."""
    turned = these[1]["marks"] & TranslationMark.REPLY != 0
    keys, values, answers = (
        np.where(turned, other, one)
        for one, other in ((these[0], those[0]), (these[1], those[1]), (those[1], these[1]))
    )
    _, once = np.unique(keys.view(np.dtype((np.void, keys.dtype.itemsize))), return_index=True)
    once = once[values["last"][once] != 0]
    return keys[once], values[once], answers[once]


def _looked_up(table: HashMap, keys: Columns) -> Columns:
    """The values of keys; zeros where there is none."""
    found = np.zeros(len(keys), table.value_dtype)
    for index in range(len(keys)):
        value = table.lookup(keys[index : index + 1])
        if value is not None:
            found[index] = value[0]
    return found


def _limits(protocols: Columns, one: Columns, other: Columns) -> Columns:
    """How long each connection may be silent (ns), by the TCP flags that its two directions have seen."""
    both, any_of = one & other, one | other
    limit = np.full(len(protocols), DATAGRAMS)
    limit[protocols == socket.IPPROTO_SCTP] = ASSOCIATIONS
    tcp = protocols == socket.IPPROTO_TCP
    limit[tcp] = OPENING
    limit[tcp & (both & ACK != 0)] = ESTABLISHED
    limit[tcp & (any_of & FIN != 0)] = HALF_CLOSED
    limit[tcp & ((both & FIN != 0) | (any_of & RST != 0))] = ENDED
    result: Columns = limit
    return result
