"""Names for numbers and addresses, also of what is gone."""

from __future__ import annotations

from ipaddress import ip_address
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.model import directory as module
from daemon.model.directory import HOST, WORLD, Directory, Frontend, ServiceName, packed
from daemon.model.workload import Identity, Workload, WorkloadId
from ebpf.addresses import pack


def workload(number: int, *addresses: str, namespace: str = "shop", ifindex: int = 0) -> Workload:
    parsed = tuple(ip_address(address) for address in addresses)
    return Workload(WorkloadId(number), Identity(300), namespace, f"w{number}", (), (), parsed, ifindex)


@pytest.mark.parametrize("text", ["10.0.0.1", "fd00::1", "::1", "255.255.255.255"])
def test_addresses_are_written_as_the_kernel_side_writes_them(text: str) -> None:
    assert packed(ip_address(text)) == pack(text)


def test_a_workload_is_found_by_number_by_each_address_and_by_device() -> None:
    directory, one = Directory(), workload(16, "10.0.0.1", "fd00::1", ifindex=7)
    directory.update_workloads([one, workload(17)])
    found = [directory.by_id(16), directory.by_address(pack("10.0.0.1")), directory.by_address(pack("fd00::1"))]
    assert [*found, directory.local(7)] == [one] * 4


def test_what_is_not_known_is_none() -> None:
    directory = Directory()
    directory.update_workloads([workload(16)])
    asked = [directory.by_id(0), directory.by_id(99), directory.by_address(bytes(16)), directory.local(0)]
    assert [*asked, directory.service(1), directory.frontend(bytes(16), 80, 6)] == [None] * 6


def test_the_reserved_workloads_are_always_there() -> None:
    directory = Directory()
    assert (directory.by_id(HOST.id), directory.by_id(WORLD.id)) == (HOST, WORLD)
    assert (HOST.identity, WORLD.identity) == (1, 2)


def test_a_workload_that_is_gone_keeps_its_name_but_not_its_address() -> None:
    directory, gone = Directory(), workload(16, "10.0.0.1", ifindex=7)
    directory.update_workloads([gone])
    directory.update_workloads([workload(17, "10.0.0.1")])
    assert directory.by_id(16) == gone
    assert directory.by_address(pack("10.0.0.1")) == workload(17, "10.0.0.1")
    assert directory.local(7) is None
    assert directory.workloads() == (workload(17, "10.0.0.1"),)


def test_a_workload_that_comes_back_is_told_as_it_is_now() -> None:
    directory = Directory()
    for addresses in (["10.0.0.1"], [], ["10.0.0.2"]):
        directory.update_workloads([workload(16, *addresses)] if addresses else [])
    assert directory.by_id(16) == workload(16, "10.0.0.2")


def test_only_the_youngest_of_the_retired_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETIRED_LIMIT", 3)
    directory = Directory()
    for number in range(16, 22):
        directory.update_workloads([workload(number)])
        directory.update_services({number: ServiceName("shop", f"s{number}")}, {})
    assert [number for number in range(16, 22) if directory.by_id(number)] == [18, 19, 20, 21]
    assert [number for number in range(16, 22) if directory.service(number)] == [18, 19, 20, 21]


def test_services_are_found_by_number_and_by_frontend_in_host_order() -> None:
    directory, name = Directory(), ServiceName("shop", "api", "http")
    directory.update_services({5: name}, {Frontend(pack("10.96.0.1"), 80, 6): name})
    assert directory.service(5) == name
    assert directory.frontend(pack("10.96.0.1"), 80, 6) == name
    assert directory.frontend(pack("10.96.0.1"), 80, 17) is None


def test_a_reader_in_another_thread_never_sees_half_an_update() -> None:
    directory, mixed = Directory(), []
    directory.update_workloads([workload(16, "10.0.0.1", namespace="a"), workload(17, "10.0.0.2", namespace="a")])

    def read() -> None:
        for _ in range(3000):
            if len({found.namespace for found in directory.workloads()}) != 1:
                mixed.append(directory.workloads())

    reader = Thread(target=read)
    reader.start()
    for turn in range(300):
        namespace = "ab"[turn % 2]
        directory.update_workloads([workload(16, namespace=namespace), workload(17, namespace=namespace)])
    reader.join()
    assert mixed == []


NAMED = st.dictionaries(
    st.builds(Frontend, st.just(bytes(16)), st.integers(1, 5), st.integers(6, 8)), st.integers(1, 9)
)


@given(st.lists(NAMED, max_size=8))
def test_after_any_updates_the_ports_of_frontends_are_those_that_there_are(updates: list[dict[Frontend, int]]) -> None:
    directory = Directory()
    for frontends in updates:
        names = {place: ServiceName("shop", f"s{number}") for place, number in frontends.items()}
        directory.update_services({}, names)
        assert sorted(directory.frontend_ports) == sorted({place.port for place in names})
