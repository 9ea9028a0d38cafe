"""Services from outside with XDP on: what holds without it holds with it, in the driver and behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ebpf.constants import Counter
from tests.integration.city import FAMILIES, PROTOCOLS, City, built, vip
from tests.integration.test_uplink import (
    test_a_backend_of_the_node_itself_answers_under_the_frontends_address,
    test_a_client_outside_reaches_all_backends_and_is_seen_as_the_node,
    test_a_flow_of_datagrams_leaves_a_backend_that_is_gone_within_two_seconds,
    test_a_host_port_leads_to_its_pod_which_sees_the_client,
    test_a_sender_outside_learns_of_a_smaller_path,
    test_affinity_keeps_a_client_outside_with_its_backend,
    test_an_open_connection_outlives_the_agents_death_and_return,
    test_datagrams_in_fragments_arrive_and_are_answered,
    test_policy_local_reaches_backends_of_this_node_that_see_the_client,
    test_records_tell_the_client_the_frontend_and_the_service,
    test_where_nothing_serves_a_client_outside_is_refused_at_once,
)
from tests.support.outside import NODE, jumbo

__all__ = [
    "test_a_backend_of_the_node_itself_answers_under_the_frontends_address",
    "test_a_client_outside_reaches_all_backends_and_is_seen_as_the_node",
    "test_a_flow_of_datagrams_leaves_a_backend_that_is_gone_within_two_seconds",
    "test_a_host_port_leads_to_its_pod_which_sees_the_client",
    "test_a_sender_outside_learns_of_a_smaller_path",
    "test_affinity_keeps_a_client_outside_with_its_backend",
    "test_an_open_connection_outlives_the_agents_death_and_return",
    "test_datagrams_in_fragments_arrive_and_are_answered",
    "test_policy_local_reaches_backends_of_this_node_that_see_the_client",
    "test_records_tell_the_client_the_frontend_and_the_service",
    "test_where_nothing_serves_a_client_outside_is_refused_at_once",
]


@pytest.fixture(scope="module", name="city", params=["native", "generic"])
def city_fixture(
    root: None, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[City]:
    with built(tmp_path_factory.mktemp("agent"), wired=True, xdp=request.param, acceleration=True) as city:
        yield city


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_packets_to_other_machines_and_their_answers_are_sent_by_xdp(city: City, family: int, protocol: str) -> None:
    """At the turn of a window one a direction is left to TC, and where a port comes again that an older one had."""

    def all_sent() -> bool:
        before = city.counter(Counter.XDP_SENT)
        answers = city.ask(*vip("LoadBalancer", "cluster", family), protocol, times=20)
        assert {seen for _, seen in answers} == {NODE[family]}
        remote = sum(name == "there" for name, _ in answers)
        assert remote
        return city.counter(Counter.XDP_SENT) - before >= 2 * remote

    assert any(all_sent() for _ in range(3))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_frames_of_several_buffers_are_sent_by_xdp(city: City, family: int) -> None:
    with jumbo(city.world, city.node, city.neighbour):
        before = city.counter(Counter.XDP_SENT)
        answers = city.ask(*vip("LoadBalancer", "cluster", family), "UDP", size=2700)
        assert {name for name, _ in answers} == {"here", "there"}
        remote = sum(name == "there" for name, _ in answers)
        assert city.counter(Counter.XDP_SENT) - before > remote, "more than the answers, which are small"


def test_what_generic_xdp_lets_pass_is_served_by_tc_on_any_link(root: None, tmp_path: Path) -> None:
    """On one as drivers have them: with less room before a packet than XDP wants, so that the kernel makes some."""
    with built(tmp_path, xdp="generic") as city:
        for protocol in PROTOCOLS:
            assert {name for name, _ in city.ask(*vip("LoadBalancer", "cluster", 0), protocol)} == {"here", "there"}
