"""Series as metric families: names, label names and the words for packed numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from daemon.flows.metrics.columns import ColumnCounter, PortKey, Shape, unpack_port
from daemon.flows.metrics.messages import Ends, L7FlowKey, MessageCounter
from daemon.flows.metrics.peers import Peer
from daemon.flows.metrics.series import BUCKETS, Histograms, LostSource, Series
from daemon.flows.texts import ICMPV6, PROTOCOLS, icmp_text
from daemon.proto import flow_pb2
from ebpf.constants import Point, Verdict

PeerOf = Callable[[int], Peer]
LabelsOf = Callable[[Any], tuple[str, ...]]

ENDS = ("source", "destination", "source_namespace", "destination_namespace")
HTTP_ENDS = (*ENDS, "source_workload", "destination_workload")

_POINTS: dict[int, str] = {
    Point.TO_ENDPOINT: "to-endpoint",
    Point.TO_STACK: "to-stack",
    Point.TO_HOST: "to-host",
    Point.FROM_HOST: "from-host",
}


def column_families(columns: ColumnCounter, peer: PeerOf) -> Iterator[CounterMetricFamily]:
    """What was counted from plain records, except `hubble_flows_processed_total`, which messages are part of too."""
    family = _family("hubble_drop", "Flows that were dropped.", ("reason", "protocol", *ENDS))
    yield _filled(family, columns.drops, lambda key: (_reason(key.where), _protocol(key), *_ends(key, peer)))
    family = _family("hubble_tcp_flags", "TCP flags seen.", ("flag", "family", *ENDS))
    yield _filled(family, columns.flags, lambda key: (key[0], _version(key[1].ipv6), *_ends(key[1], peer)))
    family = _family("hubble_icmp", "ICMP messages.", ("family", "type", *ENDS))
    yield _filled(family, columns.icmp, lambda key: (*_icmp(key), *_ends(key, peer)))
    family = _family("hubble_port_distribution", "Forwarded flows by destination port.", ("protocol", "port", *ENDS))
    yield _filled(family, columns.ports, lambda packed: _port(unpack_port(packed), peer))


def flows_family(columns: ColumnCounter, messages: MessageCounter, peer: PeerOf) -> CounterMetricFamily:
    """All flows: plain records and messages."""
    labels = ("protocol", "type", "subtype", "verdict", *ENDS)
    family = _family("hubble_flows_processed", "Flows that were processed.", labels)
    _filled(family, columns.flows, lambda key: (*_plain(key), _verdict(key.verdict), *_ends(key, peer)))
    return _filled(family, messages.flows, lambda key: (*_l7(key), _verdict(key.verdict), *_ends(key.ends, peer)))


def message_families(messages: MessageCounter, peer: PeerOf) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
    """What was counted from application messages."""
    dns = ("rcode", "qtypes", "ips_returned", "query", *ENDS)
    http = ("method", "protocol", "status", "reporter", *HTTP_ENDS)
    with_ends: LabelsOf = lambda key: (*key[1:], *_ends(key.ends, peer))  # noqa: E731
    with_workloads: LabelsOf = lambda key: (*key[1:], *_http_ends(key.ends, peer))  # noqa: E731
    yield _filled(_family("hubble_dns_queries", "DNS queries.", dns), messages.dns_queries, with_ends)
    yield _filled(_family("hubble_dns_responses", "DNS answers.", dns), messages.dns_responses, with_ends)
    types = _family("hubble_dns_response_types", "Records in DNS answers.", ("type", "qtypes", "query", *ENDS))
    yield _filled(types, messages.dns_types, with_ends)
    requests = _family("hubble_http_requests", "HTTP requests that were answered.", http)
    yield _filled(requests, messages.http_requests, with_workloads)
    yield _filled(_family("hubble_http_responses", "HTTP answers.", http), messages.http_responses, with_workloads)
    yield _durations(messages, peer)


def dropped_family(columns: ColumnCounter, messages: MessageCounter) -> CounterMetricFamily:
    """What the limit on series kept out, by metric."""
    words = "Counts without a series of their own, because the metric has reached its limit."
    family = _family("remora_metric_series_dropped", words, ("metric",))
    kept_out: dict[str, Sequence[Series[Any] | Histograms[Any]]] = {
        "hubble_flows_processed_total": (columns.flows, messages.flows),
        "hubble_drop_total": (columns.drops,),
        "hubble_tcp_flags_total": (columns.flags,),
        "hubble_icmp_total": (columns.icmp,),
        "hubble_port_distribution_total": (columns.ports,),
        "hubble_dns_queries_total": (messages.dns_queries,),
        "hubble_dns_responses_total": (messages.dns_responses,),
        "hubble_dns_response_types_total": (messages.dns_types,),
        "hubble_http_requests_total": (messages.http_requests,),
        "hubble_http_responses_total": (messages.http_responses,),
        "hubble_http_request_duration_seconds": (messages.http_durations,),
    }
    for metric, tables in kept_out.items():
        family.add_metric((metric,), sum(table.dropped for table in tables))
    return family


def lost_family(lost: Mapping[LostSource, int]) -> CounterMetricFamily:
    """Lost events by place; every place is there from the start, so that an alert can rest on it."""
    family = _family("hubble_lost_events", "Events that were lost.", ("source",))
    for source in LostSource:
        family.add_metric((source.value,), lost.get(source, 0))
    return family


def _family(name: str, words: str, labels: Sequence[str]) -> CounterMetricFamily:
    return CounterMetricFamily(name, words, labels=labels)


def _filled(family: CounterMetricFamily, series: Series[Any], labels: LabelsOf) -> CounterMetricFamily:
    """Add the series; keys that differ but read the same (two unknown protocols) are one sample."""
    counts: Counter[tuple[str, ...]] = Counter()
    for key, count in series.items():
        counts[labels(key)] += count
    for values, count in counts.items():
        family.add_metric(values, count)
    return family


def _durations(messages: MessageCounter, peer: PeerOf) -> HistogramMetricFamily:
    family = HistogramMetricFamily(
        "hubble_http_request_duration_seconds",
        "From the request's head to the answer's.",
        labels=("method", "reporter", *HTTP_ENDS),
    )
    for key, counts, total in messages.http_durations.items():
        cumulated, running = [], 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
            running += count
            cumulated.append((bound, running))
        family.add_metric((key.method, key.reporter, *_http_ends(key.ends, peer)), cumulated, total)
    return family


def _ends(key: Shape | Ends | PortKey, peer: PeerOf) -> tuple[str, str, str, str]:
    source, destination = peer(key.source), peer(key.destination)
    return source.text, destination.text, source.namespace, destination.namespace


def _http_ends(ends: Ends, peer: PeerOf) -> tuple[str, ...]:
    return (*_ends(ends, peer), peer(ends.source).workload, peer(ends.destination).workload)


def _plain(key: Shape) -> tuple[str, str, str]:
    dropped = key.verdict == Verdict.DROPPED
    return (_protocol(key), "Drop", "") if dropped else (_protocol(key), "Trace", _point(key.where))


def _l7(key: L7FlowKey) -> tuple[str, str, str]:
    return key.protocol, "L7", key.protocol


def _port(key: PortKey, peer: PeerOf) -> tuple[str, ...]:
    return (_protocol(key), str(key.port), *_ends(key, peer))


def _icmp(key: Shape) -> tuple[str, str]:
    return _version(key.protocol == ICMPV6), icmp_text(key.protocol, key.detail, key.code)


def _version(ipv6: int | bool) -> str:
    return "IPv6" if ipv6 else "IPv4"


def _protocol(key: Shape | PortKey) -> str:
    return PROTOCOLS.get(key.protocol, "Unknown L4")


def _point(number: int) -> str:
    return _POINTS.get(number, str(number))


def _reason(number: int) -> str:
    return _enum_name(flow_pb2.DropReason.DESCRIPTOR, number)


def _verdict(number: int) -> str:
    return _enum_name(flow_pb2.Verdict.DESCRIPTOR, number)


def _enum_name(enum: EnumDescriptor, number: int) -> str:
    value = enum.values_by_number.get(number)
    return value.name if value else str(number)
