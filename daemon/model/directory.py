"""Names for numbers and addresses, asked by the flow side and kept up to date by the reconcilers.

Readers run in other threads than writers. So every update builds a new immutable view and swaps it in one
assignment: a reader never waits and never sees half an update.

Flows are told after the fact. A workload or Service that is gone must still have its name, so retired numbers stay
resolvable until `RETIRED_LIMIT` younger ones have followed them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import NamedTuple, TypeVar

from daemon.model.workload import Identity, IPAddress, Workload, WorkloadId

# Numbers of workloads (and, apart from them, of Services) that stay resolvable after they are gone.
RETIRED_LIMIT = 65_536

HOST = Workload(WorkloadId(1), Identity(1), "", "host", ("reserved:host",), (), ())
WORLD = Workload(WorkloadId(2), Identity(2), "", "world", ("reserved:world",), (), ())

# Smaller numbers are reserved; whoever gives out numbers starts here.
FIRST_WORKLOAD = WorkloadId(16)
FIRST_IDENTITY = Identity(256)

_V4_PREFIX = bytes(10) + b"\xff\xff"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class ServiceName:
    """One port of a Service; `port_name` is "" where the Service did not name it."""

    namespace: str
    name: str
    port_name: str = ""


class Frontend(NamedTuple):
    """Where a Service is reached: 16 bytes in network order, port in host order, IP protocol number.

    `scope` 1 is what clients outside get where they are answered otherwise than the cluster.
    """

    address: bytes
    port: int
    protocol: int
    scope: int = 0


@dataclass(frozen=True, slots=True)
class _Workloads:
    by_id: Mapping[int, Workload] = field(default_factory=dict)
    by_address: Mapping[bytes, Workload] = field(default_factory=dict)
    by_ifindex: Mapping[int, Workload] = field(default_factory=dict)
    retired: Mapping[int, Workload] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Services:
    by_number: Mapping[int, ServiceName] = field(default_factory=dict)
    by_frontend: Mapping[Frontend, ServiceName] = field(default_factory=dict)
    retired: Mapping[int, ServiceName] = field(default_factory=dict)
    ports: tuple[int, ...] = ()


class Directory:
    """Look-ups by number, address and device. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._workloads = _Workloads()
        self._services = _Services()
        self._writers = Lock()

    def by_id(self, number: int) -> Workload | None:
        """The workload of that number, also one that is gone; None for 0 and for numbers never seen."""
        view = self._workloads
        return view.by_id.get(number) or view.retired.get(number) or _RESERVED.get(number)

    def by_address(self, address: bytes) -> Workload | None:
        """The present holder of an address (16 bytes, network order, IPv4 as ::ffff:a.b.c.d)."""
        return self._workloads.by_address.get(address)

    def local(self, ifindex: int) -> Workload | None:
        """The workload behind a device of this node."""
        return self._workloads.by_ifindex.get(ifindex)

    def service(self, number: int) -> ServiceName | None:
        """The Service port of that number, also one that is gone."""
        view = self._services
        return view.by_number.get(number) or view.retired.get(number)

    def frontend(self, address: bytes, port: int, protocol: int) -> ServiceName | None:
        """The Service port reached under an address (16 bytes) and a port in host order."""
        return self._services.by_frontend.get(Frontend(address, port, protocol))

    @property
    def frontend_ports(self) -> tuple[int, ...]:
        """The ports of all frontends, each once."""
        return self._services.ports

    @property
    def state(self) -> tuple[object, object]:
        """Other objects after every update; whoever keeps what was looked up compares them by identity."""
        return self._workloads, self._services

    def workloads(self) -> tuple[Workload, ...]:
        """The present workloads, in the order in which they came."""
        return tuple(self._workloads.by_id.values())

    def update_workloads(self, workloads: Iterable[Workload]) -> None:
        """Replace all workloads. Of two that claim one address or device the later one gets it."""
        now = list(workloads)
        self.change_workloads(now, self._workloads.by_id.keys() - {one.id for one in now})

    def change_workloads(self, changed: Iterable[Workload], gone: Iterable[int]) -> None:
        """Take over workloads that are new or changed, and let go of those with these numbers."""
        new, left = list(changed), list(gone)
        if not new and not left:
            return
        with self._writers:
            self._workloads = _followed(self._workloads, new, left)

    def update_services(self, names: Mapping[int, ServiceName], frontends: Mapping[Frontend, ServiceName]) -> None:
        """Replace all Services: names by the kernel's service number, and by frontend."""
        with self._writers:
            before = self._services
            retired = _retire(before.retired, before.by_number, names, before.by_number.keys() ^ names.keys())
            ports = tuple({frontend.port for frontend in frontends})
            self._services = _Services(dict(names), dict(frontends), retired, ports)


_RESERVED: Mapping[int, Workload] = {HOST.id: HOST, WORLD.id: WORLD}


def packed(address: IPAddress) -> bytes:
    """An address as the kernel's maps write it: 16 bytes in network order, IPv4 as ::ffff:a.b.c.d."""
    return address.packed if address.version == 6 else _V4_PREFIX + address.packed


def _followed(before: _Workloads, changed: Sequence[Workload], gone: Sequence[int]) -> _Workloads:
    """The view after a change; copies of ten thousand entries are cheap, walks over them are not."""
    by_id, by_address = dict(before.by_id), dict(before.by_address)
    by_ifindex = dict(before.by_ifindex)
    touched = {*gone, *(one.id for one in changed)}
    for number in touched:
        old = before.by_id.get(number)
        for raw in map(packed, old.addresses) if old else ():
            if by_address.get(raw) is old:
                del by_address[raw]
        if old and by_ifindex.get(old.ifindex) is old:
            del by_ifindex[old.ifindex]
    for number in gone:
        by_id.pop(number, None)
    for one in changed:
        by_id[one.id] = one
        by_address.update(dict.fromkeys(map(packed, one.addresses), one))
        if one.ifindex:
            by_ifindex[one.ifindex] = one
    return _Workloads(by_id, by_address, by_ifindex, _retire(before.retired, before.by_id, by_id, touched))


def _retire(
    retired: Mapping[int, T], before: Mapping[int, T], now: Mapping[int, T], touched: Iterable[int]
) -> Mapping[int, T]:
    """The retired of before and those of the touched that leave now, oldest first, without the ones that came back."""
    leaving = sorted(number for number in touched if number in before and number not in now)
    back = {number for number in touched if number in retired and number in now}
    if not leaving and not back:
        return retired
    kept = {number: value for number, value in retired.items() if number not in back}
    for number in leaving:
        kept.pop(number, None)
        kept[number] = before[number]
    return dict(islice(kept.items(), max(0, len(kept) - RETIRED_LIMIT), None))
