"""Cases of outside suites as data: what is in the cluster at each step, and who reaches whom then.

They are written for every level at which policy is tried: the compiler's tables, the kernel's maps, real sockets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from tests.support.policies import Object

Pair = tuple[str, str]


@dataclass(frozen=True)
class Expectation:
    """One probe: pods as "namespace/name" or an address, the port as "80/TCP"."""

    source: str
    destination: str
    port: str
    passes: bool


@dataclass(frozen=True)
class Step:
    """A state of the cluster and what holds in it."""

    objects: tuple[Object, ...]
    expected: tuple[Expectation, ...]


@dataclass(frozen=True)
class Case:
    """One test of a suite, by a name of ours."""

    name: str
    steps: tuple[Step, ...]


@dataclass
class Matrix:
    """Who reaches whom among some pods, everybody at first; patterns as in a shell, later words win."""

    pods: tuple[str, ...]
    _blocked: set[Pair] = field(default_factory=set)

    def deny(self, source: str = "*", destination: str = "*") -> Matrix:
        self._blocked.update(self._pairs(source, destination))
        return self

    def allow(self, source: str = "*", destination: str = "*") -> Matrix:
        self._blocked.difference_update(self._pairs(source, destination))
        return self

    def expected(self, port: str) -> tuple[Expectation, ...]:
        """Every pair but those of a pod with itself, which never is kept from itself."""
        everybody = self._pairs("*", "*")
        return tuple(Expectation(*pair, port, pair not in self._blocked) for pair in everybody if pair[0] != pair[1])

    def _pairs(self, source: str, destination: str) -> Iterator[Pair]:
        for one in self.pods:
            for other in self.pods:
                if fnmatchcase(one, source) and fnmatchcase(other, destination):
                    yield one, other
