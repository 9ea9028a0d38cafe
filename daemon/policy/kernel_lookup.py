"""What the kernel's maps say of a packet now, asked key by key in the order in which the programs ask.

Nothing is read whole, so it costs a dozen system calls, and it is the kernel that finds the longest prefix.
"""

from __future__ import annotations

import numpy as np

from daemon.policy.kernel_columns import NOT_HELD, Held, address_keys, device_keys, network_keys
from daemon.policy.kernel_state import Maps
from daemon.policy.table import ANY_CLASS, WORLD_CLASS, Action, Direction
from daemon.policy.verdicts import PROTOCOLS, Verdict
from ebpf.constants import PolicyAction
from ebpf.maps import Columns

_KEY_BITS = 88  # ruleset, class, protocol, port
_ADDRESS_BITS = 128


class KernelJudge:
    """Asks the maps that are in force; only while nobody writes them."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        state = maps["policy_state"].lookup(np.zeros(1, maps["policy_state"].key_dtype))
        self._side = int(state["epoch"][0]) & 1 if state is not None else 0

    def verdict(
        self, device: int, direction: Direction, remote: bytes, protocol: int, port: int
    ) -> tuple[bool, Verdict | None]:
        """Whether the device has a guard, and what its ruleset says; None where nothing restricts it."""
        guard = self._guard(device)
        ruleset = guard.egress if direction is Direction.EGRESS else guard.ingress
        if not ruleset:
            return guard != NOT_HELD, None
        port = port if protocol in PROTOCOLS else 0
        for peer in (self._class(remote), ANY_CLASS):
            found = self._entry(ruleset, peer, protocol, port)
            if found is not None:
                return True, _verdict(found)
        default = self._maps["rulesets"].lookup(device_keys(self._maps["rulesets"], [ruleset]))
        return True, _verdict(default) if default is not None else None

    def _guard(self, device: int) -> Held:
        table = self._maps["guards"]
        found = table.lookup(device_keys(table, [device]))
        if found is None:
            return NOT_HELD
        side = found["side"][0][self._side]
        return Held(*(int(side[name]) for name in Held._fields))

    def _class(self, address: bytes) -> int:
        classes, networks = self._maps["classes"], self._maps["networks"]
        found = classes.lookup(address_keys(classes, [address]))
        own = int(found["side"][0][self._side]) if found is not None else 0
        if own:
            return own
        around = networks.lookup(network_keys(networks, [(address, _ADDRESS_BITS)]))
        return (int(around["side"][0][self._side]) if around is not None else 0) or WORLD_CLASS

    def _entry(self, ruleset: int, peer: int, protocol: int, port: int) -> Columns | None:
        table = self._maps["policies"]
        key = np.zeros(1, table.key_dtype)
        key["prefixlen"], key["ruleset"], key["class"], key["proto"] = _KEY_BITS, ruleset, peer, protocol
        key["port"] = [port >> 8, port & 255]
        return table.lookup(key)


def _verdict(found: Columns) -> Verdict:
    action = Action.ALLOW if int(found["action"][0]) == PolicyAction.ALLOW else Action.DENY
    return Verdict(action, int(found["rule"][0]), bool(found["audit"][0]))
