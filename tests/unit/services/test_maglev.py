"""Maglev's table: equal shares, few places that change hands, and one table for all Services that are alike."""

from __future__ import annotations

import random
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.services.balance import Balance
from daemon.services.maglev import names, places
from tests.unit.services.memory import MemoryMap

SIZE = 2039


def record(address: int, port: int = 80) -> bytes:
    return address.to_bytes(16) + port.to_bytes(2)


def blob(*addresses: int, port: int = 80) -> bytes:
    return b"".join(sorted(record(address, port) for address in addresses))


SETS = st.sets(st.integers(0, 1 << 32), min_size=2, max_size=20)


@settings(deadline=None, max_examples=40)
@given(SETS)
def test_every_backend_has_an_equal_share(addresses: set[int]) -> None:
    shares = np.bincount(places(names(blob(*addresses)), SIZE), minlength=len(addresses))
    assert shares.sum() == SIZE
    assert shares.max() - shares.min() <= 1


@pytest.mark.parametrize("seed", range(40))
def test_a_backend_that_leaves_moves_its_own_places_and_few_others(seed: int) -> None:
    """Of sets as they come: where two backends walk the table alike, as some do, more places move."""
    chance = random.Random(seed)
    before = sorted(chance.sample(range(1 << 32), chance.randint(2, 20)))
    gone = chance.choice(before)
    after = [address for address in before if address != gone]
    one = np.array(before)[places(names(blob(*before)), SIZE)]
    other = np.array(after)[places(names(blob(*after)), SIZE)]
    moved = np.count_nonzero((one != other) & (one != gone))
    assert moved <= 0.05 * SIZE
    assert np.count_nonzero(one != other) <= SIZE / len(before) + 1 + moved


def walked(owners: tuple[bytes, ...], size: int) -> list[int]:
    """The table as the paper builds it, one place after the other."""
    table = [-1] * size
    digests = [blake2b(owner, digest_size=16, key=b"remora maglev 1").digest() for owner in owners]
    walks = [[int.from_bytes(one[:8]) % size, int.from_bytes(one[8:]) % (size - 1) + 1] for one in digests]
    for turn in range(size):
        walk = walks[turn % len(owners)]
        while table[walk[0]] >= 0:
            walk[0] = (walk[0] + walk[1]) % size
        table[walk[0]] = turn % len(owners)
    return table


@settings(deadline=None, max_examples=20)
@given(SETS, st.sampled_from([251, 509, 1021]))
def test_the_table_is_the_one_that_the_paper_builds(addresses: set[int], size: int) -> None:
    owners = names(blob(*addresses))
    assert places(owners, size).tolist() == walked(owners, size)


def test_ports_of_one_service_have_the_same_table_and_twice_the_same_address_has_two_names() -> None:
    assert names(blob(1, 2, 3, port=80)) == names(blob(1, 2, 3, port=81))
    assert len(set(names(b"".join(sorted((record(1, 80), record(1, 81), record(2, 80))))))) == 3


def made(rows: int) -> dict[str, MemoryMap]:
    service = MemoryMap("maglevs", "backend_key", "maglev", 1 << 10)
    service.spec = type(service.spec)("maglevs", service.spec.kind, np.dtype(np.uint32), service.spec.value, 1 << 10)
    return {
        "maglevs": service,
        "maglev_rows": MemoryMap("maglev_rows", "maglev_key", "maglev_row", rows),
        "maglev_backends": MemoryMap("maglev_backends", "backend_key", "backend", 1 << 10),
    }


def lead(balance: Balance, wanted: dict[int, bytes]) -> None:
    balance.want(wanted)
    while balance.pending:
        balance.work()


def resolved(maps: dict[str, MemoryMap]) -> dict[int, np.ndarray]:
    """What each Service's places lead to, read from the maps as a program does."""
    found = {}
    keys, values = maps["maglev_rows"].items()
    rows = {(int(key["table"]), int(key["row"])): value["index"] for key, value in zip(keys, values, strict=True)}
    keys, values = maps["maglev_backends"].items()
    backends = {(int(key["service"]), int(key["slot"])): bytes(value) for key, value in zip(keys, values, strict=True)}
    for number, value in zip(*maps["maglevs"].items(), strict=True):
        if value["table"]:
            size, table = int(value["places"]), int(value["table"])
            index = np.concatenate([rows[table, row] for row in range(-(-size // 128))])[:size]
            found[int(number)] = np.array([backends[int(value["list"]), int(one)] for one in index])
    return found


STATES = st.lists(
    st.dictionaries(st.integers(1, 5), st.sets(st.integers(1, 9), min_size=2), max_size=4), min_size=1, max_size=5
)


@settings(deadline=None, max_examples=25)
@given(STATES, st.booleans())
def test_after_any_changes_the_maps_say_what_a_fresh_agent_would_write(
    states: list[dict[int, set[int]]], restart: bool
) -> None:
    maps, fresh = made(256), made(256)
    balance = Balance(maps, 251)
    for state in states:
        if restart:
            balance = Balance(maps, 251)
        lead(balance, {number: blob(*addresses) for number, addresses in state.items()})
        balance.collect(balance.spare)
    lead(Balance(fresh, 251), {number: blob(*addresses) for number, addresses in states[-1].items()})
    one, other = resolved(maps), resolved(fresh)
    assert one.keys() == other.keys() == states[-1].keys()
    assert all((one[number] == other[number]).all() for number in one)
    assert {name: len(table.rows) for name, table in maps.items()} == {
        name: len(table.rows) for name, table in fresh.items()
    }


def test_what_has_no_room_is_left_out_and_the_others_have_their_tables() -> None:
    maps = made(4)
    balance = Balance(maps, 251)
    lead(balance, {number: blob(number, number + 1) for number in (1, 2, 3)})
    assert balance.left_out == 1
    assert len(resolved(maps)) == 2
    lead(balance, {number: blob(number, number + 1) for number in (2, 3)})
    balance.collect(balance.spare)
    lead(balance, {2: blob(2, 3), 3: blob(3, 4), 4: blob(3, 4, port=81)})
    assert balance.left_out == 0
    assert len(resolved(maps)) == 3
