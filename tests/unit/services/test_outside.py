"""What clients outside get: frontends of their own where the policy is Local, and ranges that keep strangers out."""

from __future__ import annotations

import pytest

from daemon.agent.verify import verify_ranges
from daemon.services import Applied, ServicePortEntry, ServiceTable
from daemon.services.exposure import OUTSIDE
from daemon.services.ranges import write_ranges
from ebpf.addresses import text
from ebpf.constants import FrontendFlag
from tests.unit.services.build import compiled, service, slice_
from tests.unit.services.memory import MemoryMap

ENDPOINTS = [{"addresses": ["10.0.0.1"], "nodeName": "here"}, {"addresses": ["10.0.0.2"], "nodeName": "there"}]


def web(**spec: object) -> ServiceTable:
    made = service(
        "web",
        "10.96.0.1",
        {"port": 80, "nodePort": 30080},
        type="LoadBalancer",
        externalIPs=["203.0.113.9"],
        ingress=[{"ip": "198.51.100.1"}],
        **spec,
    )
    return compiled(made, slice_("web", "10.0.0.1", endpoints=ENDPOINTS))


def by_scope(table: ServiceTable) -> dict[int, dict[str, ServicePortEntry]]:
    found: dict[int, dict[str, ServicePortEntry]] = {0: {}, 1: {}}
    for place, entry in table.frontends.items():
        found[place.scope][text(place.address)] = entry
    return found


def test_policy_local_gives_the_outside_of_a_service_entries_of_its_own_and_the_inside_none() -> None:
    found = by_scope(web(externalTrafficPolicy="Local"))
    assert set(found[OUTSIDE]) == {"0.0.0.0", "203.0.113.9", "198.51.100.1"}
    assert {entry.targets() for entry in found[OUTSIDE].values()} == {found[OUTSIDE]["0.0.0.0"].targets()}
    assert [str(address) for address, _ in found[OUTSIDE]["0.0.0.0"].targets()] == ["10.0.0.1"]
    assert {entry.count for entry in found[0].values()} == {2}


def test_an_entry_says_that_there_is_another_for_the_outside() -> None:
    for place, entry in web(externalTrafficPolicy="Local").frontends.items():
        flags = entry.frontends[place]
        twin = FrontendFlag.CLUSTER_IP not in flags and not place.scope
        assert (FrontendFlag.OUTSIDE in flags) is twin


def test_policy_cluster_has_no_entries_for_the_outside() -> None:
    assert by_scope(web())[OUTSIDE] == {}


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ([" 192.0.2.0/24 ", "198.51.100.7/32"], {(32 + 96 + 24, "192.0.2.0"), (32 + 128, "198.51.100.7")}),
        (["192.0.2.0/24", "0.0.0.0/0"], set()),
        (["2001:db8::/32"], set()),
        (["192.0.2.77/24", "nonsense"], {(32 + 96 + 24, "192.0.2.0")}),
        ([], set()),
    ],
)
def test_source_ranges_guard_the_balancers_address_alone(listed: list[str], expected: set[tuple[int, str]]) -> None:
    table = web(loadBalancerSourceRanges=listed)
    ranges = MemoryMap("source_ranges", "range_key", "address_key", 100)
    write_ranges(ranges, [Applied(9, entry) for entry in table.entries])
    keys, _ = ranges.items()
    assert {(int(key["prefix"]), text(key["addr"].tobytes())) for key in keys} == expected
    assert {int(key["service"]) for key in keys} <= {9}
    guarded = {
        text(place.address) for place, one in table.frontends.items() if FrontendFlag.RANGES in one.frontends[place]
    }
    assert guarded == ({"198.51.100.1"} if expected else set())


def test_verify_tells_ranges_that_the_kernel_lacks_and_those_it_has_too_much() -> None:
    ranges = MemoryMap("source_ranges", "range_key", "address_key", 100)
    table = web(loadBalancerSourceRanges=["192.0.2.0/24"])
    numbers = {entry.key: 9 for entry in table.entries}
    assert [(one.kind, one.wanted) for one in verify_ranges(ranges, table, numbers)] == [("missing", "192.0.2.0/24")]
    write_ranges(ranges, [Applied(9, entry) for entry in table.entries])
    assert list(verify_ranges(ranges, table, numbers)) == []
    assert [(one.kind, one.found) for one in verify_ranges(ranges, web(), numbers)] == [("extra", "192.0.2.0/24")]


def test_ranges_that_are_listed_no_more_are_taken_away() -> None:
    ranges = MemoryMap("source_ranges", "range_key", "address_key", 100)
    for listed in (["192.0.2.0/24", "198.51.100.0/24"], ["198.51.100.0/24"]):
        write_ranges(ranges, [Applied(9, entry) for entry in web(loadBalancerSourceRanges=listed).entries])
    assert [text(key["addr"].tobytes()) for key in ranges.items()[0]] == ["198.51.100.0"]


def test_addresses_with_leading_zeros_are_served_as_kube_proxy_serves_them() -> None:
    padded = service("web", "010.096.000.001", {"port": 80}, externalIPs=["203.000.113.009"])
    table = compiled(padded, slice_("web", "010.0.0.001"))
    assert {text(place.address) for place in table.frontends} >= {"10.96.0.1", "203.0.113.9"}
    assert [str(address) for address, _ in table.entries[0].targets()] == ["10.0.0.1"]
