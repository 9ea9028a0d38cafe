"""Property: whatever is changed into whatever, no look-up of a Service fails at any moment of the change."""

from __future__ import annotations

from collections import defaultdict
from enum import Enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.model.directory import Frontend, ServiceName
from daemon.model.workload import Node
from daemon.services.columns import read_state
from daemon.services.reconcile import ServiceReconciler
from daemon.services.table import Block, Origin, PortKey, ServicePortEntry, ServiceTable
from ebpf.addresses import pack
from ebpf.constants import FrontendFlag
from ebpf.errors import KernelError, MapFullError
from tests.unit.services.memory import MemoryMap, Reader, backend_map, service_map

NODE = Node("here")
FRONTENDS = [Frontend(pack(f"10.96.0.{number}"), 80, 6) for number in range(4)]
BACKENDS = [pack(f"10.0.0.{number}") + (8080).to_bytes(2) for number in range(7)]

backend_sets = st.frozensets(st.sampled_from(BACKENDS))
# Each frontend belongs to one of three Service ports, or to none; a port may have several frontends.
Shape = tuple[list[int], tuple[frozenset[bytes], ...]]
tables = st.tuples(st.lists(st.integers(0, 3), min_size=4, max_size=4), st.tuples(*[backend_sets] * 3))


def table_of(owners: list[int], backends: tuple[frozenset[bytes], ...]) -> ServiceTable:
    """Each Service also holds the address of its first frontend."""
    blocks = {}
    for owner, chosen in enumerate(backends, 1):
        places = [place for place, holder in zip(FRONTENDS, owners, strict=True) if holder == owner]
        if places:
            key = PortKey(ServiceName("shop", f"s{owner}"), 6, 4)
            frontends = dict.fromkeys(places, FrontendFlag.CLUSTER_IP)
            entry = ServicePortEntry(key, frontends, b"".join(sorted(chosen)), drop=owner == 2 and not chosen)
            address = Frontend(places[0].address, 0, 0)
            blocks[Origin(False, "shop", f"s{owner}")] = Block((entry,), (address,))
    return ServiceTable(NODE, blocks)


def wanted_of(table: ServiceTable) -> dict[Frontend, set[bytes]]:
    return {
        place: {entry.backends[start : start + 18] for start in range(0, len(entry.backends), 18)}
        for place, entry in table.frontends.items()
    }


class Bench:
    """A reconciler on small maps with a reader that watches every write."""

    def __init__(self, frontends: int, slots: int) -> None:
        self.services, self.backends = service_map(frontends), backend_map(slots)
        self.reader = Reader(self.services, self.backends)
        self.owners: dict[Frontend, set[PortKey]] = defaultdict(set)
        self.restart()

    def restart(self) -> None:
        self.reconciler = ServiceReconciler(self.services, self.backends, self.reader.grace)

    def apply(self, table: ServiceTable) -> None:
        """Apply; until its entry is switched, a frontend may also lead to what its old owner has now."""
        wanted = {entry.key: place for place, entry in table.frontends.items()}
        backends = wanted_of(table)
        old = {
            place: set().union(*(backends[wanted[key]] for key in keys if key in wanted))
            for place, keys in self.owners.items()
        }
        self.reader.expect(backends, old)
        for place, entry in table.frontends.items():
            self.owners[place].add(entry.key)
        self.reconciler.apply(table)

    def check(self, table: ServiceTable) -> None:
        """The maps hold exactly the table: no frontend more, and no slot more once all are collected."""
        wanted = wanted_of(table)
        assert self.reader.visible() == wanted
        expected = {place: (entry.count, entry.drop) for place, entry in table.frontends.items()}
        assert self.held() == expected | dict.fromkeys(table.addresses, (0, False))
        self.reader.grace()
        self.reconciler.collect(self.reconciler.written)
        assert len(self.backends.rows) == sum(entry.count for entry in table.entries)

    def held(self) -> dict[Frontend, tuple[int, bool]]:
        """All entries: how many slots they count, and whether they drop."""
        entries = read_state(self.services, self.backends).entries
        return {place: (entry.backends, bool(entry.flags & FrontendFlag.DROP)) for place, entry in entries.items()}


class Collect(Enum):
    """When the slots that a change left are deleted."""

    AT_ONCE = 0
    AFTER_THE_NEXT_CHANGE = 1
    NEVER = 2


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(tables, st.booleans(), st.sampled_from(Collect)), min_size=1, max_size=6))
def test_every_lookup_resolves_after_every_single_write(steps: list[tuple[Shape, bool, Collect]]) -> None:
    bench = Bench(16, 64)
    until = 0
    for (owners, backends), restart, when in steps:
        if restart:
            bench.restart()
            until = 0
        table = table_of(owners, backends)
        bench.apply(table)
        bench.reconciler.collect(until)
        until = bench.reconciler.written if when is Collect.AFTER_THE_NEXT_CHANGE else 0
        if when is Collect.AT_ONCE:
            bench.check(table)
        assert bench.reader.broken == []
    bench.check(table)
    assert bench.reader.broken == []


@settings(max_examples=300, deadline=None)
@given(st.lists(tables, min_size=2, max_size=6), st.integers(2, 4), st.integers(4, 14))
def test_a_map_that_is_too_small_keeps_the_old_state_or_takes_the_whole_new_one(
    steps: list[Shape], frontends: int, slots: int
) -> None:
    bench = Bench(frontends, slots)
    for owners, backends in steps:
        table = table_of(owners, backends)
        before = bench.reader.visible(), bench.held()
        try:
            bench.apply(table)
        except MapFullError:
            assert (bench.reader.visible(), bench.held()) == before
        else:
            assert bench.reader.visible() == wanted_of(table)
        assert bench.reader.broken == []


class Killed(Exception):
    pass


@settings(max_examples=300, deadline=None)
@given(tables, tables, tables, st.integers(1, 25))
def test_an_agent_killed_between_two_writes_leaves_a_state_that_the_next_one_repairs(
    first: Shape, second: Shape, third: Shape, writes: int
) -> None:
    bench = Bench(16, 64)
    bench.apply(table_of(*first))
    left = writes

    def count_down() -> None:
        nonlocal left
        bench.reader.look()
        left -= 1
        if left == 0:
            raise Killed

    bench.services.on_write = bench.backends.on_write = count_down
    try:
        bench.apply(table_of(*second))
    except Killed:
        bench.restart()
    bench.services.on_write = bench.backends.on_write = bench.reader.look
    bench.apply(table_of(*third))
    assert bench.reader.broken == []
    bench.check(table_of(*third))


@pytest.mark.parametrize("forward", [True, False], ids=["tried again", "taken back"])
def test_the_same_reconciler_recovers_after_a_failed_write(monkeypatch: pytest.MonkeyPatch, forward: bool) -> None:
    bench = Bench(16, 64)
    before = table_of([1, 0, 0, 0], (frozenset(BACKENDS[:3]), frozenset(), frozenset()))
    bench.apply(before)
    table = table_of([1, 2, 0, 0], (frozenset(BACKENDS[2:6]), frozenset(BACKENDS[:2]), frozenset()))

    def fail(*_: object) -> None:
        raise KernelError("cannot write", 12)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryMap, "delete", fail)
        patch.setattr(bench.services, "update", fail)
        with pytest.raises(KernelError):
            bench.apply(table)
    last = table if forward else before
    bench.apply(last)
    assert bench.reader.broken == []
    bench.check(last)
