"""A connected UDP socket must not stay with a backend that is gone.

The socket programs choose a backend once, at connect(). TCP notices a dead peer; a connected UDP socket goes on sending
into the void for as long as the application keeps it, as resolvers do for days. So when a backend stops serving, the
sockets that were sent to it are closed from outside: recv() on them fails with ECONNABORTED, send() with EDESTADDRREQ,
and the application connects anew, to a backend that lives.

Nothing else is touched. An unconnected socket moves by itself with its next datagram. A socket that named the pod's own
address asked for this very pod. The map `reverses` tells them apart: with connect() the socket programs note there, by
the socket's cookie, that a Service gave it this backend.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.services.datagrams import flows, places
from ebpf.addresses import MAPPED
from ebpf.errors import RemoraError, UnsupportedError, describe
from ebpf.maps import HashMap
from ebpf.namespaces import enter, network_namespaces
from ebpf.sockdiag import SocketDiag, cookies

Columns = npt.NDArray[Any]

log = logging.getLogger(__name__)

ROUNDS = 16  # looks at one namespace: of sockets with the same addresses each round closes one
CANNOT_CLOSE = (
    "connected UDP sockets stay with backends that are gone: the kernel cannot close sockets of others; "
    "it needs CONFIG_INET_DIAG_DESTROY"
)

_MAPPED = np.frombuffer(MAPPED, np.uint32)


@dataclass(frozen=True, slots=True)
class Closed:
    """What was done: sockets closed, namespaces looked at, what failed in words, sockets that could not be closed."""

    closed: int
    namespaces: int
    failures: tuple[str, ...]
    left: int = 0


def close_stale(reverses: HashMap, kept: Columns) -> Closed:
    """Close, in every network namespace, the connected UDP sockets that Services sent where they may not stay.

    `kept` are the flows that may go on (`datagrams.keepable`). Call it when the kernel's maps no longer name the other
    backends, else the sockets come straight back. Blocks, about a fifth of a millisecond for each namespace where there
    is a reason to look; what fails is told and not raised.
    """
    keys, values = reverses.items()
    lost = keys[~np.isin(_flows(keys, values), kept)]
    if not len(lost):
        return Closed(0, 0, ())
    sweep = _Sweep(_Wanted(_backends_of(lost)), kept, reverses)
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
    return places(keys["backend"], keys["port"].astype(np.uint16).view(">u2"))


def _flows(keys: Columns, values: Columns) -> Columns:
    """The flows that entries of `reverses` tell of; shape (n,)."""
    return flows(values["service"], _backends_of(keys))


@cache
def _say_once(problem: str) -> None:
    log.warning("%s", problem)


class _Wanted:
    """The backends in question, as the kernel is asked for them and as columns are compared with them."""

    def __init__(self, backends: Columns) -> None:
        self.records = np.unique(backends)
        found = [bytes(record) for record in self.records]
        ports = [int.from_bytes(record[16:]) for record in found]
        self.ports = range(min(ports), max(ports) + 1)
        mapped = any(record.startswith(MAPPED) for record in found)
        self.families = (socket.AF_INET, socket.AF_INET6) if mapped else (socket.AF_INET6,)

    def among(self, keys: Columns) -> Columns:
        """Which of these keys of `reverses` name one of the backends; shape (n,)."""
        mask: Columns = np.isin(_backends_of(keys), self.records)
        return mask


@dataclass(slots=True)
class _Sweep:
    """One way through all namespaces, and what came of it."""

    wanted: _Wanted
    kept: Columns  # the flows that may go on
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
        """Those of the sockets that go to one of the backends because a Service that lost it sent them there."""
        keys = _reverse_keys(sockets, self.reverses.key_dtype)
        near = np.flatnonzero(self.wanted.among(keys))
        return sockets[[index for index in near.tolist() if self._lost(keys[index : index + 1])]]

    def _lost(self, key: Columns) -> bool:
        noted = self.reverses.lookup(key)
        return noted is not None and not np.isin(_flows(key, noted), self.kept)[0]

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
