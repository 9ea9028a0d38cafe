"""Clients that come back to the endpoint that they had: ClientIP affinity under every kind of address."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from tests.conformance.services.live.catalogue import case
from tests.support.cluster import Cluster
from tests.support.kube import Port, Svc
from tests.support.place import Place, Target

ENDPOINTS = ("alice", "abe", "bob", "ben", "carol")
ROUNDS = 15
TIMEOUT = 2  # s


def sticky(seconds: int = 10_800) -> dict[str, Any]:
    limit = {"clientIP": {"timeoutSeconds": seconds}}
    return {"type": "NodePort", "sessionAffinity": "ClientIP", "sessionAffinityConfig": limit}


def objects(live: Cluster, service: Svc) -> list[dict[str, Any]]:
    return service.with_endpoints(*(live[name] for name in ENDPOINTS))


def place(live: Cluster, service: Svc, how: str, client: Place, family: str) -> Target:
    """Where a client asks: the ClusterIP, or the node port of its own node, of the first one for those outside."""
    return service.inside(family) if how == "ip" else service.on(live[client.node or "one"], family)


BOTH = [("ip", "ann"), ("ip", "vic"), ("ip", "two"), ("port", "ann"), ("port", "two"), ("port", "customer")]


def stays(client: Place, target: Target, family: str) -> str:
    """The one endpoint that answers, which sees a client from outside under the node's address."""
    replies = client.ask_often(target, ROUNDS)
    ((name, peer),) = {(reply.name or reply.error, reply.peer) for reply in replies}
    assert name in ENDPOINTS
    assert client.node or peer != client.addresses[family]
    return name


def by(word: str) -> list[Any]:
    """Parameters: by which address, and who asks."""
    return [
        pytest.param(how, client, marks=case(f"affinity-{how}{word}"), id=f"affinity-{how}{word}-{client}")
        for how, client in BOTH
    ]


@pytest.mark.parametrize(("how", "client"), by(""))
def test_a_client_stays(live: Cluster, family: str, how: str, client: str) -> None:
    service = live.svc("web", Port(node_port=-1), **sticky())
    live.apply(objects(live, service))
    target = place(live, service, how, live[client], family)
    stays(live[client], target, family)


@pytest.mark.parametrize(("how", "client"), by("-timeout"))
def test_affinity_slides_and_ends(live: Cluster, how: str, client: str) -> None:
    service = live.svc("web", Port(node_port=-1), **sticky(TIMEOUT))
    live.apply(objects(live, service))
    target = place(live, service, how, live[client], "IPv4")
    first = stays(live[client], target, "IPv4")
    for _ in range(2 * TIMEOUT + 1):
        time.sleep(TIMEOUT / 4)
        assert live[client].names(target, 1) == {first}
    for _ in range(8):  # all alike by chance: 1 in 390,625
        time.sleep(TIMEOUT + 0.1)
        (name,) = live[client].names(target, 1)
        assert name in ENDPOINTS
        if name != first:
            return
    raise AssertionError("the client was never led elsewhere")


@pytest.mark.parametrize(("how", "client"), by("-switch"))
def test_affinity_is_switched(live: Cluster, family: str, how: str, client: str) -> None:
    service = live.svc("web", Port(node_port=-1), type="NodePort")
    target = place(live, service, how, live[client], family)
    for on in (False, True, False, True):
        live.apply(objects(live, replace(service, spec=sticky()) if on else service))
        if on:
            stays(live[client], target, family)
        else:
            names = live[client].names(target, 40)
            assert names <= set(ENDPOINTS)
            assert len(names) > 1


@case("affinity")
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_each_client_has_its_own(live: Cluster, family: str, protocol: str) -> None:
    service = live.svc("web", Port(protocol=protocol, node_port=-1), **sticky())
    live.apply(objects(live, service))
    for client in ("ann", "abe", "one", "bea", "two", "cleo"):
        (name,) = live[client].names(service.inside(family), ROUNDS)
        assert name in ENDPOINTS


@case("affinity")
def test_one_client_has_one_endpoint_under_all_addresses(live: Cluster, family: str) -> None:
    outer = live.outer()
    spec = sticky() | {"externalIPs": list(outer.values())}
    service = live.svc("web", Port(node_port=-1), **spec)
    live.apply(objects(live, service))
    places = [service.inside(family), service.on(live["one"], family), service.at(outer[family])]
    (name,) = {name for target in places for name in live["ann"].names(target, 5)}
    rest = [live[other] for other in ENDPOINTS if other != name]
    live.apply(service.with_endpoints(*rest))
    (second,) = {name for target in places for name in live["ann"].names(target, 5)}
    assert second != name
