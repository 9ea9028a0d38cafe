"""Counting DNS and HTTP messages: one at a time, as they are decoded one at a time.

Answers are counted under their own source and destination, which pairs them with the queries in Hubble's dashboards.
`hubble_http_requests_total` with a status and the durations are turned round to the request's direction, as in Hubble's
current HTTP metrics. Hubble has either the status on requests (`httpV2`) or a counter of responses (`http`); dashboards
want both, so here both handlers may be on, and the requests then carry the status.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from daemon.flows.l7 import DnsMessage, HttpMessage, L7Message, TlsMessage
from daemon.flows.metrics import catalogue
from daemon.flows.metrics.contexts import reporter
from daemon.flows.metrics.options import Flag, Handler, HandlerConfig
from daemon.flows.metrics.packets import World, verdict_text
from daemon.flows.metrics.policy import PolicyMetrics
from daemon.flows.metrics.series import Cell, Exemplar, HistogramCell
from daemon.flows.metrics.stage import Stale, make_room
from daemon.flows.metrics.tables import C, Labelled, LabelledCounter, Tables, Told
from daemon.flows.record import FlowRecord
from daemon.flows.texts import TCP, rcode_text
from ebpf.constants import Verdict

_POLICY_DENIED = "Policy denied"
_PROTOCOLS: Mapping[type, str] = {DnsMessage: "DNS", HttpMessage: "HTTP", TlsMessage: "TLS"}
_KEPT = 8_192  # messages whose cells are remembered


class Counted(NamedTuple):
    """Where a message counts; an exemplar goes to the last counter and to histograms that take one."""

    counters: tuple[Cell, ...] = ()
    histograms: tuple[HistogramCell, ...] = ()
    exemplars: bool = False


class MessageMetrics:
    """The series that come from application messages. Not thread-safe: its owner locks."""

    def __init__(
        self,
        configs: Mapping[Handler, HandlerConfig],
        tables: Tables,
        world: World | None,
        policy: PolicyMetrics | None,
    ) -> None:
        self._tables = tables
        self._dns = Dns(configs, tables)
        self._http = Http(configs, tables)
        self._world = world
        self._policy = policy
        self.flows: LabelledCounter | None = None
        self._kept: dict[tuple[int, tuple[object, ...]], Counted] = {}

    def count(self, talking: int, record: FlowRecord, message: L7Message) -> None:
        """Count a message between the ends of a packed talk, and the record that carried it."""
        key = talking, (record.verdict, record.dst_port if self._world else 0, *_distinct(message))
        counted = self._kept.get(key)
        if counted is None:
            make_room(self._kept, _KEPT)
            counted = self._kept[key] = self._resolve(talking, record, message)
        for cell in counted.counters:
            cell.value += 1
        if message.latency_ns:
            self._measure(counted, message)

    def forget(self, stale: Stale) -> None:
        """Ask anew for cells that are stale."""
        gone = [key for key, one in self._kept.items() if stale(key[0], (*one.counters, *one.histograms))]
        for key in gone:
            del self._kept[key]

    def _measure(self, counted: Counted, message: L7Message) -> None:
        seconds = message.latency_ns / 1e9
        exemplar = None
        if counted.exemplars and isinstance(message, HttpMessage) and message.trace_id:
            exemplar = Exemplar(message.trace_id, seconds, time.time())
            counted.counters[-1].exemplar = Exemplar(message.trace_id, 1, time.time())
        for cell in counted.histograms:
            cell.observe(seconds, exemplar)

    def _resolve(self, talking: int, record: FlowRecord, message: L7Message) -> Counted:
        told = self._tables.told(talking)
        protocol = _PROTOCOLS[type(message)]
        common: list[Cell] = []
        found = Counted()
        if self.flows:
            common.append(self.flows.cell(told, protocol, "L7", protocol, verdict_text(record.verdict)))
        if self._policy:
            common.extend(self._policy.message_cells(talking, protocol, record.verdict))
        if self._world and not message.response:
            stream = record.proto == TCP
            common.extend(self._world.message_cells(told, protocol, record.verdict, record.dst_port, stream))
        if isinstance(message, DnsMessage):
            found = self._dns.resolve(told, record.verdict, message)
        elif isinstance(message, HttpMessage):
            found = self._http.resolve(told, message)
        return found._replace(counters=(*common, *found.counters))


def _distinct(message: L7Message) -> tuple[object, ...]:
    """What metrics tell apart in a message."""
    if isinstance(message, DnsMessage):
        return message.query, message.qtypes, message.rcode, message.response, len(message.ips), message.rrtypes
    if isinstance(message, HttpMessage):
        return message.method, message.protocol, message.code, message.latency_ns != 0
    return (message.response,)


class Dns:
    """`dns` and `remora-dns`."""

    def __init__(self, configs: Mapping[Handler, HandlerConfig], tables: Tables) -> None:
        config, own = configs.get(Handler.DNS), configs.get(Handler.REMORA_DNS)
        flags = config.flags if config else frozenset()
        self._query = Flag.QUERY in flags
        self._ignore_aaaa = Flag.IGNORE_AAAA in flags
        specs = [self._asked(spec) for spec in (catalogue.DNS_QUERIES, catalogue.DNS_ANSWERS, catalogue.DNS_TYPES)]
        self._hubble = [tables.counter(config, spec) for spec in specs] if config else []
        self._latency = tables.histogram(own, catalogue.OWN_DNS) if own else None

    def _asked(self, spec: catalogue.Spec) -> catalogue.Spec:
        return spec._replace(labels=(*spec.labels, "query")) if self._query else spec

    def resolve(self, told: Told, verdict: int, message: DnsMessage) -> Counted:
        words = (reporter(told.talk.direction),)
        timed = self._latency if message.response else None
        histograms = _one(timed, told.turned(), rcode_text(message.rcode), *words)
        ignored = self._ignore_aaaa and message.qtypes == ("AAAA",)
        return Counted(() if ignored or not self._hubble else self._counters(told, verdict, message), histograms)

    def _counters(self, told: Told, verdict: int, message: DnsMessage) -> tuple[Cell, ...]:
        queries, answers, types = self._hubble
        qtypes, query = ",".join(message.qtypes), (message.query,) if self._query else ()
        rcode = rcode_text(message.rcode) if message.response else ""
        if verdict == Verdict.DROPPED:
            rcode = _POLICY_DENIED
        counter = answers if message.response and verdict != Verdict.DROPPED else queries
        cell = counter.cell(told, rcode, qtypes, str(len(message.ips)), *query)
        return (cell, *(types.cell(told, kind, qtypes, *query) for kind in message.rrtypes))


class Http:
    """`http`, `httpV2` and `remora-http`."""

    def __init__(self, configs: Mapping[Handler, HandlerConfig], tables: Tables) -> None:
        first, second, own = (configs.get(one) for one in (Handler.HTTP, Handler.HTTP_V2, Handler.REMORA_HTTP))
        main = second or first
        spec = catalogue.HTTP_REQUESTS if second else catalogue.HTTP_REQUESTS_V1
        self._with_status = second is not None
        self._answers = tables.counter(first, catalogue.HTTP_ANSWERS) if first else None
        self._requests = tables.counter(main, spec) if main else None
        histograms = (main, catalogue.HTTP_DURATIONS), (own, catalogue.OWN_HTTP)
        self._durations, self._own = (tables.histogram(one, spec) if one else None for one, spec in histograms)
        self._exemplars = any(config and Flag.EXEMPLARS in config.flags for config in (main, own))

    def resolve(self, told: Told, message: HttpMessage) -> Counted:
        side = reporter(told.talk.direction)
        if not message.response:
            plain = self._requests and not self._with_status
            return Counted(_one(self._requests, told, message.method, message.protocol, side) if plain else ())
        words = (message.method, message.protocol, str(message.code), side)
        asked = _one(self._requests, told.turned(), *words) if self._with_status else ()
        histograms = (
            *_one(self._durations, told.turned(), message.method, side),
            *_one(self._own, told.turned(), message.method, f"{message.code // 100}xx", side),
        )
        return Counted((*_one(self._answers, told, *words), *asked), histograms, self._exemplars)


def _one(metric: Labelled[C] | None, told: Told, *own: str) -> tuple[C, ...]:
    return (metric.cell(told, *own),) if metric else ()
