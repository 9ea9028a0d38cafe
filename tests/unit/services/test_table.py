"""The input contract: which Services and slices count, and how they are joined."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert

from daemon.model.directory import ServiceName
from daemon.model.objects import EndpointSlice, Service
from daemon.model.workload import Node
from daemon.services.compile import compile_services, differences
from daemon.services.table import Origin, PortKey, ServiceTable
from tests.unit.services.build import HERE, compiled, service, slice_, snapshot_of, told


def test_a_port_leads_to_the_ready_endpoints_of_its_slices() -> None:
    table = compiled(service("api"), slice_("api", "10.0.0.2 10.0.0.1"), slice_("api", "10.0.0.3", "api-b"))
    assert told(table) == {"10.96.0.1:80/6": ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]}
    assert [entry.key for entry in table.entries] == [PortKey(ServiceName("shop", "api"), 6, 4)]


def test_a_service_without_endpoints_keeps_its_frontend() -> None:
    assert told(compiled(service("api"))) == {"10.96.0.1:80/6": []}


def test_ports_are_joined_by_name_and_protocol_and_not_by_number() -> None:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53},
        {"name": "metrics", "port": 8080},
    ]
    listed = [{"name": "dns", "port": 5353, "protocol": "UDP"}, {"name": "dns-tcp", "port": 5354}]
    table = compiled(service("dns", "10.96.0.10", *ports), slice_("dns", "10.0.0.1", ports=listed))
    assert told(table) == {
        "10.96.0.10:53/17": ["10.0.0.1:5353"],
        "10.96.0.10:53/6": ["10.0.0.1:5354"],
        "10.96.0.10:8080/6": [],
    }


def test_one_named_port_may_have_different_numbers_in_different_slices() -> None:
    table = compiled(
        service("api"), slice_("api", "10.0.0.1"), slice_("api", "10.0.0.2", "api-b", ports=[{"port": 9090}])
    )
    assert told(table) == {"10.96.0.1:80/6": ["10.0.0.1:8080", "10.0.0.2:9090"]}


def test_each_family_has_its_own_frontend_and_backends() -> None:
    table = compiled(
        service("api", "10.96.0.1 fd00:96::1"), slice_("api", "10.0.0.1"), slice_("api", "fd00::1", "api-six")
    )
    assert told(table) == {"10.96.0.1:80/6": ["10.0.0.1:8080"], "fd00:96::1:80/6": ["fd00::1:8080"]}
    assert [entry.key.family for entry in table.entries] == [4, 6]


@pytest.mark.parametrize(
    "made",
    [
        service("api", ""),
        service("api", "None"),
        service("api", "no-address"),
        service("api", "10.96.0.1", type="ExternalName"),
        convert(
            {
                "metadata": {
                    "name": "api",
                    "namespace": "shop",
                    "labels": {"service.kubernetes.io/service-proxy-name": "other"},
                },
                "spec": {"clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]},
            },
            Service,
        ),
    ],
    ids=["without clusterIP", "headless", "bad clusterIP", "ExternalName", "of another proxy"],
)
def test_a_service_that_is_not_ours_has_no_frontend(made: Service) -> None:
    assert told(compiled(made, slice_("api", "10.0.0.1"))) == {}


def test_a_service_without_ports_is_passed_over() -> None:
    assert told(compiled(service("api", ports=[]), service("web", "10.96.0.2"))) == {"10.96.0.2:80/6": []}


@pytest.mark.parametrize(
    "other",
    [
        slice_("unknown", "10.0.0.9"),
        slice_("", "10.0.0.9", "stray"),
        slice_("api", "10.0.0.9", "ports", ports=[{"port": 0}]),
        slice_("api", "10.0.0.9", "named", ports=[{"name": "other", "port": 8080}]),
        slice_("api", "10.0.0.9", "udp", ports=[{"port": 8080, "protocol": "UDP"}]),
        slice_("api", "example.com", "fqdn", addressType="FQDN"),
        slice_("api", "10.0.0.9", "six", addressType="IPv6"),
        slice_("api", "300.0.0.9", "bad"),
        slice_(
            "api",
            "10.0.0.9",
            "headless",
            metadata={
                "name": "h",
                "namespace": "shop",
                "labels": {"kubernetes.io/service-name": "api", "service.kubernetes.io/headless": ""},
            },
        ),
    ],
    ids=lambda made: made.name,
)
def test_a_slice_that_does_not_fit_changes_nothing(other: EndpointSlice) -> None:
    assert told(compiled(service("api"), slice_("api", "10.0.0.1"), other)) == {"10.96.0.1:80/6": ["10.0.0.1:8080"]}


def test_only_the_first_address_of_an_endpoint_is_used() -> None:
    table = compiled(service("api"), slice_("api", "", endpoints=[{"addresses": ["10.0.0.1", "10.0.0.2"]}]))
    assert told(table) == {"10.96.0.1:80/6": ["10.0.0.1:8080"]}


def test_an_address_that_a_new_pod_took_over_counts_as_the_new_pod() -> None:
    dying = {"addresses": ["10.0.0.1"], "conditions": {"ready": False, "serving": False, "terminating": True}}
    for first, second in ((dying, {"addresses": ["10.0.0.1"]}), ({"addresses": ["10.0.0.1"]}, dying)):
        table = compiled(
            service("api"), slice_("api", "", endpoints=[first]), slice_("api", "", "api-b", endpoints=[second])
        )
        assert told(table) == {"10.96.0.1:80/6": ["10.0.0.1:8080"]}


def test_a_local_internal_policy_uses_only_this_nodes_endpoints() -> None:
    endpoints = [{"addresses": ["10.0.0.1"], "nodeName": "here"}, {"addresses": ["10.0.0.2"], "nodeName": "there"}]
    made = service("api", internalTrafficPolicy="Local", type="NodePort")
    assert told(compiled(made, slice_("api", "", endpoints=endpoints))) == {"10.96.0.1:80/6": ["10.0.0.1:8080"]}


def test_the_external_policy_does_not_touch_the_cluster_ip() -> None:
    endpoints = [{"addresses": ["10.0.0.1"], "nodeName": "there"}]
    made = service("api", "10.96.0.1", {"port": 80, "nodePort": 30080}, type="NodePort", externalTrafficPolicy="Local")
    table = told(compiled(made, slice_("api", "", endpoints=endpoints)))
    assert table["10.96.0.1:80/6"] == ["10.0.0.1:8080"]


def test_of_two_services_with_one_frontend_the_first_by_name_has_it() -> None:
    table = compiled(service("web"), slice_("web", "10.0.0.2"), service("api"), slice_("api", "10.0.0.1"))
    assert told(table) == {"10.96.0.1:80/6": ["10.0.0.1:8080"]}
    assert [entry.key.name.name for entry in table.entries] == ["api"]


def test_two_ports_without_names_are_one_port_with_two_frontends() -> None:
    table = compiled(service("api", "10.96.0.1", {"port": 80}, {"port": 81}), slice_("api", "10.0.0.1"))
    assert len(table.entries) == 1
    assert told(table) == {"10.96.0.1:80/6": ["10.0.0.1:8080"], "10.96.0.1:81/6": ["10.0.0.1:8080"]}


def test_the_order_of_objects_makes_no_difference() -> None:
    objects: list[Service | EndpointSlice] = [
        service("api"),
        service("web", "10.96.0.2"),
        slice_("api", "10.0.0.2"),
        slice_("api", "10.0.0.1", "b"),
    ]
    assert compiled(*objects).entries == compiled(*reversed(objects)).entries


def test_only_what_changed_is_compiled_again() -> None:
    api, web, api_slice, web_slice = (
        service("api"),
        service("web", "10.96.0.2"),
        slice_("api", "10.0.0.1"),
        slice_("web", "10.0.0.2"),
    )
    before = compiled(api, web, api_slice, web_slice)
    after = compiled(api, web, slice_("api", "10.0.0.3"), web_slice, before=before)
    assert told(after) == {"10.96.0.1:80/6": ["10.0.0.3:8080"], "10.96.0.2:80/6": ["10.0.0.2:8080"]}
    first, second = Origin(False, "shop", "api"), Origin(False, "shop", "web")
    assert after.blocks[second] is before.blocks[second]
    assert after.blocks[first] is not before.blocks[first]


def test_what_is_read_anew_and_means_the_same_is_not_a_change() -> None:
    before = compiled(service("api"), slice_("api", "10.0.0.1"))
    after = compiled(service("api"), slice_("api", "10.0.0.1"), before=before)
    origin = Origin(False, "shop", "api")
    assert after.blocks[origin] is before.blocks[origin]


def test_a_table_of_another_node_is_not_built_upon() -> None:
    objects = service("api", internalTrafficPolicy="Local"), slice_("api", "10.0.0.1")
    elsewhere = ServiceTable(Node("there"))
    assert compile_services(snapshot_of(objects), HERE, elsewhere).node == HERE


def test_a_slice_that_is_gone_or_new_is_noticed() -> None:
    api, first, second = service("api"), slice_("api", "10.0.0.1"), slice_("api", "10.0.0.2", "api-b")
    two = compiled(api, first, second)
    one = compiled(api, first, before=two)
    assert told(one) == {"10.96.0.1:80/6": ["10.0.0.1:8080"]}
    assert compiled(api, first, second, before=one).entries == two.entries


def test_a_slice_may_change_its_service() -> None:
    api, web = service("api"), service("web", "10.96.0.2")
    before = compiled(api, web, slice_("api", "10.0.0.1", "moving"))
    after = compiled(api, web, slice_("web", "10.0.0.1", "moving"), before=before)
    assert told(after) == {"10.96.0.1:80/6": [], "10.96.0.2:80/6": ["10.0.0.1:8080"]}


@pytest.mark.parametrize(
    ("before", "now", "gone", "new"),
    [
        ("", "abc", "", "abc"),
        ("abc", "", "abc", ""),
        ("abc", "abc", "", ""),
        ("abc", "axc", "b", "x"),
        ("abc", "abxc", "", "x"),
        ("abc", "bc", "a", ""),
        ("abc", "ab", "c", ""),
        ("abcd", "axyd", "bc", "xy"),
        ("abc", "cba", "", ""),
        ("abc", "xabcy", "", "xy"),
    ],
)
def test_objects_that_went_and_came_are_found_by_identity(before: str, now: str, gone: str, new: str) -> None:
    one = {letter: [letter] for letter in "abcdxy"}  # equal content would not do
    left, come = differences(tuple(one[each] for each in before), tuple(one[each] for each in now))
    assert ("".join(each[0] for each in left), "".join(each[0] for each in come)) == (gone, new)


@given(st.lists(st.integers(0, 9), unique=True), st.lists(st.integers(0, 9), unique=True))
def test_the_difference_of_any_two_tuples_is_complete(before: list[int], now: list[int]) -> None:
    left, come = differences(tuple(before), tuple(now))
    assert (set(left), set(come)) == (set(before) - set(now), set(now) - set(before))
