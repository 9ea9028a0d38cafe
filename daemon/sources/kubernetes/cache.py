"""All objects of one kind, as last heard of.

An object whose used fields did not change stays the very same object: a pod's heartbeat or a relist of ten thousand
Services is then no change at all for those who compare by identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from daemon.model.listing import Listing, Name, Ordered, name_of
from daemon.model.objects import KubeObject

T = TypeVar("T", bound=KubeObject)


class Cache(Generic[T]):
    """Objects by namespace and name. Every method that changes something returns whether anything did."""

    def __init__(self) -> None:
        self._objects: dict[Name, T] = {}
        self._ordered: Ordered[T] = Ordered()

    def all(self) -> Listing[T]:
        """All objects, sorted by namespace and name."""
        return self._ordered.all()

    def get(self, name: Name) -> T | None:
        """The object of that name, None where there is none."""
        return self._objects.get(name)

    def put(self, found: T) -> bool:
        """An object was made or changed."""
        if self._objects.get(name_of(found)) == found:
            return False
        self._objects[name_of(found)] = found
        self._ordered.put(found)
        return True

    def remove(self, name: Name) -> bool:
        """An object is gone."""
        if self._objects.pop(name, None) is None:
            return False
        self._ordered.remove(name)
        return True

    def replace(self, listed: Mapping[Name, T]) -> bool:
        """These are all the objects there are."""
        known = self._objects
        merged = {name: known[name] if known.get(name) == found else found for name, found in listed.items()}
        if merged.keys() == known.keys() and all(known[name] is found for name, found in merged.items()):
            return False
        self._objects, self._ordered = merged, Ordered(merged.values())
        return True
