"""Classes by number, and which of them each peer means.

A number, once given, stays with its description. A class that has lost its last address is kept for a while: the
pod that was replaced is back in a moment, and rulesets that were made before it went are still in force until theirs
are switched. `sweep` lets go of those that have been empty since an earlier look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sized
from itertools import islice

from daemon.policy.lens import WORLD, ClassKey, matched
from daemon.policy.parsed import BlockPeer, Peer, PodPeer
from daemon.policy.table import WORLD_CLASS

EMPTY_MAX = 256  # empty classes that are kept; their entries cost room in the kernel
SWEPT_AT_ONCE = 32  # of those beyond; each may change many rulesets

_PLACELESS = "pods of any namespace", "blocks", "others"


class Numbers:
    """Gives out numbers, each once."""

    def __init__(self, first: int) -> None:
        self._next = first

    def take(self) -> int:
        number = self._next
        self._next += 1
        return number


class Classes:
    """All classes that an address has, or had of late. `born` are those since the last `settle`."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._by_key: dict[ClassKey, int] = {WORLD: WORLD_CLASS}
        self._used: Counter[int] = Counter({WORLD_CLASS: 1})
        self._empty: dict[int, None] = {}  # in the order in which they became so
        self.keys: dict[int, ClassKey] = {WORLD_CLASS: WORLD}
        self.by_namespace: dict[str, set[int]] = {}
        self.born: list[int] = []

    def take(self, key: ClassKey) -> int:
        """The number for one more address of that description."""
        number = self._by_key.get(key)
        if number is None:
            number = self._by_key[key] = self._numbers.take()
            self.keys[number] = key
            self.born.append(number)
            self.by_namespace.setdefault(_space(key), set()).add(number)
        self._used[number] += 1
        self._empty.pop(number, None)
        return number

    def drop(self, number: int) -> None:
        """One address less."""
        self._used[number] -= 1
        if not self._used[number]:
            self._empty[number] = None

    def rename(self, number: int, groups: Mapping[ClassKey, Sized]) -> None:
        """All that policies look at changed, and these are the descriptions of a class's addresses now.

        Where none of them stays behind the largest group of a new description takes the number along: nothing that
        policies in force look at tells the two descriptions apart.
        """
        free = [key for key in groups if key not in self._by_key]
        if not free or self._used[number] != sum(map(len, groups.values())):
            return
        before, key = self.keys[number], max(free, key=lambda one: len(groups[one]))
        del self._by_key[before]
        self._by_key[key], self.keys[number] = number, key
        self.by_namespace[_space(before)].discard(number)
        self.by_namespace.setdefault(_space(key), set()).add(number)

    def sweep(self) -> set[int]:
        """Forget some empty classes where there are too many of them, the longest empty first; which."""
        gone = set(islice(self._empty, min(SWEPT_AT_ONCE, max(0, len(self._empty) - EMPTY_MAX))))
        for number in gone:
            key = self.keys.pop(number)
            del self._by_key[key], self._used[number], self._empty[number]
            self.by_namespace[_space(key)].discard(number)
        return gone


class Members:
    """For each peer that is in use, the classes that it means."""

    def __init__(self, classes: Classes) -> None:
        self._classes = classes
        self._uses: Counter[Peer] = Counter()
        self._buckets: dict[str, set[Peer]] = {}
        self.of: dict[Peer, set[int]] = {}

    def use(self, peers: Iterable[Peer]) -> None:
        for peer in peers:
            self._uses[peer] += 1
            if self._uses[peer] == 1:
                self._buckets.setdefault(_bucket(peer), set()).add(peer)
                self.of[peer] = {
                    number for number in self._candidates(peer) if matched(peer, self._classes.keys[number])
                }

    def leave(self, peers: Iterable[Peer]) -> None:
        for peer in peers:
            self._uses[peer] -= 1
            if not self._uses[peer]:
                del self._uses[peer], self.of[peer]
                self._buckets[_bucket(peer)].discard(peer)

    def admit(self, number: int) -> list[Peer]:
        """Take in a new class; the peers that mean it."""
        key = self._classes.keys[number]
        places = [*_PLACELESS[:1], f"/{key.pod.namespace}"] if key.pod else []
        places += [_PLACELESS[1]] if key.zone else []
        places += [_PLACELESS[2]] if key.names or key.nodes else []
        found = [peer for place in places for peer in self._buckets.get(place, ()) if matched(peer, key)]
        for peer in found:
            self.of[peer].add(number)
        return found

    def forget(self, numbers: set[int]) -> None:
        for members in self.of.values():
            members -= numbers

    def _candidates(self, peer: Peer) -> Iterable[int]:
        if isinstance(peer, PodPeer) and peer.namespace:
            return self._classes.by_namespace.get(peer.namespace, ())
        return self._classes.keys


def _space(key: ClassKey) -> str:
    return key.pod.namespace if key.pod else ""


def _bucket(peer: Peer) -> str:
    """Where a class has to look for peers that may mean it."""
    if isinstance(peer, PodPeer):
        return f"/{peer.namespace}" if peer.namespace else _PLACELESS[0]
    return _PLACELESS[1] if isinstance(peer, BlockPeer) else _PLACELESS[2]
