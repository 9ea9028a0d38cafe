"""What the XDP program costs a packet, and what is left of a Service while a flood comes in."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import xdp_balance, xdp_flood, xdp_packet
from benchmarks.report import Figure


def measure() -> Iterator[Figure]:
    """Nanoseconds of a packet in the shield and in a Service, then shares of the undisturbed rate."""
    yield from xdp_packet.measure()
    yield from xdp_balance.measure()
    yield from xdp_flood.measure()
