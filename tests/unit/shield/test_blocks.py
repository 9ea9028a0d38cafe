"""Addresses in blocks: each is found where its hash leads, or is said to be elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.shield import blocks
from ebpf.constants import ShieldSaid

BLOCK = np.dtype([("addr", "<u4", (10,)), ("said", "<u2", (10,)), ("more", "<u2"), ("pad", "<u2")])
MOST = 32_768
LAST = 0xFFFF // ShieldSaid.RULE  # the last number of a list that a slot has room for


def drawn(count: int, seed: int) -> blocks.Words:
    return np.random.default_rng(seed).choice(1 << 32, count, replace=False).astype(np.uint32)


def saying(rules: blocks.Words) -> blocks.Words:
    allow, dry = rules % 2 == 0, rules % 3 == 0
    return blocks.say(rules, allow, dry)


@pytest.mark.parametrize("count", [1, 2, 7, 100, 10_000, 100_000])
def test_an_address_is_in_its_block_with_what_is_said_of_it_or_its_block_says_that_there_are_more(count: int) -> None:
    addresses, said = drawn(count, count), saying(drawn(count, 1) % np.uint32(LAST) + np.uint32(1))
    rows, over = blocks.spread(addresses, said, BLOCK, MOST)
    assert len(rows) & (len(rows) - 1) == 0 < len(rows)
    homes = rows[blocks.mixed(addresses) & np.uint32(len(rows) - 1)]
    found = np.where(homes["addr"] == addresses[:, None], homes["said"], 0).max(axis=1)
    assert (found[~over] == said[~over]).all()
    assert not found[over].any()
    assert homes["more"][over].all()
    assert over.mean() < 0.05
    assert dict(zip(*map(np.ndarray.tolist, blocks.gathered(rows)), strict=True)) == dict(
        zip(addresses[~over].tolist(), said[~over].tolist(), strict=True)
    )


def test_the_same_addresses_in_another_order_are_the_same_blocks() -> None:
    addresses, said = drawn(5_000, 3), saying(np.arange(1, 5_001, dtype=np.uint32))
    order = np.random.default_rng(4).permutation(5_000)
    assert (
        blocks.spread(addresses, said, BLOCK, MOST)[0] == blocks.spread(addresses[order], said[order], BLOCK, MOST)[0]
    ).all()


def test_neighbours_are_spread_as_strangers_are() -> None:
    in_a_row = np.arange(0x0B000000, 0x0B000000 + 100_000, dtype=np.uint32).byteswap()
    _, over = blocks.spread(in_a_row, np.full(100_000, 256, np.uint32), BLOCK, MOST)
    assert over.mean() < 0.05


def test_what_a_slot_has_no_room_for_is_elsewhere() -> None:
    rules = np.array([LAST, LAST + 1], np.uint32)
    rows, over = blocks.spread(drawn(2, 5), blocks.say(rules, rules == 0, rules == 0), BLOCK, MOST)
    assert over.tolist() == [False, True]
    assert rows["more"].sum() == 1


def test_more_addresses_than_slots_are_elsewhere() -> None:
    addresses = drawn(1_000, 6)
    rows, over = blocks.spread(addresses, np.full(1_000, 256, np.uint32), BLOCK, 50)
    assert len(rows) == 32
    assert over.sum() == 1_000 - (rows["said"] > 0).sum() >= 1_000 - 320


@pytest.mark.parametrize(("count", "most"), [(0, MOST), (5, 1), (5, 0)])
def test_without_addresses_or_room_there_are_no_blocks(count: int, most: int) -> None:
    rows, over = blocks.spread(drawn(count, 7), np.full(count, 256, np.uint32), BLOCK, most)
    assert len(rows) == 0
    assert over.all()


def test_one_address_is_asked_for_by_its_place() -> None:
    addresses, said = drawn(300, 8), saying(np.arange(1, 301, dtype=np.uint32))
    rows, over = blocks.spread(addresses, said, BLOCK, MOST)
    for address, what, elsewhere in zip(addresses.tolist(), said.tolist(), over.tolist(), strict=True):
        row = rows[blocks.place(address, len(rows))]
        assert blocks.found_in(row, address) == (0 if elsewhere else what)
        assert blocks.found_in(row, address ^ 1) == 0 or address ^ 1 in addresses
