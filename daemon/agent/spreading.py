"""Which Services spread their clients outside by Maglev, followed from table to table at the price of what changed."""

from __future__ import annotations

from collections.abc import Mapping

from daemon.model.objects import Service
from daemon.model.shelves import Shelves, differing
from daemon.services import Applied, Origin, PortsInForce, ServiceTable
from daemon.services.balance import Balance, usable
from daemon.settings import OutsideAlgorithm
from ebpf.constants import FrontendFlag
from ebpf.errors import MapFullError
from ebpf.maps import HashMap

OUTSIDE = FrontendFlag.NODE_PORT | FrontendFlag.LOAD_BALANCER | FrontendFlag.EXTERNAL_IP

Name = tuple[str, str]


class Spreading:
    """For the programmer's thread; `default` is for Services that say nothing."""

    def __init__(self, maps: Mapping[str, HashMap], places: int, default: OutsideAlgorithm) -> None:
        self._balance = Balance(maps, places)
        self._default = default
        self._blocks: Mapping[Origin, object] = Shelves()
        self._services: Mapping[Name, Service] = Shelves()
        self._wanted: dict[Name, dict[int, bytes]] = {}
        self._begun = False
        self._unchecked = False

    @property
    def pending(self) -> bool:
        """Whether a table is still to be built."""
        return self._balance.pending

    @property
    def due(self) -> bool:
        """Whether there is anything to build, to check or to delete."""
        return self._unchecked or self.pending or bool(self.spare)

    @property
    def spare(self) -> int:
        """The newest change that left something to delete, 0: there is nothing."""
        return self._balance.spare

    def algorithm(self, service: Service) -> OutsideAlgorithm:
        """What a Service asks for; what is no algorithm is passed over."""
        try:
            return OutsideAlgorithm(service.metadata.annotations.algorithm)
        except ValueError:
            return self._default

    def follow(self, table: ServiceTable, in_force: PortsInForce) -> None:
        """Take over a table that is in force; raises KernelError."""
        services, blocks = table.workings.services, table.blocks
        touched = {name for side in differing(self._services, services) for name in side}
        touched |= {
            (one.namespace, one.name) for side in differing(self._blocks, blocks) for one in side if not one.pod
        }
        self._services, self._blocks = services, blocks
        changed = not self._begun
        for name in touched:
            before = self._wanted.pop(name, {})
            wanted = self._ports(services.get(name), in_force.get(Origin(False, *name), ()))
            if wanted:
                self._wanted[name] = wanted
            changed = changed or wanted != before
        if changed:
            self._begun = self._unchecked = True
            self._balance.want({number: blob for ports in self._wanted.values() for number, blob in ports.items()})

    def work(self) -> None:
        """Build one table; raises KernelError."""
        self._balance.work()

    def collect(self, until: int) -> None:
        """Delete what is spare since the change `until`; raises KernelError."""
        self._balance.collect(until)

    def check(self) -> None:
        """Raises MapFullError where Services are balanced at random for want of room."""
        self._unchecked = False
        if self._balance.left_out:
            what = f"no room for the tables of {self._balance.left_out} Service ports, which are balanced at random"
            raise MapFullError(what, hint="raise maglev_rows or backends in the settings")

    def _ports(self, service: Service | None, applied: tuple[Applied, ...]) -> dict[int, bytes]:
        if service is None or self.algorithm(service) is not OutsideAlgorithm.MAGLEV:
            return {}
        return {
            one.number: one.entry.backends
            for one in applied
            if usable(one.entry.backends) and any(flags & OUTSIDE for flags in one.entry.frontends.values())
        }
