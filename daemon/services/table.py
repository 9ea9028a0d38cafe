"""What the kernel needs to know of Services: frontends, each with the backends behind it.

Pure data: nothing here says numbers or slots, so two tables can be compared. A table is made of blocks, one for each
Service and each pod with host ports; a block that nothing touched is the very same object in the next table, which is
how whoever follows finds the difference without looking at what is in the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from daemon.model.directory import Frontend, ServiceName
from daemon.model.objects import EndpointSlice, Service
from daemon.model.shelves import Shelves
from daemon.model.snapshot import Snapshot
from daemon.model.workload import IPAddress, Node
from ebpf.addresses import unpack
from ebpf.constants import FrontendFlag

RECORD_SIZE = 18  # bytes of one backend: address (16) and port (2), network order

RANGE_SIZE = 17  # bytes of one source range: prefix length of 128 (1) and address (16)


class Scope(Enum):
    """From where the backends of a port are taken. Frontends of one scope share a number, and so affinity."""

    CLUSTER = "cluster"
    LOCAL = "local"
    POD = "pod"  # the one pod that has the host port


class PortKey(NamedTuple):
    """The unit of balancing: one port in one family and scope; `protocol` is the IP protocol's number."""

    name: ServiceName
    protocol: int
    family: int
    scope: Scope = Scope.CLUSTER


class Origin(NamedTuple):
    """Where a block comes from. The order is that in which claims to one frontend are honoured: Services first."""

    pod: bool
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ServicePortEntry:
    """One balanced port. `backends` are records of RECORD_SIZE bytes, sorted, without duplicates.

    Each frontend says what it is (ClusterIP, node port …). `affinity` is in seconds, 0 for none. `drop`: endpoints
    exist but the traffic policy admits none of them, so clients are not to be told that nothing is there. `ranges` are
    the prefixes (RANGE_SIZE bytes each: length of 128, address) from which frontends with FrontendFlag.RANGES are open.
    `retained` are, for UDP, the endpoints that are not chosen and still serve: they keep the flows that they have.
    """

    key: PortKey
    frontends: Mapping[Frontend, FrontendFlag]
    backends: bytes
    affinity: int = 0
    drop: bool = False
    ranges: tuple[bytes, ...] = ()
    retained: bytes = b""

    @property
    def count(self) -> int:
        return len(self.backends) // RECORD_SIZE

    def targets(self) -> tuple[tuple[IPAddress, int], ...]:
        """The backends as addresses and ports in host order."""
        return tuple((unpack(record[:16]), int.from_bytes(record[16:])) for record in records(self.backends))


@dataclass(frozen=True, slots=True)
class Block:
    """What one Service or pod has in the table.

    `addresses` are frontends of port 0 and protocol 0: whoever asks for another port of such an address is refused.
    """

    entries: tuple[ServicePortEntry, ...] = ()
    addresses: tuple[Frontend, ...] = ()

    def places(self) -> Iterator[Frontend]:
        """All frontends, addresses included."""
        for entry in self.entries:
            yield from entry.frontends
        yield from self.addresses


@dataclass(frozen=True, slots=True)
class Workings:
    """From what a table was compiled, sorted for the next compilation: see `compile`."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    services: Mapping[tuple[str, str], Service] = field(default_factory=Shelves)
    slices: Mapping[tuple[str, str], tuple[EndpointSlice, ...]] = field(default_factory=Shelves)
    claims: Mapping[Frontend, tuple[Origin, ...]] = field(default_factory=Shelves)
    parts: Mapping[Origin, Block] = field(default_factory=Shelves)


@dataclass(frozen=True)
class ServiceTable:
    """All that a node balances. No frontend is in two blocks."""

    node: Node
    blocks: Mapping[Origin, Block] = field(default_factory=Shelves)
    workings: Workings = field(default_factory=Workings, repr=False, compare=False)

    @cached_property
    def entries(self) -> tuple[ServicePortEntry, ...]:
        """All balanced ports, by origin."""
        return tuple(entry for origin in sorted(self.blocks) for entry in self.blocks[origin].entries)

    @cached_property
    def frontends(self) -> dict[Frontend, ServicePortEntry]:
        """Every frontend with the port that it leads to; addresses are not among them."""
        return {frontend: entry for entry in self.entries for frontend in entry.frontends}

    @cached_property
    def addresses(self) -> frozenset[Frontend]:
        """The addresses whose other ports are refused."""
        return frozenset(place for block in self.blocks.values() for place in block.addresses)


def records(blob: bytes) -> list[bytes]:
    """The single backends of a run of records."""
    bounds = range(0, len(blob) + 1, RECORD_SIZE)
    return [blob[start:stop] for start, stop in pairwise(bounds)]
