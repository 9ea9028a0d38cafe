"""A table asked about one packet, exactly as the kernel asks it.

The look-ups are those of the datapath in the same order, so what comes out here is what the table says, not what the
policies mean: whether the two agree is for tests to show.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import NamedTuple

from daemon.policy.encode import PORT_BITS
from daemon.policy.table import ANY_CLASS, WORLD_CLASS, Direction, Entry, PolicyTable, Ruleset
from daemon.policy.verdicts import PROTOCOLS, Verdict


class Packet(NamedTuple):
    """The first packet of a connection; addresses of 16 bytes, the port in host order (0 for other protocols)."""

    source: bytes
    destination: bytes
    protocol: int
    port: int = 0


class Outcome(NamedTuple):
    """What each side says; None where that end is not restricted, or no workload of this node."""

    egress: Verdict | None
    ingress: Verdict | None

    @property
    def passes(self) -> bool:
        return all(verdict is None or verdict.passes for verdict in self)


class Evaluator:
    """Asks one table. `node` are this node's own addresses: what comes from there or goes there always passes."""

    def __init__(self, table: PolicyTable, node: Collection[bytes] = ()) -> None:
        self.table = table
        self._node = frozenset(node)
        self._entries: dict[int, Mapping[tuple[int, int, int, int], Entry]] = {}

    def outcome(self, packet: Packet) -> Outcome:
        """Both sides; a workload is never kept from itself."""
        source, destination, protocol, port = packet
        if source == destination:
            return Outcome(None, None)
        return Outcome(
            self.verdict(Direction.EGRESS, source, destination, protocol, port),
            self.verdict(Direction.INGRESS, destination, source, protocol, port),
        )

    def verdict(self, direction: Direction, local: bytes, remote: bytes, protocol: int, port: int) -> Verdict | None:
        """One side; None where nothing restricts the local end."""
        isolation = self.table.workloads.get(local)
        number = 0 if isolation is None else isolation[direction is Direction.EGRESS]
        if not number or remote in self._node:
            return None
        port = port if protocol in PROTOCOLS else 0
        ruleset = self.table.rulesets[number]
        for peer in (self.class_of(remote), ANY_CLASS):
            entry = self._longest(ruleset, peer, protocol, port)
            if entry:
                return Verdict(entry.action, entry.rule, entry.audit)
        return Verdict(ruleset.default, ruleset.default_rule, ruleset.default_audit)

    def class_of(self, address: bytes) -> int:
        """The class of an address: its own, or that of the longest network around it, or the world's."""
        found = self.table.classes.get(address)
        if found is not None:
            return found
        number = int.from_bytes(address)
        for bits in self._lengths:
            network = (number >> (128 - bits) << (128 - bits)).to_bytes(16)
            if (network, bits) in self.table.networks:
                return self.table.networks[network, bits]
        return WORLD_CLASS

    @cached_property
    def _lengths(self) -> list[int]:
        return sorted({bits for _, bits in self.table.networks}, reverse=True)

    def _longest(self, ruleset: Ruleset, peer: int, protocol: int, port: int) -> Entry | None:
        entries = self._entries.get(ruleset.number)
        if entries is None:
            found = {(entry.peer, entry.protocol, entry.port, entry.bits): entry for entry in ruleset.entries}
            entries = self._entries[ruleset.number] = found
        if protocol in PROTOCOLS:
            for bits in range(PORT_BITS, -1, -1):
                prefix = port >> (PORT_BITS - bits) << (PORT_BITS - bits)
                if (peer, protocol, prefix, bits) in entries:
                    return entries[peer, protocol, prefix, bits]
        return entries.get((peer, 0, 0, 0))
