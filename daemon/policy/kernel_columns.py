"""Between a policy table and the kernel's columns: the only place that knows the fields of the policy maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from daemon.policy.table import Action, Entry, Ruleset
from ebpf.constants import PolicyAction
from ebpf.maps import Columns, HashMap

Network = tuple[bytes, int]
Sides = tuple[int, int]

_RULESET_BITS = 64  # ruleset and class: the part of a key that every entry has
_PROTOCOL_BITS = 8
_ACTIONS = {Action.ALLOW: int(PolicyAction.ALLOW), Action.DENY: int(PolicyAction.DENY)}
_WORDS = {number: action for action, number in _ACTIONS.items()}


class Held(NamedTuple):
    """One side of a guard as the kernel holds it; generation 0: that side has none."""

    ingress: int = 0
    egress: int = 0
    generation: int = 0
    flags: int = 0


NOT_HELD = Held()


def address_keys(table: HashMap, addresses: Iterable[bytes]) -> Columns:
    """Keys of the map `classes`."""
    return np.frombuffer(b"".join(addresses), table.key_dtype)


def network_keys(table: HashMap, networks: Sequence[Network]) -> Columns:
    """Keys of the map `networks`."""
    keys = np.zeros(len(networks), table.key_dtype)
    keys["prefixlen"] = [length for _, length in networks]
    keys["addr"] = np.frombuffer(b"".join(raw for raw, _ in networks), np.uint32).reshape(-1, 4)
    return keys


def class_values(table: HashMap, sides: Sequence[Sides]) -> Columns:
    """Values of the maps `classes` and `networks`: the class on either side."""
    values = np.zeros(len(sides), table.value_dtype)
    values["side"] = np.array(sides, np.uint32).reshape(-1, 2)
    return values


def device_keys(table: HashMap, devices: Iterable[int]) -> Columns:
    """Keys of maps whose key is one number."""
    return np.fromiter(devices, table.key_dtype)


def guard_values(table: HashMap, sides: Sequence[tuple[Held, Held]]) -> Columns:
    """Values of the map `guards`."""
    values = np.zeros(len(sides), table.value_dtype)
    for index, both in enumerate(sides):
        for side, held in enumerate(both):
            for field, number in zip(Held._fields, held, strict=True):
                values["side"][field][index, side] = number
    return values


def default_columns(table: HashMap, rulesets: Mapping[int, Ruleset]) -> tuple[Columns, Columns]:
    """Keys and values of the map `rulesets`, by the kernel's numbers."""
    values = np.zeros(len(rulesets), table.value_dtype)
    values["rule"] = [one.default_rule for one in rulesets.values()]
    values["action"] = [_ACTIONS[one.default] for one in rulesets.values()]
    values["audit"] = [one.default_audit for one in rulesets.values()]
    return device_keys(table, rulesets), values


def entry_columns(table: HashMap, rulesets: Mapping[int, Ruleset]) -> tuple[Columns, Columns]:
    """Keys and values of the map `policies`, by the kernel's numbers."""
    rows = [(number, entry) for number, one in rulesets.items() for entry in one.entries]
    keys, values = np.zeros(len(rows), table.key_dtype), np.zeros(len(rows), table.value_dtype)
    keys["prefixlen"] = [_prefix(entry) for _, entry in rows]
    keys["ruleset"] = [number for number, _ in rows]
    keys["class"] = [entry.peer for _, entry in rows]
    keys["proto"] = [entry.protocol for _, entry in rows]
    ports = np.array([entry.port & ~(0xFFFF >> entry.bits) & 0xFFFF for _, entry in rows], ">u2")
    keys["port"] = ports.view(np.uint8).reshape(-1, 2)
    values["rule"] = [entry.rule for _, entry in rows]
    values["action"] = [_ACTIONS[entry.action] for _, entry in rows]
    values["audit"] = [entry.audit for _, entry in rows]
    return keys, values


def read_addresses(table: HashMap) -> dict[bytes, Sides]:
    """The map `classes`."""
    keys, values = table.items()
    raws = (key.tobytes() for key in keys)
    return dict(zip(raws, map(tuple, values["side"].tolist()), strict=True))


def read_networks(table: HashMap) -> dict[Network, Sides]:
    """The map `networks`."""
    keys, values = table.items()
    raws = (row.tobytes() for row in np.ascontiguousarray(keys["addr"]))
    networks = zip(raws, keys["prefixlen"].tolist(), strict=True)
    return dict(zip(networks, map(tuple, values["side"].tolist()), strict=True))


def read_guards(table: HashMap) -> dict[int, tuple[Held, Held]]:
    """The map `guards`."""
    keys, values = table.items()
    sides = values["side"][list(Held._fields)].tolist()
    return {device: (Held(*one), Held(*two)) for device, (one, two) in zip(keys.tolist(), sides, strict=True)}


def read_rulesets(defaults: HashMap, entries: HashMap) -> dict[int, Ruleset]:
    """What is complete: the maps `rulesets` and `policies`; entries of other numbers are `strays`."""
    found: dict[int, list[Entry]] = {}
    for number, entry in _entries(*entries.items()):
        found.setdefault(number, []).append(entry)
    keys, values = defaults.items()
    rows = zip(keys.tolist(), values[["rule", "action", "audit"]].tolist(), strict=True)
    return {
        number: Ruleset(number, tuple(found.get(number, ())), _WORDS[action], rule, bool(audit))
        for number, (rule, action, audit) in rows
    }


def stray_keys(entries: HashMap, rulesets: Iterable[int]) -> Columns:
    """Keys of the map `policies` that belong to none of these numbers: what an interrupted writer left."""
    keys, _ = entries.items()
    return keys[~np.isin(keys["ruleset"], np.fromiter(rulesets, np.uint32))]


def _prefix(entry: Entry) -> int:
    return _RULESET_BITS + (_PROTOCOL_BITS + entry.bits if entry.protocol else 0)


def _entries(keys: Columns, values: Columns) -> Iterator[tuple[int, Entry]]:
    ports = np.ascontiguousarray(keys["port"]).view(">u2").reshape(-1)
    fields: list[Any] = [keys["ruleset"], keys["class"], keys["proto"], ports, keys["prefixlen"]]
    fields += [values["action"], values["rule"], values["audit"]]
    for number, peer, protocol, port, length, action, rule, audit in zip(*(f.tolist() for f in fields), strict=True):
        bits = max(0, length - _RULESET_BITS - _PROTOCOL_BITS)
        yield number, Entry(peer, protocol, port, bits, _WORDS[action], rule, bool(audit))
