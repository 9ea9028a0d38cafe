"""Who asks matters: a workload of another node, one that nobody knows, the node itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from daemon.agent.operate import Asked
from daemon.endpoints import Devices
from daemon.model import HOST, Directory, Identity, Workload, WorkloadId
from daemon.proto import remora_pb2 as pb
from tests.unit.services.build import compiled, pod, service, slice_

OWN = ip_address("10.1.1.1")


def workload(number: int, name: str, ifindex: int = 0, namespace: str = "shop") -> Workload:
    return Workload(WorkloadId(number), Identity(300), namespace, name, (), (), (), ifindex)


def ask(workload_name: str = "", address: str = "10.96.0.1", port: int = 80) -> pb.ExplainResponse:
    web = service("web", "10.96.0.1", {"port": 80, "nodePort": 30080}, type="NodePort", internalTrafficPolicy="Local")
    endpoints = [
        {"addresses": ["10.0.0.1"], "nodeName": "here"},
        {"addresses": ["10.0.0.2"], "nodeName": "there", "zone": "zone-b"},
    ]
    table = compiled(web, slice_("web", "10.0.0.1", endpoints=endpoints), pod("far", "10.0.0.8", node="there"))
    directory = Directory()
    known = (workload(16, "client", 5), workload(17, "far"), workload(18, "far", 6, "other"))
    directory.update_workloads((replace(HOST, addresses=(OWN,)), *known))
    request = pb.ExplainRequest(address=address, port=port, protocol="TCP", workload=workload_name)
    devices = Devices(node_addresses=frozenset({OWN}))
    return Asked(request, table, devices, directory, lambda entry: {}).answer()


def eligible(told: pb.ExplainResponse) -> list[str]:
    return [one.address for one in told.eligible]


def test_a_workload_of_this_node_gets_this_nodes_answer() -> None:
    assert (eligible(ask("shop/client")), ask("client").node) == (["10.0.0.1"], "here")


def test_a_workload_of_another_node_gets_that_nodes_answer_and_what_is_not_known_there() -> None:
    told = ask("shop/far")
    assert (eligible(told), told.node) == (["10.0.0.2"], "there")
    assert any("asked from node there in zone zone-b" in note for note in told.notes)
    assert ask("shop/far", "10.1.1.1", 30080).verdict == "untouched"


def test_the_node_itself_has_node_ports_on_loopback_and_a_workload_has_not() -> None:
    assert ask("host", "127.0.0.1", 30080).verdict == "balanced"
    assert ask("", "127.0.0.1", 30080).verdict == "balanced"
    assert ask("client", "127.0.0.1", 30080).verdict == "untouched"


def test_a_name_that_nobody_or_several_have_is_refused_with_the_choice() -> None:
    with pytest.raises(ValueError, match="no workload nobody"):
        ask("nobody")
    with pytest.raises(ValueError, match="shop/far, other/far"):
        ask("far")


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        ask("", "no-address")


def test_somebody_outside_gets_what_the_policies_leave_and_learns_who_is_seen() -> None:
    told = ask("outside", "10.1.1.1", 30080)
    assert sorted(eligible(told)) == ["10.0.0.1", "10.0.0.2"]
    assert any("an address of the node as client" in note for note in told.notes)
    assert ask("outside", "127.0.0.1", 30080).verdict == "untouched"
