"""What the reconciler writes, which numbers it gives, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from daemon.model.directory import Directory, Frontend, ServiceName
from daemon.model.objects import AddressType, Endpoint, EndpointPort, EndpointSlice, ObjectMeta, Service, ServicePort
from daemon.model.objects import ServiceSpec as Spec
from daemon.model.snapshot import Snapshot
from daemon.services.compile import compile_services
from daemon.services.force import every_port
from daemon.services.plan import arrange
from daemon.services.reconcile import Changes, ServiceReconciler
from daemon.services.table import Scope
from ebpf.addresses import pack
from ebpf.errors import MapFullError
from ebpf.grace import wait_for_readers
from tests.unit.services.build import HERE, compiled, service, slice_
from tests.unit.services.memory import MemoryMap, backend_map, service_map


def no_grace() -> None:
    """Tests have no programs to wait for."""


@pytest.fixture
def services() -> MemoryMap:
    return service_map()


@pytest.fixture
def backends() -> MemoryMap:
    return backend_map()


@pytest.fixture
def reconciler(services: MemoryMap, backends: MemoryMap) -> ServiceReconciler:
    return ServiceReconciler(services, backends, no_grace)


API: list[Service | EndpointSlice] = [service("api"), slice_("api", "10.0.0.1 10.0.0.2")]
PORT = ServicePort(80, "http")
WEB: list[Service | EndpointSlice] = [service("web", "10.96.0.2"), slice_("web", "10.0.0.3")]


def numbers(reconciler: ServiceReconciler) -> dict[str, int]:
    return {port.entry.key.name.name: port.number for port in every_port(reconciler.in_force)}


def test_entries_and_slots_are_written_in_the_kernels_own_form(
    reconciler: ServiceReconciler, services: MemoryMap, backends: MemoryMap
) -> None:
    assert reconciler.apply(compiled(*API)) == Changes(added=1)
    rows = {key: np.frombuffer(value, np.uint32).tolist() for key, value in services.rows.items()}
    assert rows == {
        pack("10.96.0.1") + b"\x00\x50" + b"\x06" + b"\x00": [1, 2, 1, 0],
        pack("10.96.0.1") + b"\x00\x00" + b"\x00" + b"\x00": [0, 0, 64, 0],
    }
    slots, records = backends.items()
    assert slots[["service", "slot"]].tolist() == [(1, 0), (1, 1)]
    expected = [pack("10.0.0.1") + b"\x1f\x90\0\0", pack("10.0.0.2") + b"\x1f\x90\0\0"]
    assert [record.tobytes() for record in records] == expected


def test_an_apply_without_a_difference_writes_nothing(
    reconciler: ServiceReconciler, services: MemoryMap, backends: MemoryMap
) -> None:
    reconciler.apply(compiled(*API))
    calls = services.calls, backends.calls
    assert not reconciler.apply(compiled(*API))
    assert (services.calls, backends.calls) == calls


def test_a_restarted_agent_adopts_numbers_and_writes_nothing(services: MemoryMap, backends: MemoryMap) -> None:
    first = ServiceReconciler(services, backends, no_grace)
    first.apply(compiled(*WEB))
    first.apply(compiled(*API, *WEB))
    calls = services.calls, backends.calls
    second = ServiceReconciler(services, backends, no_grace)
    assert second.apply(compiled(*API, *WEB)) == Changes()
    assert numbers(second) == numbers(first) == {"web": 1, "api": 2}
    assert (services.calls, backends.calls) == calls


def test_a_new_service_gets_a_number_above_all_that_the_maps_mention(services: MemoryMap, backends: MemoryMap) -> None:
    ServiceReconciler(services, backends, no_grace).apply(compiled(*API, *WEB))
    later = ServiceReconciler(services, backends, no_grace)
    later.apply(compiled(*WEB, service("new", "10.96.0.3")))
    assert numbers(later) == {"web": 2, "new": 3}


OUTSIDE: dict[str, object] = {"type": "NodePort", "externalIPs": ["203.0.113.9"]}
NODE_PORT: dict[str, object] = {"port": 80, "nodePort": 30080}


def test_a_restarted_agent_adopts_the_number_that_several_frontends_share(
    services: MemoryMap, backends: MemoryMap
) -> None:
    objects = service("api", "10.96.0.1", NODE_PORT, **OUTSIDE), API[1], *WEB
    ServiceReconciler(services, backends, no_grace).apply(compiled(*objects))
    calls = services.calls, backends.calls
    second = ServiceReconciler(services, backends, no_grace)
    assert not second.apply(compiled(*objects))
    assert (services.calls, backends.calls) == calls
    assert len(second.frontends()) == 4


def test_a_number_whose_frontends_have_two_policies_after_a_restart_is_given_to_neither(
    services: MemoryMap, backends: MemoryMap
) -> None:
    ServiceReconciler(services, backends, no_grace).apply(compiled(service("api", "10.96.0.1", NODE_PORT, **OUTSIDE)))
    second = ServiceReconciler(services, backends, no_grace)
    changed = service("api", "10.96.0.1", NODE_PORT, internalTrafficPolicy="Local", **OUTSIDE)
    second.apply(compiled(changed, API[1]))
    found = {port.entry.key.scope: port.number for port in every_port(second.in_force)}
    assert found == {Scope.LOCAL: 2, Scope.CLUSTER: 3} or found == {Scope.LOCAL: 3, Scope.CLUSTER: 2}


def test_an_entry_that_stands_for_an_address_gives_no_number_away(services: MemoryMap, backends: MemoryMap) -> None:
    keys, values = np.zeros(1, services.key_dtype), np.zeros(1, services.value_dtype)
    keys["addr"] = np.frombuffer(pack("10.96.0.1"), np.uint32)
    keys["port"], keys["proto"] = np.uint16(80).byteswap(), 6
    services.update(keys, values)
    reconciler = ServiceReconciler(services, backends, no_grace)
    reconciler.apply(compiled(*API))
    assert numbers(reconciler) == {"api": 1}


def test_a_change_writes_only_what_it_concerns(
    reconciler: ServiceReconciler, services: MemoryMap, backends: MemoryMap
) -> None:
    before = compiled(*API, *WEB)
    reconciler.apply(before)
    writes: list[str] = []
    services.on_write, backends.on_write = (lambda: writes.append("entry")), (lambda: writes.append("slot"))
    reconciler.apply(compiled(API[0], slice_("api", "10.0.0.1 10.0.0.7"), *WEB, before=before))
    assert writes == ["slot"]


def test_slots_that_nothing_counts_stay_until_they_are_collected(services: MemoryMap, backends: MemoryMap) -> None:
    waits: list[int] = []
    reconciler = ServiceReconciler(services, backends, lambda: waits.append(len(backends.rows)))
    reconciler.apply(compiled(*API))
    reconciler.apply(compiled(API[0], slice_("api", "10.0.0.1 10.0.0.7 10.0.0.8")))
    assert reconciler.spare == {}
    reconciler.apply(compiled(API[0], slice_("api", "10.0.0.8")))
    assert len(backends.rows) == 3
    assert reconciler.spare == {1: 1}
    reconciler.collect(reconciler.written)
    assert len(backends.rows) == 1
    assert reconciler.spare == {}
    assert waits == []


def test_slots_that_a_later_change_left_are_not_collected_with_earlier_ones(
    reconciler: ServiceReconciler, backends: MemoryMap
) -> None:
    reconciler.apply(compiled(*API, *WEB))
    reconciler.apply(compiled(*API))
    until = reconciler.written
    reconciler.apply(compiled(API[0], slice_("api", "10.0.0.1")))
    reconciler.collect(until)
    assert sorted(backends.items()[0][["service", "slot"]].tolist()) == [(1, 0), (1, 1)]
    assert reconciler.spare == {1: 1}


def test_a_spare_slot_is_used_again(reconciler: ServiceReconciler, backends: MemoryMap) -> None:
    reconciler.apply(compiled(*API))
    reconciler.apply(compiled(API[0], slice_("api", "10.0.0.1")))
    until, calls = reconciler.written, backends.calls
    assert reconciler.apply(compiled(*API)) == Changes(changed=1)
    reconciler.collect(until)
    assert backends.calls == calls
    assert sorted(backends.items()[0][["service", "slot"]].tolist()) == [(1, 0), (1, 1)]


def test_spare_slots_make_room_in_a_full_map(services: MemoryMap) -> None:
    backends, waits = backend_map(3), []
    reconciler = ServiceReconciler(services, backends, lambda: waits.append(len(backends.rows)))
    reconciler.apply(compiled(*API))
    reconciler.apply(compiled(API[0], slice_("api", "10.0.0.1")))
    assert reconciler.apply(compiled(API[0], slice_("api", "10.0.0.1"), *WEB)) == Changes(added=1)
    assert waits == []
    reconciler.apply(compiled(service("web", "10.96.0.2"), slice_("web", "10.0.0.3 10.0.0.4 10.0.0.5")))
    assert waits[0] == 3
    assert len(backends.rows) == 3


def test_a_service_that_comes_back_is_a_new_one(reconciler: ServiceReconciler) -> None:
    reconciler.apply(compiled(*API))
    reconciler.apply(compiled())
    reconciler.apply(compiled(*API))
    assert numbers(reconciler) == {"api": 2}


def test_an_address_that_moves_to_another_service_takes_its_number(
    reconciler: ServiceReconciler, backends: MemoryMap
) -> None:
    reconciler.apply(compiled(*API))
    changes = reconciler.apply(compiled(service("other"), slice_("other", "10.0.0.9")))
    assert changes == Changes(changed=1)
    assert numbers(reconciler) == {"other": 2}
    reconciler.collect(reconciler.written)
    assert backends.items()[0][["service", "slot"]].tolist() == [(2, 0)]


def test_a_service_keeps_its_number_when_its_address_changes(reconciler: ServiceReconciler) -> None:
    reconciler.apply(compiled(*API))
    changes = reconciler.apply(compiled(service("api", "10.96.0.77"), API[1]))
    assert changes == Changes(added=1, removed=1)
    assert numbers(reconciler) == {"api": 1}


def test_a_change_of_backends_alone_is_counted(reconciler: ServiceReconciler) -> None:
    reconciler.apply(compiled(*API, *WEB))
    assert reconciler.apply(compiled(API[0], slice_("api", "10.0.0.1 10.0.0.7"), *WEB)) == Changes(changed=1)


def test_a_removed_service_leaves_no_entry_and_no_slot(
    reconciler: ServiceReconciler, services: MemoryMap, backends: MemoryMap
) -> None:
    reconciler.apply(compiled(*API))
    assert reconciler.apply(compiled()) == Changes(removed=1)
    reconciler.collect(reconciler.written)
    assert (services.rows, backends.rows) == ({}, {})


def test_a_first_sync_is_one_call_for_each_map(
    reconciler: ServiceReconciler, services: MemoryMap, backends: MemoryMap
) -> None:
    reconciler.apply(compiled(*API, *WEB))
    assert (services.calls, backends.calls) == (1, 1)


def test_what_does_not_fit_is_refused_whole_and_says_what_to_do(services: MemoryMap) -> None:
    backends = backend_map(3)
    reconciler = ServiceReconciler(services, backends, no_grace)
    reconciler.apply(compiled(*API))
    before = dict(services.rows), dict(backends.rows)
    with pytest.raises(MapFullError, match=r"backends has room for 3 entries and the Services need 4.*backends_max"):
        reconciler.apply(compiled(*API, service("web", "10.96.0.2"), slice_("web", "10.0.0.3 10.0.0.4")))
    assert (services.rows, backends.rows) == before
    assert numbers(reconciler) == {"api": 1}
    reconciler.apply(compiled(*API, *WEB))
    assert len(backends.rows) == 3


def test_a_full_map_makes_room_before_it_takes_the_new(services: MemoryMap) -> None:
    backends = backend_map(2)
    reconciler = ServiceReconciler(services, backends, no_grace)
    reconciler.apply(compiled(*API))
    assert reconciler.apply(compiled(*WEB)) == Changes(added=1, removed=1)
    assert len(backends.rows) == 1


def test_a_full_entry_map_makes_room_even_for_services_without_backends(backends: MemoryMap) -> None:
    services = service_map(2)
    reconciler = ServiceReconciler(services, backends, no_grace)
    reconciler.apply(compiled(service("api")))
    assert reconciler.apply(compiled(*WEB)) == Changes(added=1, removed=1)
    assert len(services.rows) == 2


@pytest.mark.parametrize(
    ("held", "wanted", "slots"),
    [
        ("", "abc", "abc"),
        ("abc", "abc", "abc"),
        ("cab", "abc", "cab"),
        ("abc", "bc", "cb"),
        ("abc", "ab", "ab"),
        ("abcd", "ad", "ad"),
        ("abcd", "axd", "axd"),
        ("abc", "xyz", "xyz"),
        ("ab", "xyz", "xyz"),
        ("aab", "ab", "ab"),
        ("abc", "", ""),
        ("abcde", "e", "e"),
    ],
)
def test_backends_that_stay_keep_their_slot_and_holes_are_filled(held: str, wanted: str, slots: str) -> None:
    assert b"".join(arrange([bytes([ord(c)]) for c in held], [bytes([ord(c)]) for c in wanted])).decode() == slots


def test_slots_that_a_killed_agent_left_are_cleaned_up(services: MemoryMap, backends: MemoryMap) -> None:
    keys, values = np.zeros(3, backends.key_dtype), np.ones(3, backends.value_dtype)
    keys["service"], keys["slot"] = [7, 7, 9], [0, 5, 2]
    backends.update(keys, values)
    reconciler = ServiceReconciler(services, backends, no_grace)
    reconciler.apply(compiled(*WEB))
    reconciler.collect(reconciler.written)
    assert backends.items()[0][["service", "slot"]].tolist() == [(10, 0)]


def test_the_directory_learns_names_by_number_and_by_frontend(reconciler: ServiceReconciler) -> None:
    reconciler.apply(compiled(*API, *WEB))
    directory = Directory()
    directory.update_services(reconciler.names(), reconciler.frontends())
    assert directory.service(1) == ServiceName("shop", "api")
    assert directory.frontend(pack("10.96.0.2"), 80, 6) == ServiceName("shop", "web")
    assert reconciler.frontends()[Frontend(pack("10.96.0.1"), 80, 6)].name == "api"


def test_waiting_for_readers_comes_back() -> None:
    wait_for_readers()


def test_of_ten_thousand_services_of_ten_endpoints_a_change_writes_only_what_changed(
    reconciler: ServiceReconciler, backends: MemoryMap
) -> None:
    made, slices = [], []
    for index in range(10_000):
        tail = f"{index // 250}.{index % 250}"
        made.append(Service(ObjectMeta(f"s{index}", "shop"), Spec(cluster_ips=(f"10.96.{tail}",), ports=(PORT,))))
        meta = ObjectMeta(f"s{index}-a", "shop", {"kubernetes.io/service-name": f"s{index}"})
        endpoints = tuple(Endpoint((f"10.{number}.{tail}",)) for number in range(10))
        slices.append(EndpointSlice(meta, AddressType.IPV4, endpoints, (EndpointPort(8080, "http"),)))
    table = compile_services(Snapshot(tuple(made), tuple(slices)), HERE)
    assert reconciler.apply(table) == Changes(added=10_000)
    assert len(backends.rows) == 100_000
    for index in range(0, 10_000, 500):
        endpoints = (*slices[index].endpoints[1:], Endpoint((f"10.99.0.{index // 500}",)))
        slices[index] = replace(slices[index], endpoints=endpoints)
        table = compile_services(Snapshot(tuple(made), tuple(slices)), HERE, table)
        assert reconciler.apply(table) == Changes(changed=1)
