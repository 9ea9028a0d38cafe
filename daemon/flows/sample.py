"""A fair sample of latencies, of bounded size: every one measured has the same chance to be in it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class LatencySample:
    """At most `size` latencies (ns) of `measured` ones."""

    size: int
    measured: int = 0
    kept: list[int] = field(default_factory=list)

    def measure(self, latency: int, chance: random.Random) -> None:
        """Take one in, or leave it out."""
        self.measured += 1
        if len(self.kept) < self.size:
            self.kept.append(latency)
        elif (place := chance.randrange(self.measured)) < self.size:
            self.kept[place] = latency

    def quantile(self, share: float) -> int | None:
        """The smallest latency that at least this share of the sample does not exceed; None without any."""
        ordered = sorted(self.kept)
        return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else None
