"""The shop's parts by themselves: manifests, name server, web server."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address

import dns.message
import dns.rcode
import pytest

from daemon.demo import names, scenario, web
from daemon.demo.topology import SUBNETS

ZONE = names.zone(["backend.shop.svc.cluster.local=10.96.0.20,fd00:10:96::20"])


def ask(name: str, kind: str = "A") -> dns.message.Message:
    raw = names.answer(ZONE, dns.message.make_query(name, kind).to_wire())
    assert raw is not None
    return dns.message.from_wire(raw)


@pytest.mark.parametrize(("kind", "address"), [("A", "10.96.0.20"), ("AAAA", "fd00:10:96::20")])
def test_a_known_name_has_its_address_of_the_family_asked_for(kind: str, address: str) -> None:
    [rrset] = ask("Backend.shop.svc.cluster.local", kind).answer
    assert [str(record) for record in rrset] == [address]


def test_an_unknown_name_is_nxdomain() -> None:
    assert ask("inventory.shop.svc.cluster.local").rcode() == dns.rcode.NXDOMAIN


def test_a_known_name_without_records_of_a_kind_is_no_error() -> None:
    response = ask("backend.shop.svc.cluster.local", "MX")
    assert (response.rcode(), response.answer) == (dns.rcode.NOERROR, [])


def test_garbage_is_not_answered() -> None:
    assert names.answer(ZONE, b"\x00\x01garbage") is None


@pytest.fixture
def port() -> Iterator[int]:
    with web.make(0, 0.05) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server.server_address[1]
        server.shutdown()


def test_the_web_server_keeps_connections_open_and_delays_only_its_users_page(port: int) -> None:
    took = []
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=3)) as connection:
        codes = []
        for path in ("/api/users", "/api/missing"):
            start = time.monotonic()
            connection.request("GET", path)
            first_socket = connection.sock
            response = connection.getresponse()
            response.read()
            took.append(time.monotonic() - start)
            codes.append(response.status)
        assert connection.sock is first_socket is not None
    assert codes == [200, 404]
    assert took[0] >= 0.05


def test_a_charge_is_accepted_over_ipv6(port: int) -> None:
    with closing(http.client.HTTPConnection("::1", port, timeout=3)) as connection:
        connection.request("POST", "/charge", b"{}")
        assert connection.getresponse().status == 201


def test_the_pods_of_the_manifests_have_addresses_of_the_nodes_subnets_and_a_program() -> None:
    roles = scenario.roles(scenario.documents())
    assert [role.pod for role in roles if role.pod.startswith("backend-")] == ["backend-1", "backend-2", "backend-3"]
    assert roles[-1].pod == scenario.CLIENT
    for role in roles:
        assert len(role.addresses) == 2
        assert all(any(ip_address(address) in subnet for subnet in SUBNETS) for address in role.addresses)


def test_the_slices_list_exactly_the_pods_that_their_service_selects() -> None:
    manifests = scenario.documents()
    selectors = {item["metadata"]["name"]: item["spec"]["selector"] for item in manifests if item["kind"] == "Service"}
    for piece in (item for item in manifests if item["kind"] == "EndpointSlice"):
        service = piece["metadata"]["labels"]["kubernetes.io/service-name"]
        listed = {endpoint["addresses"][0] for endpoint in piece["endpoints"]}
        selected = {
            entry["ip"]
            for pod in manifests
            if pod["kind"] == "Pod" and selectors[service].items() <= pod["metadata"]["labels"].items()
            for entry in pod["status"]["podIPs"]
            if (":" in entry["ip"]) == (piece["addressType"] == "IPv6")
        }
        assert listed == selected


def test_names_of_services_lead_to_their_virtual_addresses_and_headless_ones_to_pods() -> None:
    records = scenario.records(scenario.documents())
    assert records["backend.shop.svc.cluster.local"] == ["10.96.0.20", "fd00:10:96::20"]
    assert records["payments.shop.svc.cluster.local"] == ["10.244.1.30", "fd00:10:244:1::30"]
