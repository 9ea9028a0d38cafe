"""Maglev, packet by packet: the choice follows from the client alone, the same on every node."""

from __future__ import annotations

from collections import Counter as Tally
from ipaddress import ip_address

import numpy as np
import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Packet

from daemon.services.balance import Balance
from ebpf.addresses import pack
from ebpf.constants import Counter, FrontendFlag
from tests.bpf.uplink_gate import (
    FAMILIES,
    KINDS,
    PORT,
    TARGET,
    V4,
    V6,
    Family,
    Gate,
    frame,
    gate_fixture,
    place_fixture,
    segment,
)

__all__ = ["gate_fixture", "place_fixture"]

SIZE = 4093
CLIENTS = 60


def backends(family: Family, count: int) -> list[str]:
    return [str(ip_address(family.there) + index) for index in range(count)]


def blob(addresses: list[str]) -> bytes:
    return b"".join(sorted(pack(address) + TARGET.to_bytes(2) for address in addresses))


@pytest.fixture(name="balance")
def balance_fixture(gate: Gate) -> Balance:
    for name in ("maglevs", "maglev_rows", "maglev_backends"):
        table = gate.wire.datapath.maps[name]
        table.delete(table.items()[0])
    return Balance(gate.wire.datapath.maps, SIZE)


def lead(balance: Balance, wanted: dict[int, list[str]]) -> None:
    balance.want({number: blob(addresses) for number, addresses in wanted.items()})
    while balance.pending:
        balance.work()


def chosen(gate: Gate, family: Family, kind: type[Packet], vip: str, first: int = 20000) -> list[str]:
    """Which backend each of many clients gets; nothing stays of them."""
    found = []
    for port in range(first, first + CLIENTS):
        _, out = gate.comes(frame(family.layer(src=family.client, dst=vip) / segment(kind, port, PORT)))
        found.append(out[family.layer].dst)
    gate.table.delete(gate.table.items()[0])
    return found


@KINDS
@FAMILIES
def test_two_nodes_that_number_slots_and_services_differently_choose_alike(
    gate: Gate, balance: Balance, family: Family, kind: type[Packet]
) -> None:
    some = backends(family, 7)
    gate.serve(family.vip, 300, some, FrontendFlag.LOAD_BALANCER)
    gate.serve(family.local_vip, 301, some[::-1], FrontendFlag.LOAD_BALANCER)
    lead(balance, {300: some})
    one = chosen(gate, family, kind, family.vip)
    other = Balance(gate.wire.datapath.maps, SIZE)
    lead(other, {301: some})
    assert chosen(gate, family, kind, family.local_vip) == one
    assert len(set(one)) > 3


@FAMILIES
def test_a_backend_that_leaves_takes_only_its_own_clients_along(gate: Gate, balance: Balance, family: Family) -> None:
    some = backends(family, 6)
    gate.serve(family.vip, 300, some, FrontendFlag.LOAD_BALANCER)
    lead(balance, {300: some})
    before = chosen(gate, family, TCP, family.vip)
    gone = Tally(before).most_common(1)[0][0]
    left = [address for address in some if address != gone]
    gate.serve(family.vip, 300, left, FrontendFlag.LOAD_BALANCER)
    lead(balance, {300: left})
    after = chosen(gate, family, TCP, family.vip)
    assert gone not in after
    moved = sum(one != other for one, other in zip(before, after, strict=True) if one != gone)
    assert moved <= 2


@FAMILIES
def test_with_affinity_the_clients_port_does_not_matter(gate: Gate, balance: Balance, family: Family) -> None:
    some = backends(family, 6)
    gate.serve(family.vip, 300, some, FrontendFlag.LOAD_BALANCER, affinity=600)
    lead(balance, {300: some})
    assert len(set(chosen(gate, family, TCP, family.vip))) == 1
    table = gate.wire.datapath.maps["affinities"]
    table.delete(table.items()[0])
    assert len(set(chosen(gate, family, TCP, family.vip, 30000)) | set(chosen(gate, family, TCP, family.vip))) == 1


def test_without_room_for_a_table_backends_are_drawn_and_that_is_counted(gate: Gate) -> None:
    some = backends(V4, 3)
    gate.serve(V4.vip, 300, some, FrontendFlag.LOAD_BALANCER)
    key = gate.wire.datapath.maps["maglevs"].key_dtype
    gate.wire.datapath.maps["maglevs"].update(
        np.array([300], key), np.zeros(1, gate.wire.datapath.maps["maglevs"].value_dtype)
    )
    before = gate.wire.counter(Counter.MAGLEV_MISSING)
    assert set(chosen(gate, V4, UDP, V4.vip)) == set(some)
    assert gate.wire.counter(Counter.MAGLEV_MISSING) == before + CLIENTS


def test_services_that_are_alike_share_a_table_and_a_new_agent_takes_it_over(gate: Gate, balance: Balance) -> None:
    maps = gate.wire.datapath.maps
    some, others = backends(V4, 4), backends(V6, 4)
    lead(balance, {300: some, 301: some, 302: others})
    held = maps["maglevs"].items()
    assert len({tuple(value)[:2] for value in held[1].tolist()}) == 2
    rows = -(-SIZE // 128)
    assert len(maps["maglev_rows"].items()[0]) == 2 * rows
    fresh = Balance(maps, SIZE)
    lead(fresh, {300: some, 301: some, 302: others})
    again = maps["maglevs"].items()
    assert sorted(zip(held[0].tolist(), held[1].tolist(), strict=True)) == sorted(
        zip(again[0].tolist(), again[1].tolist(), strict=True)
    )
    lead(fresh, {300: some})
    fresh.collect(fresh.spare)
    assert len(maps["maglev_rows"].items()[0]) == rows
    assert len(maps["maglev_backends"].items()[0]) == 4
    assert fresh.spare == 0
