"""Numbers for workloads and identities that survive a restart of the agent.

The kernel's connection entries carry workload numbers, so a new agent must go on with the old ones. It reads them
back by address from the pinned map; nothing else has to be stored. A number is never given to a second workload as
long as the agent lives, since flows told later still refer to it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping


class Numbers:
    """One number per key: known, else recovered by one of its addresses, else new. Never below `first`."""

    def __init__(self, first: int, recovered: Mapping[bytes, int]) -> None:
        self._recovered = {address: number for address, number in recovered.items() if number >= first}
        self._next = max([first - 1, *self._recovered.values()]) + 1
        self._known: dict[Hashable, int] = {}
        self._given: set[int] = set()

    def of(self, key: Hashable, addresses: Iterable[bytes]) -> int:
        """The key's number, which it keeps."""
        number = self._known.get(key)
        if number is None:
            number = self._recover(addresses)
            self._known[key] = number
            self._given.add(number)
        return number

    def inherit(self, heir: Hashable, key: Hashable) -> None:
        """Let `heir` go on under the number of `key`, which is the same workload under an earlier name."""
        if heir not in self._known and key in self._known:
            self._known[heir] = self._known.pop(key)

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Drop these keys; should one come back, it gets a new number."""
        for key in keys:
            self._known.pop(key, None)

    def _recover(self, addresses: Iterable[bytes]) -> int:
        for address in addresses:
            number = self._recovered.pop(address, 0)
            if number and number not in self._given:
                return number
        self._next += 1
        return self._next - 1
