"""What the policy maps hold, read back: an agent that starts on the pins of another goes on from there.

A writer may have died between its writes. What it had not brought into force is undone here, so that both sides say
the same again: that is the one state from which a change begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from daemon.policy.kernel_columns import (
    NOT_HELD,
    Held,
    Network,
    address_keys,
    class_values,
    device_keys,
    guard_values,
    network_keys,
    read_addresses,
    read_guards,
    read_networks,
    read_rulesets,
    stray_keys,
)
from daemon.policy.table import ANY_CLASS, Ruleset
from ebpf.maps import HashMap

Maps = Mapping[str, HashMap]
K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class KernelPolicy:
    """The state in force, both sides alike. Rulesets have the kernel's numbers, which outlive an agent."""

    epoch: int = 0
    """counts the states; even and odd ones are on different sides"""
    classes: Mapping[bytes, int] = field(default_factory=dict)
    networks: Mapping[Network, int] = field(default_factory=dict)
    rulesets: dict[int, Ruleset] = field(default_factory=dict)
    guards: dict[int, Held] = field(default_factory=dict)

    @property
    def side(self) -> int:
        """The side in force."""
        return self.epoch & 1

    @property
    def entries(self) -> int:
        """Entries of all rulesets."""
        return sum(len(one.entries) for one in self.rulesets.values())


def read_policy(maps: Maps) -> KernelPolicy:
    """Read all policy maps, settled to the side in force; raises KernelError."""
    _, state = maps["policy_state"].items()
    epoch = int(state["epoch"][0])
    side = epoch & 1
    rulesets = read_rulesets(maps["rulesets"], maps["policies"])
    maps["policies"].delete(stray_keys(maps["policies"], rulesets))
    return KernelPolicy(epoch, _classes(maps, side), _networks(maps, side), rulesets, _guards(maps, side))


def write_state(maps: Maps, epoch: int, flags: int) -> None:
    """Count the state that is in force, which names its side, and the settings; raises KernelError."""
    table = maps["policy_state"]
    key, value = np.zeros(1, table.key_dtype), np.zeros(1, table.value_dtype)
    value["epoch"], value["flags"] = epoch & 0xFFFFFFFF, flags
    table.update(key, value)


def _classes(maps: Maps, side: int) -> dict[bytes, int]:
    table = maps["classes"]
    settled, torn = _settled(read_addresses(table), side, ANY_CLASS)
    table.delete(address_keys(table, (one for one in torn if one not in settled)))
    kept = [one for one in torn if one in settled]
    table.update(address_keys(table, kept), class_values(table, [(settled[one],) * 2 for one in kept]))
    return settled


def _networks(maps: Maps, side: int) -> dict[Network, int]:
    table = maps["networks"]
    settled, torn = _settled(read_networks(table), side, ANY_CLASS)
    table.update(network_keys(table, torn), class_values(table, [(settled[one],) * 2 for one in torn]))
    return settled


def _guards(maps: Maps, side: int) -> dict[int, Held]:
    table = maps["guards"]
    settled, torn = _settled(read_guards(table), side, NOT_HELD)
    table.delete(device_keys(table, (one for one in torn if one not in settled)))
    kept = [one for one in torn if one in settled]
    table.update(device_keys(table, kept), guard_values(table, [(settled[one],) * 2 for one in kept]))
    return settled


def _settled(sides: Mapping[K, tuple[V, V]], side: int, nothing: V) -> tuple[dict[K, V], list[K]]:
    """What is in force, and which keys say something else on the other side."""
    in_force = {key: both[side] for key, both in sides.items() if both[side] != nothing}
    return in_force, [key for key, both in sides.items() if both[0] != both[1]]
