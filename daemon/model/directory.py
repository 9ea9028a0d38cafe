"""Names for numbers and addresses, asked by the flow side and kept up to date by the reconcilers.

Readers run in other threads than writers. So every update makes a new immutable view, which shares what did not change
with the one before, and swaps it in one assignment: a reader never waits and never sees half an update.

Flows are told after the fact. A workload or Service that is gone must still have its name, so retired numbers stay
resolvable until `RETIRED_LIMIT` younger ones have followed them.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

from daemon.model.shelves import Draft, Shelves, differing
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
    by_id: Shelves[int, Workload] = field(default_factory=Shelves)
    by_address: Shelves[bytes, Workload] = field(default_factory=Shelves)
    by_ifindex: Shelves[int, Workload] = field(default_factory=Shelves)


@dataclass(frozen=True, slots=True)
class _Services:
    by_number: Mapping[int, ServiceName] = field(default_factory=Shelves)
    by_frontend: Mapping[Frontend, ServiceName] = field(default_factory=Shelves)
    ports: tuple[int, ...] = ()


class _Retired(Generic[T]):
    """What numbers stood for that are gone, the youngest of them. Changed in place; a look-up may come at any time."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, T] = OrderedDict()

    def get(self, number: int) -> T | None:
        return self._known.get(number)

    def take(self, leaving: Mapping[int, T]) -> None:
        for number in sorted(leaving):
            self._known[number] = leaving[number]
            self._known.move_to_end(number)
        while len(self._known) > RETIRED_LIMIT:
            self._known.popitem(last=False)

    def give_back(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._known.pop(number, None)


class Directory:
    """Look-ups by number, address and device. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._workloads = _Workloads()
        self._services = _Services()
        self._ports: Counter[int] = Counter()  # how many frontends have each
        self._gone_workloads: _Retired[Workload] = _Retired()
        self._gone_services: _Retired[ServiceName] = _Retired()
        self._writers = Lock()

    def by_id(self, number: int) -> Workload | None:
        """The workload of that number, also one that is gone; None for 0 and for numbers never seen."""
        return self._workloads.by_id.get(number) or self._gone_workloads.get(number) or _RESERVED.get(number)

    def by_address(self, address: bytes) -> Workload | None:
        """The present holder of an address (16 bytes, network order, IPv4 as ::ffff:a.b.c.d)."""
        return self._workloads.by_address.get(address)

    def local(self, ifindex: int) -> Workload | None:
        """The workload behind a device of this node."""
        return self._workloads.by_ifindex.get(ifindex)

    def service(self, number: int) -> ServiceName | None:
        """The Service port of that number, also one that is gone."""
        return self._services.by_number.get(number) or self._gone_services.get(number)

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

    @property
    def present(self) -> Mapping[int, Workload]:
        """The present workloads by number; a view that never changes."""
        return self._workloads.by_id

    def workloads(self) -> tuple[Workload, ...]:
        """The present workloads, in the order of their numbers."""
        by_id = self._workloads.by_id
        return tuple(by_id[number] for number in sorted(by_id))

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
            before = self._workloads.by_id
            self._gone_workloads.take({number: before[number] for number in left if number in before})
            self._workloads = _followed(self._workloads, new, left)
            self._gone_workloads.give_back(one.id for one in new)

    def update_services(self, names: Mapping[int, ServiceName], frontends: Mapping[Frontend, ServiceName]) -> None:
        """Replace all Services: names by the kernel's service number, and by frontend; neither changes afterwards."""
        with self._writers:
            before = self._services
            if before.by_number is names and before.by_frontend is frontends:
                return
            gone, new = differing(before.by_number, names)
            self._gone_services.take({number: gone[number] for number in gone.keys() - new.keys()})
            self._services = _Services(names, frontends, self._counted(before, frontends))
            self._gone_services.give_back(new)

    def _counted(self, before: _Services, frontends: Mapping[Frontend, ServiceName]) -> tuple[int, ...]:
        """The ports of these frontends."""
        gone, new = differing(before.by_frontend, frontends)
        if gone.keys() == new.keys():
            return before.ports
        self._ports.update(place.port for place in new)
        self._ports.subtract(place.port for place in gone)
        self._ports += Counter()  # without those that have come to nothing
        return tuple(self._ports)


_RESERVED: Mapping[int, Workload] = {HOST.id: HOST, WORLD.id: WORLD}


def packed(address: IPAddress) -> bytes:
    """An address as the kernel's maps write it: 16 bytes in network order, IPv4 as ::ffff:a.b.c.d."""
    return address.packed if address.version == 6 else _V4_PREFIX + address.packed


def _followed(before: _Workloads, changed: Sequence[Workload], gone: Sequence[int]) -> _Workloads:
    """The view after a change."""
    by_id, by_address, by_ifindex = Draft(before.by_id), Draft(before.by_address), Draft(before.by_ifindex)
    for number in {*gone, *(one.id for one in changed)}:
        old = by_id.pop(number, None)
        for raw in map(packed, old.addresses) if old else ():
            if by_address.get(raw) is old:
                del by_address[raw]
        if old and by_ifindex.get(old.ifindex) is old:
            del by_ifindex[old.ifindex]
    for one in changed:
        by_id[one.id] = one
        by_address.update(dict.fromkeys(map(packed, one.addresses), one))
        if one.ifindex:
            by_ifindex[one.ifindex] = one
    return _Workloads(by_id.done(), by_address.done(), by_ifindex.done())
