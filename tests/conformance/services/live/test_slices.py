"""Several slices make one Service."""

from __future__ import annotations

from tests.conformance.services.live.asking import answered
from tests.conformance.services.live.catalogue import case
from tests.support.cluster import PORT, Cluster
from tests.support.kube import Port

CLIENTS = ("ann", "bea", "carol", "one", "two")


@case("slice-ports")
def test_several_ports_in_several_slices(live: Cluster, family: str) -> None:
    first, second = Port(80, PORT, "first"), Port(81, 8090, "second")
    service = live.svc("web", first, second)
    live["bob"].listen(8090, "TCP")
    try:
        slices = [service.slices([live["alice"]], [first], "-a"), service.slices([live["bob"]], [second], "-b")]
        live.apply(service.manifest(), *slices)
        for client in CLIENTS:
            assert live[client].names(service.inside(family, 0)) == {"alice"}
            assert live[client].names(service.inside(family, 1)) == {"bob"}
    finally:
        live["bob"].release(8090, "TCP")


@case("slice-addresses")
def test_several_addresses_in_several_slices(live: Cluster, family: str) -> None:
    service = live.svc("web")
    slices = [service.slices([live[name]], suffix=f"-{name}") for name in ("alice", "bob", "carol")]
    live.apply(service.manifest(), *slices)
    assert answered(live, service.inside(family), CLIENTS) == {name: {"alice", "bob", "carol"} for name in CLIENTS}
    live.apply(service.manifest(), *slices[1:])
    assert answered(live, service.inside(family), CLIENTS) == {name: {"bob", "carol"} for name in CLIENTS}


@case("mirrored")
def test_subsets_with_one_address(live: Cluster, family: str) -> None:
    """Two subsets that share an address become two slices, which share it, too."""
    ports = [Port(80, PORT, "p80"), Port(81, 8091, "p81")]
    service = live.svc("custom", *ports)
    live["alice"].listen(8091, "TCP")
    try:
        mirrored = [
            service.slices([live["alice"]], [port], f"-{index}", {"endpointslice.kubernetes.io/managed-by": "mirror"})
            for index, port in enumerate(ports)
        ]
        live.apply(service.manifest(), *mirrored)
        for client in CLIENTS:
            for index, port in enumerate(ports):
                replies = live[client].ask_often(service.inside(family, index), 5)
                assert {(reply.name, reply.port) for reply in replies} == {("alice", port.target)}
    finally:
        live["alice"].release(8091, "TCP")
