"""Live connections, counted in columns of the connection table."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from daemon.agent import live
from daemon.agent.live import Live
from ebpf.addresses import pack
from ebpf.constants import Direction
from tests.support.layouts import dtype

CLIENT, BACKEND = "10.0.0.1", "10.0.0.2"
RECORD = pack(BACKEND) + (8080).to_bytes(2)


def count(chunks: list[tuple[Any, Any]], services: Collection[int]) -> Live:
    return live.count(chunks, services, lambda key: None)


def connection(port: int, direction: Direction = Direction.EGRESS, **value: Any) -> tuple[Any, Any]:
    """Client's `port` to backend's 8080, as the device of the one or (INGRESS) of the other sees it."""
    keys, values = np.zeros(1, dtype("conn_key")), np.zeros(1, dtype("conn"))
    ends = [(CLIENT, port), (BACKEND, 8080)]
    for side, (address, number) in zip(
        ("local", "remote"), ends if direction is Direction.EGRESS else ends[::-1], strict=True
    ):
        keys[side], keys[f"{side}_port"] = np.frombuffer(pack(address), np.uint32), number
    keys["proto"], keys["ifindex"] = 6, direction
    values["direction"], values["service"] = direction, 7
    for name, content in value.items():
        values[name] = content
    return keys, values


def test_connections_are_counted_by_service_and_backend() -> None:
    assert count([connection(1), connection(2)], {7}) == {(7, RECORD): 2}


def test_one_that_both_devices_see_counts_once() -> None:
    assert count([connection(1), connection(1, Direction.INGRESS)], {7}) == {(7, RECORD): 1}


def test_one_that_only_the_backends_device_sees_counts() -> None:
    assert count([connection(1, Direction.INGRESS)], {7}) == {(7, RECORD): 1}


def test_ended_ones_and_those_of_other_services_do_not_count() -> None:
    assert count([connection(1, ended=1), connection(2, service=8), connection(3, service=0)], {7}) == {}


def test_an_empty_table_counts_nothing() -> None:
    assert count([], {7}) == {}
    assert count([connection(1)], ()) == {}


def test_a_workload_that_is_its_own_backend_is_counted_there() -> None:
    keys, values = connection(1, detoured=1)
    keys["remote"] = np.frombuffer(pack("10.96.0.1"), np.uint32)
    detour = np.zeros(1, dtype("detour"))
    detour["backend"]["addr"] = np.frombuffer(pack(BACKEND), np.uint32)
    detour["backend"]["port"] = np.array(8080, ">u2").view(np.uint16)
    seen = [(keys, values), connection(1, Direction.INGRESS, detoured=1)]
    assert live.count(seen, {7}, lambda key: detour if key == keys else None) == {(7, RECORD): 1}
