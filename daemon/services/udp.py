"""A connected UDP socket must not stay with a backend that is gone.

The socket programs choose a backend once, at connect(). TCP notices a dead peer; a connected UDP socket goes on sending
into the void for as long as the application keeps it, as resolvers do for days. So when a backend leaves, the sockets
that were sent to it are closed from outside: recv() on them fails with ECONNABORTED, send() with EDESTADDRREQ, and the
application connects anew, to a backend that lives.

Nothing else is touched. An unconnected socket moves by itself with its next datagram. A socket that named the pod's own
address asked for this very pod. The map `reverses` tells them apart: with connect() the socket programs note there, by
the socket's cookie, that a Service gave it this backend.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.model.workload import IPAddress
from daemon.services.table import RECORD_SIZE, Block, ServiceTable, differing, records
from ebpf.addresses import MAPPED, pack, unpack
from ebpf.errors import RemoraError, UnsupportedError, describe
from ebpf.maps import HashMap
from ebpf.namespaces import enter, network_namespaces
from ebpf.sockdiag import SocketDiag, cookies

Columns = npt.NDArray[Any]
Target = tuple[IPAddress, int]

log = logging.getLogger(__name__)

ROUNDS = 16  # looks at one namespace: of sockets with the same addresses each round closes one
CANNOT_CLOSE = (
    "connected UDP sockets stay with backends that are gone: the kernel cannot close sockets of others; "
    "it needs CONFIG_INET_DIAG_DESTROY"
)

_PLACE = np.dtype([("addr", np.uint32, 4), ("port", np.uint16)])  # RECORD_SIZE bytes; both in network order
_OPAQUE = np.dtype((np.void, RECORD_SIZE))
_MAPPED = np.frombuffer(MAPPED, np.uint32)


@dataclass(frozen=True, slots=True)
class Closed:
    """What was done: sockets closed, namespaces looked at, what failed in words, sockets that could not be closed."""

    closed: int
    namespaces: int
    failures: tuple[str, ...]
    left: int = 0


def gone_backends(before: ServiceTable, after: ServiceTable) -> frozenset[Target]:
    """The UDP backends, ports in host order, that some UDP Service had and none has now."""
    touched, _ = differing(before.blocks, after.blocks)
    lost = _udp_backends(touched.values())
    if lost:
        lost -= _udp_backends(after.blocks.values())
    return _targets(lost)


def touches_datagrams(before: ServiceTable, after: ServiceTable) -> bool:
    """Whether a UDP port is other than before; where none is, no socket and no flow has to be looked for."""
    some = differing(before.blocks, after.blocks)
    entries = (entry for blocks in some for block in blocks.values() for entry in block.entries)
    return any(entry.key.protocol == socket.IPPROTO_UDP for entry in entries)


def orphaned_backends(reverses: HashMap, table: ServiceTable) -> frozenset[Target]:
    """The UDP backends that Services gave to sockets at some time and none has now: for an agent that just started."""
    keys, _ = reverses.items()
    noted = set(records(np.unique(_backends_of(keys)).tobytes()))
    return _targets(noted - _udp_backends(table.blocks.values()))


def close_stale(gone: Iterable[Target], reverses: HashMap) -> Closed:
    """Close, in every network namespace, the connected UDP sockets that a Service sent to one of these backends.

    Call it when the kernel's maps no longer name them, else the sockets come straight back. Blocks, about a fifth of a
    millisecond for each namespace; what fails is told and not raised.
    """
    targets = [pack(address) + port.to_bytes(2) for address, port in gone]
    if not targets:
        return Closed(0, 0, ())
    sweep = _Sweep(_Wanted(targets), reverses)
    with ThreadPoolExecutor(1, thread_name_prefix="remora-udp") as thread:  # it changes namespaces and then ends
        thread.submit(sweep.everywhere).result()
    return sweep.outcome()


def _reverse_keys(sockets: Columns, dtype: np.dtype[Any]) -> Columns:
    """Under which keys of `reverses` it is noted that a Service gave these sockets their peer, shape (n,)."""
    keys = np.zeros(len(sockets), dtype)
    peer = sockets["id"]
    keys["cookie"], keys["backend"], keys["port"] = cookies(sockets), peer["dst"], peer["dport"]
    short = sockets["family"] == socket.AF_INET
    keys["backend"][short, 3] = peer["dst"][short, 0]
    keys["backend"][short, :3] = _MAPPED
    return keys


def _backends_of(keys: Columns) -> Columns:
    """The backends in keys of `reverses`, as opaque records; shape (n,)."""
    places = np.zeros(len(keys), _PLACE)
    places["addr"], places["port"] = keys["backend"], keys["port"]
    opaque: Columns = places.view(_OPAQUE)
    return opaque


def _targets(backends: Iterable[bytes]) -> frozenset[Target]:
    return frozenset((unpack(record[:16]), int.from_bytes(record[16:])) for record in backends)


def _udp_backends(blocks: Iterable[Block]) -> set[bytes]:
    entries = (entry for block in blocks for entry in block.entries if entry.key.protocol == socket.IPPROTO_UDP)
    return {record for entry in entries for record in records(entry.backends)}


@cache
def _say_once(problem: str) -> None:
    log.warning("%s", problem)


class _Wanted:
    """The backends in question, as the kernel is asked for them and as columns are compared with them."""

    def __init__(self, targets: list[bytes]) -> None:
        self.records = np.frombuffer(b"".join(targets), _OPAQUE)
        ports = [int.from_bytes(target[16:]) for target in targets]
        self.ports = range(min(ports), max(ports) + 1)
        mapped = any(target.startswith(MAPPED) for target in targets)
        self.families = (socket.AF_INET, socket.AF_INET6) if mapped else (socket.AF_INET6,)

    def among(self, keys: Columns) -> Columns:
        """Which of these keys of `reverses` name one of the backends; shape (n,)."""
        mask: Columns = np.isin(_backends_of(keys), self.records)
        return mask


@dataclass(slots=True)
class _Sweep:
    """One way through all namespaces, and what came of it."""

    wanted: _Wanted
    reverses: HashMap
    closed: int = 0
    left: int = 0
    namespaces: int = 0
    failures: Counter[str] = field(default_factory=Counter)  # each in how many namespaces

    def everywhere(self) -> None:
        """Go through all namespaces, in a thread that has no other use. One that fails does not keep the others."""
        for namespace in network_namespaces():
            self.namespaces += 1
            try:
                enter(namespace)
                with SocketDiag() as diag:
                    self.one(diag)
            except UnsupportedError as error:
                self._unsupported(str(error))
                return
            except (OSError, RemoraError) as error:
                self.failures[str(error)] += 1
                log.debug("stale UDP sockets of %s: %s", namespace, error)

    def one(self, diag: SocketDiag) -> None:
        """Close what is stale in the namespace that `diag` sees."""
        for family in self.wanted.families:
            for _ in range(ROUNDS):
                stale = self._stale(diag.connected_udp(family, self.wanted.ports))
                if not len(stale):
                    break
                errors = diag.destroy(stale)
                self.closed += int(np.count_nonzero(errors == 0))
                if errno.EOPNOTSUPP in errors:
                    self.left += len(stale)
                    self._unsupported(CANNOT_CLOSE)
                    break
            else:
                self._survived(errors[errors != 0])

    def _stale(self, sockets: Columns) -> Columns:
        """Those of the sockets that go to one of the backends because a Service sent them there."""
        keys = _reverse_keys(sockets, self.reverses.key_dtype)
        near = np.flatnonzero(self.wanted.among(keys))
        return sockets[[index for index in near.tolist() if self.reverses.lookup(keys[index]) is not None]]

    def _survived(self, errors: Columns) -> None:
        self.left += len(errors)
        for code in np.unique(errors).tolist():
            self.failures[f"connected UDP sockets could not be closed: {describe(code)}"] += 1

    def _unsupported(self, problem: str) -> None:
        self.failures[problem] += 1
        _say_once(problem)

    def outcome(self) -> Closed:
        """What is told to the caller."""
        failures = (f"{text} (in {count} network namespaces)" for text, count in self.failures.items())
        return Closed(self.closed, self.namespaces, tuple(failures), self.left)
