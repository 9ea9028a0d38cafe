"""The kernel's maps against the objects: what somebody changed is found, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.agent.verify import Difference, Promised, Report, verify
from daemon.services import ServiceReconciler, ServiceTable, every_port
from tests.unit.services.build import compiled, service, slice_
from tests.unit.services.memory import MemoryMap, backend_map, service_map


class Kernel:
    """Both maps as the reconciler left them."""

    def __init__(self) -> None:
        self.services, self.backends = service_map(1024), backend_map(4096)
        self.ranges = MemoryMap("source_ranges", "range_key", "address_key", 100)
        self.table: ServiceTable = compiled(
            service("web", "10.96.0.1", {"port": 80, "nodePort": 30080}, type="NodePort", sessionAffinity="ClientIP"),
            slice_("web", "10.0.0.1 10.0.0.2 10.0.0.3"),
        )
        self.reconciler = ServiceReconciler(self.services, self.backends, grace=lambda: None)
        self.reconciler.apply(self.table)

    def verify(self) -> Report:
        return verify(self.services, self.backends, self.ranges, promised(self.table, self.reconciler))

    def found(self) -> list[Difference]:
        return sorted(self.verify().differences, key=lambda one: (one.map, one.place))


def promised(table: ServiceTable, reconciler: ServiceReconciler) -> Promised:
    numbers = {one.entry.key: one.number for one in every_port(reconciler.in_force)}
    return Promised(reconciler.written, table.workings.snapshot, table.node, numbers, reconciler.spare)


def change(table: MemoryMap, row: int, **fields: object) -> None:
    """Overwrite fields of a value."""
    keys, values = table.items()
    changed = values[row : row + 1].copy()
    for name, value in fields.items():
        changed[name] = value
    table.update(keys[row : row + 1], changed)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def test_what_was_written_agrees(kernel: Kernel) -> None:
    assert kernel.verify() == Report((), 3, 3)


def test_a_frontend_that_is_gone_is_missing(kernel: Kernel) -> None:
    keys, _ = kernel.services.items()
    kernel.services.delete(keys[keys["port"] == np.array(80, ">u2").view(np.uint16)])
    (one,) = kernel.found()
    assert (one.kind, one.map, one.place, one.service) == ("missing", "services", "10.96.0.1:80/TCP", "shop/web")
    assert one.wanted == "number 1, 3 backends, ClusterIP, affinity 10800 s"


def test_an_address_entry_that_is_gone_is_missing(kernel: Kernel) -> None:
    keys, _ = kernel.services.items()
    kernel.services.delete(keys[keys["port"] == 0])
    (one,) = kernel.found()
    assert (one.kind, one.place, one.wanted) == (
        "missing",
        "10.96.0.1",
        "number 0, 0 backends, other ports refused, affinity 0 s",
    )


def test_only_the_fields_that_differ_are_told(kernel: Kernel) -> None:
    keys, _ = kernel.services.items()
    row = int(np.flatnonzero(keys["port"] == np.array(30080, ">u2").view(np.uint16))[0])
    change(kernel.services, row, affinity=1, backends=2)
    (one,) = kernel.found()
    assert (one.kind, one.place) == ("different", "0.0.0.0:30080/TCP")
    assert (one.wanted, one.found) == ("3 backends, affinity 10800 s", "2 backends, affinity 1 s")


def test_a_stranger_is_extra_in_both_maps(kernel: Kernel) -> None:
    keys, values = kernel.services.items()
    stranger, value = keys[:1].copy(), values[:1].copy()
    stranger["addr"], stranger["port"], stranger["proto"], value["service"] = 0, 5, 17, 99
    kernel.services.update(stranger, value)
    slot, backend = (columns[:1].copy() for columns in kernel.backends.items())
    slot["service"] = 99
    kernel.backends.update(slot, backend)
    assert [(one.kind, one.map) for one in kernel.found()] == [("extra", "backends"), ("extra", "services")]
    assert kernel.found()[0].place == "service 99 slot 0"


def test_a_backend_that_somebody_exchanged_is_shown_with_both_addresses(kernel: Kernel) -> None:
    change(kernel.backends, 1, port=np.array(9999, ">u2").view(np.uint16))
    (one,) = kernel.found()
    assert one == Difference("backends", "service 1 slot 1", "shop/web", "10.0.0.2:8080", "10.0.0.2:9999")


def test_a_hole_and_a_slot_too_many_are_told(kernel: Kernel) -> None:
    keys, values = kernel.backends.items()
    far = keys[:1].copy()
    far["slot"] = 5
    kernel.backends.update(far, values[:1].copy())
    kernel.backends.delete(keys[1:2])
    told = {one.place: one.kind for one in kernel.found()}
    assert told == {"service 1 slot 1": "missing", "service 1 slot 5": "extra"}


def test_a_slot_that_no_map_could_have_is_counted(kernel: Kernel) -> None:
    keys, values = kernel.backends.items()
    wild = keys[:1].copy()
    wild["slot"] = 1 << 31
    kernel.backends.update(wild, values[:1].copy())
    assert [one.found for one in kernel.found()] == ["1 entries"]


def test_a_table_that_was_never_applied_is_missing_whole(kernel: Kernel) -> None:
    services, backends = service_map(16), backend_map(16)
    report = verify(services, backends, kernel.ranges, promised(kernel.table, ServiceReconciler(services, backends)))
    assert {one.kind for one in report.differences} == {"missing"}
    assert len(report.differences) == 6


def test_slots_that_wait_to_be_collected_are_no_difference_and_others_are(kernel: Kernel) -> None:
    kernel.table = compiled(service("web", "10.96.0.1"), slice_("web", "10.0.0.1"))
    kernel.reconciler.apply(kernel.table)
    assert len(kernel.backends.rows) == 3
    assert kernel.verify() == Report((), 2, 1)
    keys, values = kernel.backends.items()
    keys = keys.copy()
    keys["service"] += 1
    kernel.backends.update(keys[:1], values[:1])
    assert [one.place for one in kernel.found()] == ["service 2 slot 0"]


def test_verifying_writes_nothing(kernel: Kernel) -> None:
    change(kernel.backends, 0, port=1)
    before = dict(kernel.services.rows), dict(kernel.backends.rows)
    kernel.verify()
    assert (kernel.services.rows, kernel.backends.rows) == before
