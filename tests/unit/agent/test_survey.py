"""Why an endpoint is used or not, as the selection itself would have it; and which frontend an address is."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from daemon.agent.explain import Explanation, Question, Rule, Verdict, explain
from daemon.agent.survey import survey
from daemon.model.objects import EndpointSlice, Service
from tests.unit.services.build import compiled, pod, service, slice_

READY = {"ready": True}
ON = {"here": {"nodeName": "here"}, "there": {"nodeName": "there"}}
DRAINING = {"conditions": {"ready": False, "serving": True, "terminating": True}}
LEAVING = {"conditions": {"ready": False, "serving": False, "terminating": True}}
NOT_READY = {"conditions": {"ready": False}}


def zones(*names: str) -> dict[str, object]:
    return {"hints": {"forZones": [{"name": name} for name in names]}}


def endpoints(*fields: dict[str, object]) -> EndpointSlice:
    """A slice of Service web with endpoints 10.0.0.1, 10.0.0.2, …"""
    made = [{"addresses": [f"10.0.0.{index}"], **one} for index, one in enumerate(fields, start=1)]
    return slice_("web", "10.0.0.1", endpoints=made)


def reasons(*objects: Service | EndpointSlice) -> list[tuple[str, ...]]:
    """The reasons of every endpoint of the first port in the table, in the slices' order."""
    table = compiled(*objects)
    return [one.reasons for one in survey(table, table.entries[0].key)]


def test_ready_endpoints_are_used() -> None:
    assert reasons(service("web"), endpoints({}, {})) == [(), ()]


def test_conditions_are_told_as_they_are() -> None:
    assert reasons(service("web"), endpoints({}, NOT_READY, DRAINING, LEAVING)) == [
        (),
        ("not ready",),
        ("terminating: used only while none is ready",),
        ("terminating, and no longer serving",),
    ]


def test_a_draining_endpoint_is_used_where_none_is_ready() -> None:
    assert reasons(service("web"), endpoints(NOT_READY, DRAINING)) == [("not ready",), ()]


def test_policy_local_leaves_out_other_nodes_and_says_so() -> None:
    local = service("web", internalTrafficPolicy="Local")
    assert reasons(local, endpoints(ON["here"], ON["there"], {})) == [
        (),
        ("on node there: policy Local takes those of here only",),
        ("on no node that it names: policy Local takes those of here only",),
    ]


def test_a_draining_endpoint_on_another_node_lacks_only_the_right_node() -> None:
    local = service("web", internalTrafficPolicy="Local")
    (found,) = reasons(local, endpoints(ON["there"] | DRAINING))
    assert found == ("on node there: policy Local takes those of here only",)


def test_two_obstacles_are_both_told() -> None:
    local = service("web", internalTrafficPolicy="Local")
    _, found = reasons(local, endpoints(ON["here"], ON["there"] | NOT_READY))
    assert found == ("not ready", "on node there: policy Local takes those of here only")


def test_hints_keep_other_zones_out_and_are_quoted() -> None:
    assert reasons(service("web"), endpoints(zones("zone-a"), zones("zone-b", "zone-c"))) == [
        (),
        ("its hints give it to zone zone-b, zone-c, not to this node in zone-a",),
    ]


def test_hints_that_do_not_apply_are_no_reason() -> None:
    assert reasons(service("web"), endpoints(zones("zone-b"), {})) == [(), ()]


def test_a_slice_of_the_other_family_is_told_apart_from_a_missing_port() -> None:
    other = slice_("web", "fd00::1", "web-b")
    portless = slice_("web", "10.0.0.9", "web-c", ports=[{"name": "other", "port": 1}])
    assert reasons(service("web"), endpoints({}), other, portless) == [
        (),
        ("other family: slice web-b is IPv6, the frontend IPv4",),
        ("slice web-c has no TCP port without a name",),
    ]


def test_of_two_slices_with_one_address_one_counts() -> None:
    found = reasons(service("web"), endpoints(DRAINING), slice_("web", "10.0.0.1", "web-b"))
    assert found == [("duplicate: another slice has the same address and port, and that one counts",), ()]


def test_an_address_twice_in_a_slice_is_a_duplicate() -> None:
    found = reasons(service("web"), slice_("web", "10.0.0.1 10.0.0.1"))
    assert sorted(found) == [(), ("duplicate: slice web-a has it twice",)]


def test_a_headless_slice_is_named_as_such() -> None:
    labels = {"kubernetes.io/service-name": "web", "service.kubernetes.io/headless": ""}
    hidden = slice_("web", "10.0.0.7", metadata={"name": "web-h", "namespace": "shop", "labels": labels})
    assert reasons(service("web"), endpoints({}), hidden)[1] == (
        "slice web-h is marked service.kubernetes.io/headless",
    )


@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_no_reason_means_in_the_kernels_set_and_a_reason_means_not(policy: str) -> None:
    mixed = endpoints(*({**ON[where], **state} for where in ON for state in ({}, NOT_READY, DRAINING, LEAVING)))
    table = compiled(service("web", internalTrafficPolicy=policy), mixed)
    (entry,) = table.entries
    used = b"".join(sorted(one.record or b"" for one in survey(table, entry.key) if not one.reasons))
    assert used == entry.backends


EVERYTHING = (
    service(
        "web",
        "10.96.0.1 fd00::1",
        {"port": 80, "nodePort": 30080},
        type="NodePort",
        externalIPs=["192.0.2.1"],
        internalTrafficPolicy="Local",
        externalTrafficPolicy="Local",
        sessionAffinity="ClientIP",
    ),
    endpoints(ON["there"]),
    service("none", "10.96.0.2"),
)


def asked(address: str, port: int, protocol: int = 6, in_node: bool = True) -> Explanation:
    table = compiled(*EVERYTHING, pod("db", "10.0.0.50", {"containerPort": 5432, "hostPort": 5000}))
    question = Question(ip_address(address), port, protocol, in_node)
    return explain(question, table, frozenset({ip_address("10.1.1.1"), ip_address("fd01::1")}))


@pytest.mark.parametrize(
    ("address", "port", "rule", "verdict"),
    [
        ("10.96.0.1", 80, Rule.EXACT, Verdict.DROPPED),
        ("192.0.2.1", 80, Rule.EXACT, Verdict.BALANCED),
        ("10.1.1.1", 30080, Rule.NODE_ADDRESS, Verdict.BALANCED),
        ("fd01::1", 30080, Rule.NODE_ADDRESS, Verdict.REFUSED),
        ("127.0.0.1", 30080, Rule.NODE_ADDRESS, Verdict.BALANCED),
        ("10.1.1.1", 5000, Rule.NODE_ADDRESS, Verdict.BALANCED),
        ("10.1.1.1", 30081, Rule.NONE, Verdict.UNTOUCHED),
        ("10.1.1.2", 30080, Rule.NONE, Verdict.UNTOUCHED),
        ("10.96.0.1", 81, Rule.REFUSED, Verdict.REFUSED),
        ("10.96.0.2", 80, Rule.EXACT, Verdict.REFUSED),
        ("192.0.2.1", 81, Rule.NONE, Verdict.UNTOUCHED),
    ],
)
def test_the_rules_are_tried_in_the_kernels_order(address: str, port: int, rule: Rule, verdict: Verdict) -> None:
    found = asked(address, port)
    assert (found.rule, found.verdict) == (rule, verdict)


def test_loopback_leads_to_node_ports_for_the_nodes_own_processes_only() -> None:
    assert asked("127.0.0.1", 30080, in_node=False).verdict is Verdict.UNTOUCHED
    assert "loopback belongs to the workload" in asked("127.0.0.1", 30080, in_node=False).notes[0]


def test_a_host_port_leads_to_its_pod() -> None:
    (pod_,) = asked("10.1.1.1", 5000).seen
    assert (pod_.endpoint.addresses[0], pod_.reasons) == ("10.0.0.50", ())


def test_the_words_name_service_frontend_and_what_else_decides() -> None:
    found = asked("10.1.1.1", 30080)
    assert found.words.startswith("10.1.1.1 is an address of the node, and 30080/TCP the NodePort of shop/web")
    assert [note.split()[0] for note in found.notes] == ["a", "externalTrafficPolicy"]
    assert "has no port 81/TCP" in asked("10.96.0.1", 81).words
