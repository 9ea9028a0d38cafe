"""A number for every Service port, the same after a restart.

Connections that the kernel has translated carry the number, and so do stored flows. So it must not change when the
agent restarts, and must not come to mean another Service while it runs. The kernel's `services` map remembers numbers
by frontend; a new agent adopts them from there once, and gives everything newer a number above all that it has seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from daemon.model.directory import Frontend
from daemon.services.table import PortKey, ServicePortEntry, ServiceTable


class NumberBook:
    """Numbers by Service port."""

    def __init__(self, by_frontend: Mapping[Frontend, int], seen: Iterable[int], table: ServiceTable) -> None:
        """Adopt the kernel's numbers for the table's ports; `seen` are all that the maps mention without a frontend."""
        self._last = max([0, *by_frontend.values(), *seen])
        self._by_key: dict[PortKey, int] = {}
        for number, key in _owners(by_frontend, table):
            self._by_key.setdefault(key, number)

    def number(self, entry: ServicePortEntry) -> int:
        """The number of a port; a new one where it has none."""
        if entry.key not in self._by_key:
            self._last += 1
            self._by_key[entry.key] = self._last
        return self._by_key[entry.key]

    def keep_only(self, keys: Iterable[PortKey]) -> None:
        """Forget all other ports: if they come back, they are new."""
        self._by_key = {key: self._by_key[key] for key in keys}

    def forget(self, keys: Iterable[PortKey]) -> None:
        """Forget these ports."""
        for key in keys:
            self._by_key.pop(key, None)


def _owners(by_frontend: Mapping[Frontend, int], table: ServiceTable) -> Iterable[tuple[int, PortKey]]:
    """Numbers whose frontends all belong to one port now. Any other would show one Service another's backends."""
    owners: dict[int, set[PortKey]] = defaultdict(set)
    for frontend, number in by_frontend.items():
        entry = table.frontends.get(frontend)
        if entry and number:
            owners[number].add(entry.key)
    return ((number, keys.pop()) for number, keys in owners.items() if len(keys) == 1)
