"""All objects of one kind, as last heard of.

An object whose used fields did not change stays the very same object: a pod's heartbeat or a relist of ten thousand
Services is then no change at all for those who compare by identity.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Generic, TypeVar

from daemon.model.objects import KubeObject

T = TypeVar("T", bound=KubeObject)
Name = tuple[str, str]


class Cache(Generic[T]):
    """Objects by namespace and name. Every method that changes something returns whether anything did."""

    def __init__(self) -> None:
        self._objects: dict[Name, T] = {}
        self._names: list[Name] = []
        self._sorted: list[T] = []  # the objects of `_names`
        self._listed: tuple[T, ...] | None = ()

    def all(self) -> tuple[T, ...]:
        """All objects, sorted by namespace and name."""
        if self._listed is None:
            self._listed = tuple(self._sorted)
        return self._listed

    def get(self, name: Name) -> T | None:
        """The object of that name, None where there is none."""
        return self._objects.get(name)

    def put(self, found: T) -> bool:
        """An object was made or changed."""
        name = (found.namespace, found.name)
        known = self._objects.get(name)
        if known == found:
            return False
        place = bisect_left(self._names, name)
        if known is None:
            self._names.insert(place, name)
            self._sorted.insert(place, found)
        self._objects[name] = self._sorted[place] = found
        self._listed = None
        return True

    def remove(self, name: Name) -> bool:
        """An object is gone."""
        if self._objects.pop(name, None) is None:
            return False
        place = bisect_left(self._names, name)
        del self._names[place], self._sorted[place]
        self._listed = None
        return True

    def replace(self, listed: Mapping[Name, T]) -> bool:
        """These are all the objects there are."""
        known = self._objects
        merged = {name: known[name] if known.get(name) == found else found for name, found in listed.items()}
        if merged.keys() == known.keys() and all(known[name] is found for name, found in merged.items()):
            return False
        self._objects, self._names, self._listed = merged, sorted(merged), None
        self._sorted = [merged[name] for name in self._names]
        return True
