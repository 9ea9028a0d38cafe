"""What the pinned maps of an agent say, read from outside and free of the numbers that only this agent chose."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ebpf.addresses import unpack
from ebpf.libbpf import MapType
from ebpf.maps import Columns, HashMap, MapSpec
from tests.support.layouts import dtype

STRUCTS = {
    "services": ("frontend_key", "frontend"),
    "backends": ("backend_key", "backend"),
    "addresses": ("address_key", "address"),
}


MISSING = ("no such slot", 0)
"""where a backend should be; between two reads an agent may have written"""


def pinned(pins: Path, name: str) -> HashMap:
    """One map of an agent; there is only one folder of maps while it runs."""
    (path,) = pins.glob(f"maps-*/{name}")
    key, value = STRUCTS[name]
    return HashMap(MapSpec(name, MapType.HASH, dtype(key), dtype(value), 1 << 16), path)


@dataclass(frozen=True)
class Contents:
    """Two agents that know the same have equal contents, whatever numbers they gave.

    `services` leads from a frontend to flags, seconds of affinity and the set of backends; `addresses` from an address
    to device, flags, and all addresses that share its workload, and its identity.
    """

    services: dict[tuple[str, int, int, int], tuple[int, int, frozenset[tuple[str, int]]]]
    addresses: dict[str, tuple[int, int, frozenset[str], frozenset[str]]]


def contents(pins: Path) -> Contents:
    """All of it, now."""
    return Contents(_services(pins), _addresses(pins))


def _read(pins: Path, name: str) -> tuple[Columns, Columns]:
    table = pinned(pins, name)
    try:
        return table.items()
    finally:
        table.close()


def _services(pins: Path) -> dict[tuple[str, int, int, int], tuple[int, int, frozenset[tuple[str, int]]]]:
    slots = {
        (int(key["service"]), int(key["slot"])): (_text(value["addr"]), _port(value["port"]))
        for key, value in zip(*_read(pins, "backends"), strict=True)
    }
    found = {}
    for key, value in zip(*_read(pins, "services"), strict=True):
        place = (_text(key["addr"]), _port(key["port"]), int(key["proto"]), int(key["scope"]))
        places = ((int(value["service"]), slot) for slot in range(int(value["backends"])))
        behind = frozenset(slots.get(one, MISSING) for one in places)
        found[place] = int(value["flags"]), int(value["affinity"]), behind
    return found


def _addresses(pins: Path) -> dict[str, tuple[int, int, frozenset[str], frozenset[str]]]:
    workloads: dict[int, set[str]] = defaultdict(set)
    identities: dict[int, set[str]] = defaultdict(set)
    rows = [(_text(key["addr"]), value) for key, value in zip(*_read(pins, "addresses"), strict=True)]
    for text, value in rows:
        workloads[int(value["workload"])].add(text)
        identities[int(value["identity"])].add(text)
    return {
        text: (
            int(value["ifindex"]),
            int(value["flags"]),
            frozenset(workloads[int(value["workload"])]),
            frozenset(identities[int(value["identity"])]),
        )
        for text, value in rows
    }


def _text(words: Columns) -> str:
    return str(unpack(np.ascontiguousarray(words).tobytes()))


def _port(number: int) -> int:
    return int.from_bytes(int(number).to_bytes(2, "little"))
