"""Which addresses DNS gave for which names, as long as it said that they hold.

ClusterNetworkPolicies may accept traffic to names. The agent sees the answers that workloads get and tells them here;
the compiler asks which addresses match the names that policies use. All answers are kept, not only those that a
policy asks for now, because a policy may come after the answer that it needs. When the time of an answer is over its
address is gone from here, unless somebody still has a connection to it: then it stays until that has ended, because a
connection that was allowed must outlive whatever makes verdicts be asked again.

The caller gives the time, so that a test and a recording can be told as well as the present.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

ANSWERS_MAX = 65_536  # name and address; beyond that the answers that end first are given up

_NOTHING: frozenset[str] = frozenset()


class Names:
    """Answers by address. Not thread-safe."""

    def __init__(self) -> None:
        self._expiry: dict[bytes, dict[str, float]] = {}
        self._count = 0
        self._followed: frozenset[str] = _NOTHING
        self._view: dict[bytes, frozenset[str]] = {}

    @property
    def answers(self) -> int:
        """How many answers are held."""
        return self._count

    @property
    def view(self) -> Mapping[bytes, frozenset[str]]:
        """Addresses (16 bytes) with the followed patterns that they match; the same object until something changes."""
        return self._view

    @property
    def followed(self) -> frozenset[str]:
        """The patterns that policies use."""
        return self._followed

    def held(self) -> dict[bytes, dict[str, float]]:
        """The answers behind the view: when each ends, by address and name."""
        return {address: dict(self._expiry[address]) for address in self._view}

    def follow(self, patterns: frozenset[str]) -> None:
        """From now on these are the patterns that policies use."""
        if patterns != self._followed:
            self._followed = patterns
            self._look_again(self._expiry)

    def learn(self, name: str, addresses: Iterable[bytes], ttl: float, now: float) -> frozenset[bytes]:
        """Take an answer that holds for `ttl` seconds; the addresses that match other patterns than before."""
        name, until, told = name.lower().rstrip("."), now + ttl, set(addresses)
        for address in told:
            answers = self._expiry.setdefault(address, {})
            self._count += name not in answers
            answers[name] = max(until, answers.get(name, until))
        self._give_up(self._count - ANSWERS_MAX)
        return self._look_again(told)

    def expire(self, now: float, in_use: Collection[bytes] = ()) -> frozenset[bytes]:
        """Forget what does not hold any more, but for addresses in use; those that match other patterns than before."""
        over = [
            (address, name)
            for address, names in self._expiry.items()
            if address not in in_use
            for name, end in names.items()
            if end <= now
        ]
        return self._forget(over)

    def _give_up(self, number: int) -> None:
        if number > 0:
            ends = [(end, name, address) for address, names in self._expiry.items() for name, end in names.items()]
            self._forget([(address, name) for _, name, address in sorted(ends)[:number]])

    def _forget(self, answers: Iterable[tuple[bytes, str]]) -> frozenset[bytes]:
        touched = set()
        for address, name in answers:
            del self._expiry[address][name]
            self._count -= 1
            touched.add(address)
            if not self._expiry[address]:
                del self._expiry[address]
        return self._look_again(touched)

    def _look_again(self, addresses: Iterable[bytes]) -> frozenset[bytes]:
        changed = {}
        for address in set(addresses):
            patterns = frozenset(
                pattern
                for name in self._expiry.get(address, ())
                for pattern in patterns_of(name)
                if pattern in self._followed
            )
            if patterns != self._view.get(address, _NOTHING):
                changed[address] = patterns
        if changed:
            merged = {**self._view, **changed}
            self._view = {address: patterns for address, patterns in merged.items() if patterns}
        return frozenset(changed)


def patterns_of(name: str) -> list[str]:
    """Every pattern that a name matches: itself, and "*." before each of its parents."""
    labels = name.split(".")
    return [name, *("*." + ".".join(labels[place:]) for place in range(1, len(labels)))]
