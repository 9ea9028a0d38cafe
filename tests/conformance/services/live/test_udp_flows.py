"""UDP flows of one client port must follow the Service: the suites' connection tracking cases."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.conformance.services.live.catalogue import case, each
from tests.support.cluster import PORT, Cluster
from tests.support.kube import Port, Svc, leaving
from tests.support.place import Held, Place, Target, until

MOVES_WITHIN = 1.0  # s
_ports = itertools.count(21_000)  # a client port for each test: a flow of another test is not this one's
CLIENTS = ("fresh sockets", "connected socket", "unconnected socket")
how = pytest.mark.parametrize("how", CLIENTS, ids=[name.replace(" ", "-") for name in CLIENTS])


class Flow:
    """A client that goes on from one port: with a new socket each time, or with one that it keeps."""

    def __init__(self, client: Place, target: Target, how: str) -> None:
        self.client, self.target, self.how, self.source = client, target, how, next(_ports)
        self.held = None if how == "fresh sockets" else self._dial()

    def _dial(self) -> Held:
        return self.client.dial(self.target, self.source, loose=self.how == "unconnected socket")

    def ask(self) -> str:
        """Who answers; a connected socket that was closed from outside is opened anew, as an application would."""
        if self.held is None:
            reply = self.client.ask(self.target, 0.3, source=self.source)
        else:
            reply = self.held.say()
            if reply.error:
                self.held.hang()
                self.held = self._dial()
        return reply.name or reply.error


def moves(flow: Flow, live: Cluster, service: Svc, after: list[Place]) -> None:
    """The flow is served, and by another endpoint soon after the first one went."""
    assert until(flow.ask) == "alice"
    assert {flow.ask() for _ in range(5)} == {"alice"}
    live.apply(service.with_endpoints(*after))
    names = {place.name for place in after}
    until(lambda: flow.ask() in names, MOVES_WITHIN + 1)
    assert {flow.ask() for _ in range(5)} <= names


@pytest.mark.parametrize(
    ("client", "spec", "after"),
    [
        pytest.param("ann", {}, "bob", marks=case("udp-cluster-ip"), id="udp-cluster-ip-same-node"),
        pytest.param("vic", {}, "bob", marks=case("udp-cluster-ip"), id="udp-cluster-ip-machine"),
        pytest.param("bea", {}, "bob", marks=case("udp-cluster-ip"), id="udp-cluster-ip-other-node"),
        pytest.param(
            "ann", {"internalTrafficPolicy": "Local"}, "abe", marks=case("udp-internal-local"), id="udp-internal-local"
        ),
        pytest.param("one", {}, "bob", marks=case("udp-host-client"), id="udp-host-client"),
    ],
)
@how
def test_a_flow_moves(live: Cluster, family: str, client: str, spec: dict[str, str], after: str, how: str) -> None:
    service = live.svc("dns", Port(protocol="UDP"), **spec)
    live.apply(service.with_endpoints(live["alice"]))
    moves(Flow(live[client], service.inside(family), how), live, service, [live[after]])


@case("udp-draining")
@pytest.mark.parametrize("client", ["ann", "bea", "one", "customer"])
def test_a_flow_stays_while_its_endpoint_serves(live: Cluster, family: str, client: str) -> None:
    service = live.svc("dns", Port(protocol="UDP", node_port=-1), type="NodePort")
    target = service.on(live["one"], family) if client == "customer" else service.inside(family)
    live.apply(service.with_endpoints(live["alice"]))
    flow = Flow(live[client], target, "connected socket")
    assert {flow.ask() for _ in range(5)} == {"alice"}
    live.apply(service.with_endpoints(leaving(live["alice"]), live["bob"]))
    assert {live[client].ask(target).name for _ in range(5)} == {"bob"}
    time.sleep(MOVES_WITHIN)
    assert {flow.ask() for _ in range(5)} == {"alice"}
    live.apply(service.with_endpoints(leaving(live["alice"], serving=False), live["bob"]))
    until(lambda: flow.ask() == "bob", MOVES_WITHIN + 1)


@case("udp-shared-backend")
@pytest.mark.parametrize("client", ["ann", "bea", "one", "customer"])
def test_a_flow_leaves_a_backend_that_only_another_service_keeps(live: Cluster, family: str, client: str) -> None:
    service, other = (live.svc(name, Port(protocol="UDP", node_port=-1), type="NodePort") for name in ("dns", "more"))
    targets = [one.on(live["one"], family) if client == "customer" else one.inside(family) for one in (service, other)]
    kept = other.with_endpoints(live["alice"])
    live.apply(service.with_endpoints(live["alice"]), kept)
    flow, calm = (Flow(live[client], target, "connected socket") for target in targets)
    assert {flow.ask(), calm.ask()} == {"alice"}
    live.apply(service.with_endpoints(live["bob"]), kept)
    until(lambda: flow.ask() == "bob", MOVES_WITHIN + 1)
    assert calm.held
    assert calm.held.say().name == "alice"


@case("udp-node-port")
@pytest.mark.parametrize("client", ["ann", "one", "customer"])
@how
def test_a_flow_through_a_node_port_moves(live: Cluster, family: str, client: str, how: str) -> None:
    service = live.svc("dns", Port(protocol="UDP", node_port=-1), type="NodePort")
    live.apply(service.with_endpoints(live["alice"]))
    moves(Flow(live[client], service.on(live["one"], family), how), live, service, [live["bob"]])


@case("udp-first-endpoint")
@pytest.mark.parametrize("client", ["ann", "one", "customer"])
def test_a_flow_begins_before_there_is_an_endpoint(live: Cluster, family: str, client: str) -> None:
    service = live.svc("dns", Port(protocol="UDP", node_port=-1), type="NodePort")
    target = service.on(live["one"], family) if client == "customer" else service.inside(family)
    live.apply(service.with_endpoints())
    source = next(_ports)
    assert {live[client].ask(target, 0.3, source=source).error for _ in range(3)} == {"ECONNREFUSED"}
    live.apply(service.with_endpoints(live["alice"]))
    until(lambda: live[client].ask(target, 0.3, source=source).name == "alice", MOVES_WITHIN + 1)


@case("udp-target-port")
@pytest.mark.parametrize("client", ["ann", "one", "customer"])
def test_a_flow_follows_the_target_port(live: Cluster, family: str, client: str) -> None:
    service = live.svc("dns", Port(protocol="UDP", node_port=-1), type="NodePort")
    target, source = service.on(live["one"], family), next(_ports)
    live["alice"].listen(9090, "UDP")
    try:
        for port in (PORT, 9090):
            moved = Svc("dns", service.ips, (Port(80, port, "", "UDP", service.ports[0].node_port),), service.spec)
            live.apply(moved.with_endpoints(live["alice"]))
            until(lambda port=port: live[client].ask(target, 0.3, source=source).port == port, MOVES_WITHIN + 1)  # type: ignore[misc]
    finally:
        live["alice"].release(9090, "UDP")


@pytest.mark.parametrize("client", [each("stray-segment", "bob")])
def test_a_stray_segment_does_no_harm(live: Cluster, client: str) -> None:
    service, source = live.svc("web"), next(_ports)
    live.apply(service.with_endpoints(live["alice"]))
    held = live[client].dial(service.inside(), source)
    here, there = live["alice"].addresses["IPv4"], live[client].addresses["IPv4"]
    for _ in range(5):
        assert held.say().name == "alice"
        live["alice"].order("inject", source=here, destination=there, ports=[PORT, source])
    assert held.say().name == "alice"
    held.hang()
