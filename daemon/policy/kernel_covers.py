"""The class of a network or address by the networks around it, as the kernel's trie would find it.

While two states are in the kernel at once, a network of one of them must say in the other what the next wider one
says there.
"""

from __future__ import annotations

from collections.abc import Mapping

from daemon.policy.table import WORLD_CLASS

ADDRESS_BITS = 128


class Covers:
    """Longest-prefix look-up among networks; `networks` must not change meanwhile."""

    def __init__(self, networks: Mapping[tuple[bytes, int], int]) -> None:
        self._networks = networks
        self._lengths = sorted({length for _, length in networks}, reverse=True)

    def of(self, address: bytes, below: int = ADDRESS_BITS + 1) -> int:
        """The class of the longest network around an address that has fewer than `below` bits."""
        number = int.from_bytes(address, "big")
        for length in self._lengths:
            if length < below:
                hole = ADDRESS_BITS - length
                found = self._networks.get(((number >> hole << hole).to_bytes(16, "big"), length))
                if found is not None:
                    return found
        return WORLD_CLASS

    def own(self, network: tuple[bytes, int]) -> int:
        """The class of a network: its own, else that of what is around it."""
        return self._networks.get(network) or self.of(*network)
