"""What the benchmarks put in force in the shield: lists by the agent's own writer, limits straight into the maps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.tables import put
from daemon.shield.entries import V4_BITS, Entries
from daemon.shield.reconcile import ShieldReconciler
from daemon.shield.tables import ShieldTables, Switches
from ebpf.addresses import MAPPED
from ebpf.constants import ShieldRule
from ebpf.datapath import Datapath

DENIED, LIMITED = ShieldRule.FIRST, ShieldRule.FIRST + 1
"""the numbers of our rules"""


def configure(datapath: Datapath, **fields: int) -> None:
    """Put in force what these fields of struct shield_config say, and nothing else; none: the shield is off."""
    put(datapath, "shield_config", 0, **fields)


def limit(datapath: Datapath, place: int, **fields: int) -> None:
    """Write a limit; fields are those of struct shield_limit."""
    put(datapath, "shield_limits", place, rule=LIMITED, **fields)


def deny(datapath: Datapath, addresses: npt.NDArray[np.uint32], length: int = 32) -> None:
    """Put a list in force that denies IPv4 networks of one length (host order), and the check for malformed packets."""
    count = len(addresses)
    packed = np.zeros((count, 16), np.uint8)
    packed[:, :12] = np.frombuffer(MAPPED, np.uint8)
    packed[:, 12:] = addresses.byteswap().view(np.uint8).reshape(count, 4)
    entries = Entries(packed, np.full(count, V4_BITS + length, np.uint8), np.zeros(count, np.uint32))
    no, rule = np.zeros(count, np.bool_), np.full(count, DENIED, np.uint32)
    ShieldReconciler(datapath.maps).apply(ShieldTables(entries, rule, no, no, switches=Switches(malformed=True)))
