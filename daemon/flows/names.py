"""DNS names of addresses, learned from the answers that workloads got.

An address outside the cluster says little; the name that the workload asked for just before says what it wanted. Names
are kept by who asked: two clients may have reached one address under different names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from daemon.flows.l7.messages import DnsMessage
from ebpf import addresses

CAPACITY = 8_192  # pairs of asker and address
_NAMES = 4  # names of one pair


class DnsNames:
    """Written by the reader thread, read by any. The pairs that were answered longest ago leave first."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._names: OrderedDict[bytes, tuple[str, ...]] = OrderedDict()
        self.version: object = object()
        """another object whenever an address has got another name"""

    def learn(self, asker: bytes, message: DnsMessage) -> None:
        """Note the addresses of an answer that went to `asker` (16 bytes)."""
        name = message.query.rstrip(".")
        if not name:
            return
        for text in message.ips:
            key = asker + addresses.pack(text)
            known = self._names.get(key, ())
            if name not in known:
                self._names[key] = (*known[1 - _NAMES :], name)
                self.version = object()
            self._names.move_to_end(key)
        while len(self._names) > self._capacity:
            self._names.popitem(last=False)

    def names(self, asker: bytes, address: bytes) -> tuple[str, ...]:
        """The names, without trailing dot, under which `asker` knows `address` (16 bytes each); () for none."""
        return self._names.get(asker + address, ())

    def addresses(self, wanted: Callable[[str], bool]) -> set[bytes]:
        """The addresses (16 bytes) that somebody knows under a wanted name."""
        return {key[16:] for key, names in self._names.copy().items() if any(map(wanted, names))}

    def __len__(self) -> int:
        return len(self._names)
