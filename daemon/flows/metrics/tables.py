"""All metrics of an agent, made by the handlers that are on, and the names of the ends that they label."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from daemon.flows.metrics.catalogue import Spec
from daemon.flows.metrics.columns import unpack_talk
from daemon.flows.metrics.contexts import Labeller, Talk
from daemon.flows.metrics.ends import EndTable
from daemon.flows.metrics.options import HandlerConfig
from daemon.flows.metrics.series import Cell, Counters, HistogramCell, Histograms, Metric, counters, histograms
from daemon.flows.metrics.stage import Stale, make_room
from daemon.flows.names import DnsNames

C = TypeVar("C", Cell, HistogramCell)

_REMEMBERED = 16_384  # talks whose labels are remembered


class Tables:
    """Where handlers get their metrics; asked for all of them at a scrape."""

    def __init__(self, ends: EndTable, dns: DnsNames, limit: int) -> None:
        self.ends = ends
        self._dns = dns
        self._limit = limit
        self._labellers: dict[Hashable, Labeller] = {}
        self._told: dict[int, Told] = {}
        self.metrics: list[Counters | Histograms] = []

    def counter(self, config: HandlerConfig, spec: Spec) -> LabelledCounter:
        """A counter with the labels that a handler's settings add."""
        return self._labelled(config, lambda labels: counters(spec, labels, self._limit))

    def histogram(self, config: HandlerConfig, spec: Spec) -> LabelledHistogram:
        """A histogram with the labels that a handler's settings add."""
        return self._labelled(config, lambda labels: histograms(spec, labels, self._limit))

    def _labelled(self, config: HandlerConfig, make: Callable[[tuple[str, ...]], Metric[C]]) -> Labelled[C]:
        labeller = self._labeller(config)
        metric = make(labeller.names)
        self.metrics.append(cast("Counters | Histograms", metric))
        return Labelled(metric, labeller)

    def _labeller(self, config: HandlerConfig) -> Labeller:
        """One for all that say the same of a talk, so that it is worked out once."""
        key = frozenset(config.contexts.items()), config.labels
        if key not in self._labellers:
            self._labellers[key] = Labeller(config, self._dns)
        return self._labellers[key]

    def told(self, talking: int) -> Told:
        """Who a packed talk is between."""
        told = self._told.get(talking)
        if told is None:
            make_room(self._told, _REMEMBERED)
            source, destination, direction = unpack_talk(talking)
            talk = Talk(self.ends.end(source), self.ends.end(destination), direction)
            told = self._told[talking] = Told(talk, source << 15 | destination)
        return told

    def forget_names(self) -> None:
        """Ask anew what labels say."""
        self._told.clear()

    def stale(self, numbers: set[int]) -> Stale:
        """Finds out what must be asked for anew when these ends are gone."""

        def check(talking: int, cells: Iterable[Cell | HistogramCell]) -> bool:
            return _among(talking, numbers) or any(cell.gone for cell in cells)

        return check

    def forget(self, numbers: set[int]) -> None:
        """Let the series of these ends go."""
        self._told = {talking: told for talking, told in self._told.items() if not _among(talking, numbers)}
        pairs = {pair for metric in self.metrics for pair in metric.pairs()}
        theirs = {pair for pair in pairs if _among(pair << 2, numbers)}
        for metric in self.metrics:
            metric.forget(theirs)

    def make_room(self) -> bool:
        """A round of cleaning in the metrics that are full; is any series gone?"""
        cleaned = [metric.make_room() for metric in self.metrics]
        return any(cleaned)


class Told:
    """A talk with its names, and the pair of numbers that stands for it; remembers what labels say of it."""

    __slots__ = ("_turned", "_values", "pair", "talk")

    def __init__(self, talk: Talk, pair: int) -> None:
        self.talk = talk
        self.pair = pair
        self._turned: Told | None = None
        self._values: dict[Labeller, tuple[str, ...]] = {}

    def turned(self) -> Told:
        """The same from the other end."""
        if self._turned is None:
            self._turned = Told(self.talk.turned(), self.pair)
        return self._turned

    def values(self, labeller: Labeller) -> tuple[str, ...]:
        """What a labeller says of the talk."""
        values = self._values.get(labeller)
        if values is None:
            values = self._values[labeller] = labeller.values(self.talk)
        return values


@dataclass(frozen=True, slots=True)
class Labelled(Generic[C]):
    """A metric whose first labels say who talked."""

    metric: Metric[C]
    labeller: Labeller

    def cell(self, told: Told, *own: str) -> C:
        values = (*told.values(self.labeller), *own)
        return self.metric.cell(values, told.pair if self.labeller.names else None)


LabelledCounter = Labelled[Cell]
LabelledHistogram = Labelled[HistogramCell]


def _among(talking: int, numbers: set[int]) -> bool:
    """Is one of these ends in a packed talk?"""
    source, destination, _ = unpack_talk(talking)
    return source in numbers or destination in numbers


Cells = Iterator[Cell]
