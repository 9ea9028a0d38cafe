"""Which UDP flows may go on: those of a Service port to an endpoint that serves it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daemon.model.objects import EndpointSlice, Service
from daemon.services import Applied
from daemon.services.datagrams import BACKEND, flows, keepable, lost_datagrams
from daemon.services.table import ServiceTable
from ebpf.addresses import pack
from tests.unit.services.build import compiled, service, slice_

Objects = tuple[Service | EndpointSlice, ...]
GOING = {"ready": False, "serving": True, "terminating": True}
STOPPED = {"ready": False, "serving": False, "terminating": True}


def dns(*endpoints: str | dict[str, Any], name: str = "dns", ip: str = "10.96.0.10", port: int = 5353) -> Objects:
    """A Service with endpoints: addresses, or endpoints as a slice has them."""
    listed = [{"addresses": [one]} if isinstance(one, str) else one for one in endpoints]
    ports = [{"name": "dns", "port": port, "protocol": "UDP"}]
    return (
        service(name, ip, {"name": "dns", "port": 53, "protocol": "UDP"}),
        slice_(name, "", ports=ports, endpoints=listed),
    )


def at(address: str, conditions: dict[str, bool], **more: Any) -> dict[str, Any]:
    return {"addresses": [address], "conditions": conditions, **more}


def table(*parts: Objects) -> ServiceTable:
    return compiled(*(one for part in parts for one in part))


def kept(found: ServiceTable, address: str, port: int = 5353, name: str = "dns") -> bool:
    """Whether a flow of a Service to a backend may go on."""
    numbers = {entry.key: number for number, entry in enumerate(found.entries, 1)}
    (number,) = {number for key, number in numbers.items() if key.name.name == name}
    flow = flows(number, np.frombuffer(pack(address) + port.to_bytes(2), BACKEND))
    everything = keepable(Applied(numbers[entry.key], entry) for entry in found.entries)
    return bool(np.isin(flow, everything)[0])


def test_a_flow_stays_with_a_backend_that_its_service_has() -> None:
    here = table(dns("10.0.0.1", "10.0.0.2"))
    assert kept(here, "10.0.0.1")
    assert not kept(here, "10.0.0.3")
    assert not kept(here, "10.0.0.1", 9090)


def test_a_backend_that_another_service_still_has_is_lost_for_this_one() -> None:
    other = dns("10.0.0.1", name="other", ip="10.96.0.11")
    before, after = table(dns("10.0.0.1", "10.0.0.2"), other), table(dns("10.0.0.2"), other)
    assert lost_datagrams(before, after)
    assert not kept(after, "10.0.0.1")
    assert kept(after, "10.0.0.1", name="other")


def test_an_endpoint_that_terminates_keeps_its_flows_until_it_serves_no_more() -> None:
    ready = table(dns("10.0.0.1", "10.0.0.2"))
    going = table(dns(at("10.0.0.1", GOING), "10.0.0.2"))
    stopped = table(dns(at("10.0.0.1", STOPPED), "10.0.0.2"))
    gone = table(dns("10.0.0.2"))
    assert [kept(one, "10.0.0.1") for one in (ready, going, stopped, gone)] == [True, True, False, False]
    assert not lost_datagrams(ready, going)
    assert lost_datagrams(going, stopped)
    assert lost_datagrams(going, gone)
    assert not lost_datagrams(stopped, gone)


def test_hints_and_traffic_policies_that_lead_elsewhere_take_no_flow_away() -> None:
    serving = {"ready": True, "serving": True, "terminating": False}
    near = at("10.0.0.1", serving, nodeName="here", hints={"forZones": [{"name": "zone-a"}]})
    far = at("10.0.0.2", serving, nodeName="there", hints={"forZones": [{"name": "zone-b"}]})
    hinted = table(dns(near, far))
    assert [entry.count for entry in hinted.entries] == [1]
    assert kept(hinted, "10.0.0.2")
    made, ends = dns(near, far)
    local = compiled(
        service("dns", "10.96.0.10", {"name": "dns", "port": 53, "protocol": "UDP"}, internalTrafficPolicy="Local"),
        ends,
    )
    assert isinstance(made, Service)
    assert [entry.count for entry in local.entries] == [1]
    assert kept(local, "10.0.0.2")


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        (("10.0.0.1",), ("10.0.0.1", "10.0.0.2"), False),
        (("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.3"), True),
        (("10.0.0.1",), (), True),
    ],
)
def test_only_a_backend_that_leaves_is_a_loss(before: tuple[str, ...], after: tuple[str, ...], lost: bool) -> None:
    assert lost_datagrams(table(dns(*before)), table(dns(*after))) is lost


def test_a_deleted_service_and_another_port_lose_their_backends() -> None:
    assert lost_datagrams(table(dns("10.0.0.1")), compiled())
    assert lost_datagrams(table(dns("10.0.0.1")), table(dns("10.0.0.1", port=9090)))


def test_tcp_has_no_datagrams_to_lose() -> None:
    before, after = (compiled(service("api"), slice_("api", found)) for found in ("10.0.0.1", "10.0.0.2"))
    assert not lost_datagrams(before, after)
    assert not len(keepable(Applied(1, entry) for entry in before.entries))
