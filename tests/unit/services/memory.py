"""Maps in memory that behave as the kernel's do, and a reader that looks at them after every single write.

The kernel writes a batch entry by entry while programs read. So `on_write` is called after each entry, not after each
call, and tests can stand in for a program that runs exactly then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from daemon.model.directory import Frontend
from ebpf.errors import MapFullError
from ebpf.libbpf import MapType
from ebpf.maps import Columns, HashMap, MapSpec
from tests.support.layouts import dtype


class MemoryMap(HashMap):
    """A hash map without a kernel."""

    def __init__(self, name: str, key: str, value: str, max_entries: int) -> None:
        self.spec = MapSpec(name, MapType.HASH, dtype(key), dtype(value), max_entries)
        self.rows: dict[bytes, bytes] = {}
        self.on_write: Callable[[], None] = lambda: None
        self.calls = 0

    def items(self) -> tuple[Columns, Columns]:
        keys = np.frombuffer(b"".join(self.rows), self.key_dtype)
        return keys, np.frombuffer(b"".join(self.rows.values()), self.value_dtype)

    def chunks(self) -> Iterator[tuple[Columns, Columns]]:
        yield self.items()

    def lookup(self, key: Columns) -> Columns | None:
        found = self.rows.get(key.tobytes())
        return np.frombuffer(found, self.value_dtype) if found is not None else None

    def update(self, keys: Columns, values: Columns) -> None:
        assert keys.dtype == self.key_dtype
        assert values.dtype == self.value_dtype
        assert len(keys) == len(values)
        raw = [row.tobytes() for row in keys]
        if len(self.rows) + len(set(raw) - self.rows.keys()) > self.max_entries:
            raise MapFullError(f"map {self.name} is full")
        self.calls += 1
        for key, value in zip(raw, values, strict=True):
            self.rows[key] = value.tobytes()
            self.on_write()

    def delete(self, keys: Columns) -> None:
        assert keys.dtype == self.key_dtype
        self.calls += 1
        for key in keys:
            self.rows.pop(key.tobytes(), None)
            self.on_write()


def service_map(max_entries: int = 1 << 16) -> MemoryMap:
    return MemoryMap("services", "frontend_key", "frontend", max_entries)


def backend_map(max_entries: int = 1 << 18) -> MemoryMap:
    return MemoryMap("backends", "backend_key", "backend", max_entries)


class Reader:
    """What a program would find. `broken` collects look-ups that fail or lead to a stranger.

    A program that read an entry may still use it until the writer waited for it. So every entry seen since the last
    `grace` must go on to resolve, not only the present one.
    """

    def __init__(self, services: MemoryMap, backends: MemoryMap) -> None:
        self.services, self.backends = services, backends
        self.allowed: dict[Frontend, set[bytes]] = {}
        self.stay: set[Frontend] = set()
        self.seen: set[tuple[Frontend, int, int]] = set()
        self.broken: list[str] = []
        services.on_write = backends.on_write = self.look

    def expect(self, wanted: dict[Frontend, set[bytes]], also: dict[Frontend, set[bytes]]) -> None:
        """Begin a change: each frontend may lead to what it leads to now, to what is wanted, and `also` to that.

        A frontend that is to go may lead to anything until it is gone, but never to nothing.
        """
        now = self.visible()
        sources = (wanted, now, also)
        self.allowed = {place: set().union(*(source.get(place, set()) for source in sources)) for place in wanted}
        self.stay = {place for place in wanted if wanted[place] and now.get(place)}
        self.grace()

    def grace(self) -> None:
        self.seen = set(self.entries())

    def look(self) -> None:
        present = self.entries()
        self.seen.update(present)
        for place in self.stay - {place for place, _, count in present if count}:
            self.broken.append(f"{place} leads nowhere")
        for place, number, count in self.seen:
            for slot in range(count):
                record = self.record(number, slot)
                if record not in self.allowed.get(place, {record} - {None}):
                    self.broken.append(f"{place} slot {slot} of {count} of number {number} has {record!r}")

    def entries(self) -> list[tuple[Frontend, int, int]]:
        """Entries with slots; those that stand for an address have none."""
        keys, values = self.services.items()
        return [
            (_frontend(key), int(value["service"]), int(value["backends"]))
            for key, value in zip(keys, values, strict=True)
            if value["service"]
        ]

    def visible(self) -> dict[Frontend, set[bytes]]:
        """The backends of each frontend, as a program can reach them."""
        found = {}
        for place, number, count in self.entries():
            present = [self.record(number, slot) for slot in range(count)]
            found[place] = {record for record in present if record is not None}
        return found

    def record(self, number: int, slot: int) -> bytes | None:
        key = np.zeros(1, self.backends.key_dtype)
        key["service"], key["slot"] = number, slot
        value = self.backends.rows.get(key.tobytes())
        return value[:18] if value else None


def _frontend(key: np.void) -> Frontend:
    return Frontend(key["addr"].tobytes(), int.from_bytes(key["port"].tobytes()), int(key["proto"]), int(key["scope"]))
