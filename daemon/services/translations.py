"""Connections from outside: when they are over, and when they must not go on.

The programs write two entries for each connection, one a direction, and never take one away except where a client
begins anew. So the table is walked from here. How long a silence means the end depends on what both directions have
seen, and both entries go together; one whose other half is not there goes by what it has seen itself.

UDP has nobody to tell a client that its backend is gone. So when backends leave, the flows that lead to them are cut,
and the client's next datagram opens a new one. As with kube-proxy, an endpoint that terminates and still serves keeps
the flows that it has.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.services.blocks import candidates
from daemon.services.force import Applied
from daemon.services.table import RECORD_SIZE, ServicePortEntry, ServiceTable, differing, records
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
FIN, RST, ACK = 1, 4, 16

_OPAQUE = np.dtype((np.void, RECORD_SIZE))
_FLOW = np.dtype((np.void, 4 + RECORD_SIZE))  # number of the Service port, backend


def ended(table: HashMap, now: int) -> Iterator[tuple[Columns, Columns, Columns]]:
    """Remove what is over at `now` (ns, CLOCK_MONOTONIC); keys and values of the clients' directions, and the answers'.

    Of the answers' direction all is zero where it was not there.
    """
    for keys, values in table.chunks():
        maybe = now - values["last"].astype(np.int64) > _limits(keys["proto"], values["flags"], values["flags"])
        keys, values = keys[maybe], values[maybe]
        others = opposite(keys, values)
        halves = _looked_up(table, others)
        flags, last = halves["flags"], np.maximum(values["last"], halves["last"])
        over = now - last.astype(np.int64) > _limits(keys["proto"], values["flags"], flags)
        table.delete(np.concatenate((keys[over], others[over])))
        yield _clients_first((keys[over], values[over]), (others[over], halves[over]))


def cut_stale(table: HashMap, applied: Iterable[Applied], wanted: ServiceTable) -> int:
    """Remove the UDP flows to endpoints that do not serve their Service any more; how many. Raises KernelError."""
    ports = {one.number: one.entry for one in applied if one.entry.key.protocol == socket.IPPROTO_UDP}
    known = _flows((number, record) for number, entry in ports.items() for record in records(entry.backends))
    cut = 0
    for keys, values in table.chunks():
        udp = (keys["proto"] == socket.IPPROTO_UDP) & (values["marks"] & TranslationMark.REPLY == 0)
        keys, values = keys[udp], values[udp]
        flows = _flows(zip(values["service"].tolist(), map(bytes, backends(values)), strict=True))
        stale = ~np.isin(flows, known)
        kept = {flow for flow in set(map(bytes, flows[stale])) if _still_serves(flow, ports, wanted)}
        stale[stale] = [bytes(flow) not in kept for flow in flows[stale]]
        table.delete(np.concatenate((keys[stale], opposite(keys[stale], values[stale]))))
        cut += int(np.count_nonzero(stale))
    return cut


def lost_datagrams(before: ServiceTable, after: ServiceTable) -> bool:
    """Whether a UDP port has lost a backend from one table to the next."""
    touched, now = differing(before.blocks, after.blocks)
    has = {entry.key: set(records(entry.backends)) for block in now.values() for entry in block.entries}
    return any(
        not has.get(entry.key, set()).issuperset(records(entry.backends))
        for block in touched.values()
        for entry in block.entries
        if entry.key.protocol == socket.IPPROTO_UDP
    )


def _still_serves(flow: bytes, ports: Mapping[int, ServicePortEntry], table: ServiceTable) -> bool:
    """An endpoint that is not chosen any more, but answers as long as it drains, keeps its flows."""
    entry = ports.get(int.from_bytes(flow[:4], sys.byteorder))
    if entry is None:
        return False
    name = entry.key.name
    service = table.workings.services.get((name.namespace, name.name))
    slices = table.workings.slices.get((name.namespace, name.name), ())
    return any(
        candidate.record == flow[4:] and candidate.endpoint.serving
        for port in (service.spec.ports if service else ())
        if port.name == name.port_name and port.protocol.number == entry.key.protocol
        for candidate in candidates(port, slices, entry.key.family)
    )


def _flows(flows: Iterable[tuple[int, bytes]]) -> Columns:
    """Service number and backend as one opaque value each, shape (n,)."""
    return np.frombuffer(b"".join(number.to_bytes(4, sys.byteorder) + record for number, record in flows), _FLOW)


def backends(values: Columns) -> Columns:
    """Backends of the clients' directions, as opaque values of RECORD_SIZE bytes, shape (n,)."""
    places = np.zeros(len(values), [("addr", np.uint32, 4), ("port", ">u2")])
    places["addr"], places["port"] = values["dst"], values["dst_port"]
    return places.view(_OPAQUE)


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
    tcp = protocols == socket.IPPROTO_TCP
    limit[tcp] = OPENING
    limit[tcp & (both & ACK != 0)] = ESTABLISHED
    limit[tcp & (any_of & FIN != 0)] = HALF_CLOSED
    limit[tcp & ((both & FIN != 0) | (any_of & RST != 0))] = ENDED
    result: Columns = limit
    return result
