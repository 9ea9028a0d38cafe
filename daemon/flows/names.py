"""DNS names of addresses, learned from the answers that workloads got.

An address outside the cluster says little; the name that the workload asked for just before says what it wanted. Names
are kept by who asked, as two clients may have reached one address under different names, and for everybody: whoever
did not ask itself (its resolver was out of sight, or cached) is told the name that others asked for.

A name holds for the time that the answer said, but at least an hour: connections and the records of them outlive the
seconds that load balancers give.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from daemon.flows.l7.messages import DnsMessage
from ebpf import addresses

CAPACITY = 8_192  # pairs of asker and address, and as many addresses
SHORTEST_NS = 3_600 * 10**9  # that a name is kept
_NAMES = 4  # names of one pair or address
_SECOND = 10**9

OnAnswer = Callable[[int, str, Sequence[bytes], int], None]
"""Called with an answer: number of the workload that asked (0: unknown), name without trailing dot, addresses (16 bytes
each), time to live (s). It runs in the reader's thread and must not block."""

log = logging.getLogger(__name__)


class _Table:
    """Keys to names with the times (ns) until which they hold. What was answered longest ago leaves first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._names: OrderedDict[bytes, tuple[tuple[str, int], ...]] = OrderedDict()

    def learn(self, key: bytes, name: str, until: int) -> bool:
        """Note a name; whether it is new."""
        new = all(name != known for known, _ in self._names.get(key, ()))
        others = tuple(one for one in self._names.get(key, ()) if one[0] != name)
        self._names[key] = (*others[-_NAMES + 1 :], (name, until))
        self._names.move_to_end(key)
        if len(self._names) > self._capacity:
            self._names.popitem(last=False)
        return new

    def names(self, key: bytes, now: int) -> tuple[str, ...]:
        return tuple(name for name, until in self._names.get(key, ()) if until > now)

    def keys(self, wanted: Callable[[str], bool], now: int) -> set[bytes]:
        known = self._names.copy().items()
        return {key for key, names in known if any(until > now and wanted(name) for name, until in names)}

    def __len__(self) -> int:
        return len(self._names)


class DnsNames:
    """Written by the reader thread, read by any."""

    def __init__(self, capacity: int = CAPACITY, now: Callable[[], int] = time.monotonic_ns) -> None:
        self._now = now
        self._by_asker = _Table(capacity)
        self._by_address = _Table(capacity)
        self._listeners: list[OnAnswer] = []
        self.version: object = object()
        """another object whenever an address has got another name"""

    def subscribe(self, on_answer: OnAnswer) -> None:
        """Call a function for every answer with addresses from now on."""
        self._listeners.append(on_answer)

    def learn(self, asker: bytes, message: DnsMessage, workload: int = 0) -> None:
        """Note the addresses of an answer that went to `asker` (16 bytes), a workload's number where it is one."""
        name = message.query.rstrip(".")
        packed = [addresses.pack(text) for text in message.ips]
        if not name or not packed:
            return
        until = self._now() + max(message.ttl * _SECOND, SHORTEST_NS)
        new = False
        for address in packed:
            new |= self._by_asker.learn(asker + address, name, until) | self._by_address.learn(address, name, until)
        if new:
            self.version = object()
        for listener in self._listeners:
            self._call(listener, workload, name, packed, message.ttl)

    def _call(self, listener: OnAnswer, workload: int, name: str, packed: Sequence[bytes], ttl: int) -> None:
        """A listener that fails must not cost the flow that brought the answer."""
        try:
            listener(workload, name, packed, ttl)
        except Exception:
            log.exception("a listener for DNS answers failed")

    def names(self, asker: bytes, address: bytes) -> tuple[str, ...]:
        """The names, without trailing dot, under which `asker` knows `address` (16 bytes each); () for none."""
        return self._by_asker.names(asker + address, self._now())

    def lookup(self, address: bytes) -> tuple[str, ...]:
        """The names under which anybody looked `address` (16 bytes) up, the last one last; () for none."""
        return self._by_address.names(address, self._now())

    def addresses(self, wanted: Callable[[str], bool]) -> set[bytes]:
        """The addresses (16 bytes) that somebody knows under a wanted name."""
        return self._by_address.keys(wanted, self._now())

    def __len__(self) -> int:
        return len(self._by_asker)
