"""What the benchmarks put in force in the shield: lists and limits, written as the agent does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.tables import put
from ebpf.constants import ShieldAction, ShieldRule
from ebpf.datapath import Datapath

DENIED, LIMITED = ShieldRule.FIRST, ShieldRule.FIRST + 1
"""the numbers of our rules"""
_MAPPED = np.uint32(int.from_bytes(b"\x00\x00\xff\xff", "little"))  # of an IPv4 address as IPv6


def configure(datapath: Datapath, **fields: int) -> None:
    """Put in force what these fields of struct shield_config say, and nothing else; none: the shield is off."""
    put(datapath, "shield_config", 0, **fields)


def limit(datapath: Datapath, place: int, **fields: int) -> None:
    """Write a limit; fields are those of struct shield_limit."""
    put(datapath, "shield_limits", place, rule=LIMITED, **fields)


def deny(datapath: Datapath, addresses: npt.NDArray[np.uint32]) -> None:
    """Put IPv4 addresses (host order) on a list that denies, in the place of what is there."""
    table = datapath.maps["shield_addresses"]
    table.delete(table.items()[0])
    keys = np.zeros(len(addresses), table.key_dtype)
    keys["addr"][:, 2], keys["addr"][:, 3] = _MAPPED, addresses.byteswap()
    table.update(keys, _denials(table.value_dtype, len(addresses)))


def deny_networks(datapath: Datapath, addresses: npt.NDArray[np.uint32], length: int) -> None:
    """The same with IPv4 networks of one length."""
    table = datapath.maps["shield_networks4"]
    table.delete(table.items()[0])
    keys = np.zeros(len(addresses), table.key_dtype)
    keys["prefixlen"], keys["addr"] = length, addresses.byteswap()
    table.update(keys, _denials(table.value_dtype, len(addresses)))


def _denials(dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    values = np.zeros(count, dtype)
    values["rule"], values["action"] = DENIED, ShieldAction.DENY
    return values
