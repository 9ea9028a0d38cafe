"""Direct server return with XDP on both nodes: what holds without it holds with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ebpf.constants import Counter
from tests.integration.city import FAMILIES, vip
from tests.integration.test_uplink_direct import (
    Town,
    founded,
    test_a_sender_learns_that_the_way_to_the_backend_is_smaller,
    test_every_backend_sees_the_client_and_answers_as_the_frontend,
    test_fragments_that_leave_no_room_for_the_frontend_are_told_so_once_and_then_arrive,
    test_open_connections_outlive_the_death_and_return_of_both_agents,
)

__all__ = [
    "test_a_sender_learns_that_the_way_to_the_backend_is_smaller",
    "test_every_backend_sees_the_client_and_answers_as_the_frontend",
    "test_fragments_that_leave_no_room_for_the_frontend_are_told_so_once_and_then_arrive",
    "test_open_connections_outlive_the_death_and_return_of_both_agents",
]


@pytest.fixture(scope="module", name="town")
def town_fixture(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with founded(tmp_path_factory, wired=True, xdp="native", acceleration=True) as town:
        yield town


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_xdp_tells_the_frontend_to_the_node_of_the_backend(town: Town, family: int) -> None:
    before = town.counter(Counter.XDP_SENT)
    assert {name for name, _ in town.ask(*vip("LoadBalancer", "cluster", family), times=12)} == {"here", "there"}
    assert town.counter(Counter.XDP_SENT) > before
