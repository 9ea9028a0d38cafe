"""All metrics of an agent, made by the handlers that are on, and the names of the ends that they label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from daemon.flows.metrics.catalogue import Spec
from daemon.flows.metrics.columns import unpack_talk
from daemon.flows.metrics.contexts import Labeller, Talk
from daemon.flows.metrics.ends import EndTable
from daemon.flows.metrics.options import HandlerConfig
from daemon.flows.metrics.series import Cell, Counters, HistogramCell, Histograms, counters, histograms
from daemon.flows.names import DnsNames


class Tables:
    """Where handlers get their metrics; asked for all of them at a scrape."""

    def __init__(self, ends: EndTable, dns: DnsNames, limit: int) -> None:
        self.ends = ends
        self._dns = dns
        self._limit = limit
        self.metrics: list[Counters | Histograms] = []

    def counter(self, config: HandlerConfig, spec: Spec) -> LabelledCounter:
        labeller = Labeller(config, self._dns)
        metric = counters(spec, labeller.names, self._limit)
        self.metrics.append(metric)
        return LabelledCounter(metric, labeller)

    def histogram(self, config: HandlerConfig, spec: Spec) -> LabelledHistogram:
        labeller = Labeller(config, self._dns)
        metric = histograms(spec, labeller.names, self._limit)
        self.metrics.append(metric)
        return LabelledHistogram(metric, labeller)

    def told(self, talking: int) -> Told:
        """Who a packed talk is between."""
        source, destination, direction = unpack_talk(talking)
        return Told(Talk(self.ends.end(source), self.ends.end(destination), direction), source << 15 | destination)

    def forget(self, numbers: set[int]) -> None:
        """Let the series of these ends go."""
        pairs = {pair for metric in self.metrics for pair in metric.pairs()}
        theirs = {pair for pair in pairs if not numbers.isdisjoint(unpack_talk(pair << 2)[:2])}
        for metric in self.metrics:
            metric.forget(theirs)

    def make_room(self) -> bool:
        """A round of cleaning in the metrics that are full; is any series gone?"""
        cleaned = [metric.make_room() for metric in self.metrics]
        return any(cleaned)


@dataclass(frozen=True, slots=True)
class Told:
    """A talk with its names, and the pair of numbers that stands for it."""

    talk: Talk
    pair: int

    def turned(self) -> Told:
        """The same from the other end."""
        return Told(self.talk.turned(), self.pair)


@dataclass(frozen=True, slots=True)
class LabelledCounter:
    """A counter whose first labels say who talked."""

    metric: Counters
    labeller: Labeller

    def cell(self, told: Told, *own: str) -> Cell:
        values = (*self.labeller.values(told.talk), *own)
        return self.metric.cell(values, told.pair if self.labeller.names else None)


@dataclass(frozen=True, slots=True)
class LabelledHistogram:
    """A histogram whose first labels say who talked."""

    metric: Histograms
    labeller: Labeller

    def cell(self, told: Told, *own: str) -> HistogramCell:
        values = (*self.labeller.values(told.talk), *own)
        return self.metric.cell(values, told.pair if self.labeller.names else None)


Cells = Iterator[Cell]
Configs = Sequence[HandlerConfig]
