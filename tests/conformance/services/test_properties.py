"""Property: a node that saw every change ends where a node ends that only sees the last, and never fails on the way."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.services.columns import read_state
from daemon.services.force import every_port
from daemon.services.reconcile import ServiceReconciler
from tests.conformance.services.host import Host
from tests.unit.services.build import Object, pod, service, slice_

# A small world with few addresses, so that objects get into each other's way; None: the object is not there.
ADDRESSES = ("10.96.0.1", "10.96.0.2", "10.96.0.1 fd00:96::1", "None")
ENDPOINTS = ("", "10.0.0.1", "10.0.0.1 10.0.0.2", "10.0.0.2 10.0.0.3 10.0.0.4")


def services(name: str) -> list[Object | None]:
    return [
        None,
        *(service(name, address) for address in ADDRESSES),
        *(
            service(name, address, {"port": port, "nodePort": 30080}, type="NodePort", internalTrafficPolicy=policy)
            for address in ADDRESSES[:3]
            for port in (80, 81)
            for policy in ("Cluster", "Local")
        ),
        service(name, "10.96.0.1", externalIPs=["203.0.113.9"], sessionAffinity="ClientIP"),
        service(name, "10.96.0.2", externalIPs=["10.96.0.1", "203.0.113.9"]),
        service(name, "10.96.0.2", {"port": 80, "name": "a"}, {"port": 81, "name": "b"}),
    ]


def slices(owner: str, name: str) -> list[Object | None]:
    dying = {"ready": False, "terminating": True}
    listed = [slice_(owner, addresses, name) for addresses in ENDPOINTS]
    ending = [{"addresses": ["10.0.0.1"], "nodeName": "here", "conditions": dying}]
    local = [{"addresses": ["10.0.0.3"], "nodeName": "here"}]
    return [
        None,
        *listed,
        slice_(owner, "", name, endpoints=ending, addressType="IPv4"),
        slice_(owner, "", name, endpoints=local, addressType="IPv4"),
        slice_(owner, "fd00::1", name),
    ]


PODS: list[Object | None] = [
    None,
    pod("web", "10.0.0.7", {"containerPort": 80, "hostPort": 30080}),
    pod("web", "10.0.0.7", {"containerPort": 80, "hostPort": 80, "hostIP": "203.0.113.9"}),
]

# The very same objects come again and again, as from a source that did not read them anew.
CHOICES = [services("api"), services("web"), slices("api", "a"), slices("api", "b"), slices("web", "w"), PODS]
worlds = st.tuples(*(st.sampled_from(choice) for choice in CHOICES))
World = tuple[Object | None, ...]


def content(host: Host) -> dict[object, object]:
    """What the maps mean: each entry's kind and backends; numbers and the order of slots are a node's own affair."""
    visible = host.reader.visible()
    entries = read_state(host.services, host.backends).entries
    return {place: (visible.get(place), value.flags, value.affinity) for place, value in entries.items()}


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(worlds, st.booleans()), min_size=1, max_size=8))
def test_any_order_of_events_leads_to_the_same_maps(steps: list[tuple[World, bool]]) -> None:
    host, fresh = Host(), Host()
    for world, restart in steps:
        if restart:
            host.table = Host().table
            host.reconciler = ServiceReconciler(host.services, host.backends, host.reader.grace)
        objects = [one for one in world if one is not None]
        host.apply(*objects)
        assert host.reader.broken == []
    fresh.apply(*reversed(objects))
    host.collect()
    assert host.reader.broken == []
    assert content(host) == content(fresh)
    assert host.table.blocks == fresh.table.blocks
    assert len(host.backends.rows) == len(fresh.backends.rows)
    assert set(host.reconciler.names().values()) == set(fresh.reconciler.names().values())
    assert host.reconciler.frontends() == fresh.reconciler.frontends()
    keys = [port.entry.key for port in every_port(host.reconciler.in_force)]
    assert sorted(map(str, keys)) == sorted(str(port.entry.key) for port in every_port(fresh.reconciler.in_force))
