"""Every metric that is counted from flows: its name, its words, its own labels.

Names and labels under `hubble_` are Hubble's, down to the letter, because dashboards and alerts in the field select on
them; what Hubble has no name for is under `remora_`. The labels that say who talked to whom are not here: they come
from the settings (`options`) and stand before a metric's own.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

# s; the default buckets of Prometheus' clients, which Hubble uses
DEFAULT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# s; from one rack to a satellite, with TCP's first retransmission of a SYN (1 s) and its second (3 s) told apart
NETWORK_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
# s; a cache on the same host, a resolver in the cluster, one abroad, and the timeout of common resolvers (5 s)
ANSWER_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Kind(Enum):
    """Types of metrics, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Spec(NamedTuple):
    """One metric; the name of a counter ends in `_total`."""

    name: str
    words: str
    labels: tuple[str, ...] = ()
    kind: Kind = Kind.COUNTER
    buckets: tuple[float, ...] = ()


def _histogram(name: str, words: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Spec:
    return Spec(name, words, labels, Kind.HISTOGRAM, buckets)


LOST = Spec("hubble_lost_events_total", "Events that were lost.", ("source",))
FLOWS = Spec("hubble_flows_processed_total", "Flows that were processed.", ("protocol", "type", "subtype", "verdict"))
DROPS = Spec("hubble_drop_total", "Flows that were dropped.", ("reason", "protocol"))
FLAGS = Spec("hubble_tcp_flags_total", "TCP flags seen.", ("flag", "family"))
ICMP = Spec("hubble_icmp_total", "ICMP messages.", ("family", "type"))
SCTP = Spec("hubble_sctp_chunk_types_total", "SCTP chunks seen.", ("chunk_type", "family"))
PORTS = Spec("hubble_port_distribution_total", "Forwarded flows by destination port.", ("protocol", "port"))
WORLD = Spec("hubble_flows_to_world_total", "Flows to addresses outside the cluster.", ("protocol", "verdict"))
WORLD_PORTS = WORLD._replace(labels=(*WORLD.labels, "port"))
VERDICTS = Spec("hubble_policy_verdicts_total", "Verdicts of network policy.", ("direction", "match", "action"))

DNS_QUERIES = Spec("hubble_dns_queries_total", "DNS queries.", ("rcode", "qtypes", "ips_returned"))
DNS_ANSWERS = Spec("hubble_dns_responses_total", "DNS answers.", ("rcode", "qtypes", "ips_returned"))
DNS_TYPES = Spec("hubble_dns_response_types_total", "Records in DNS answers.", ("type", "qtypes"))
HTTP_REQUESTS_V1 = Spec("hubble_http_requests_total", "HTTP requests.", ("method", "protocol", "reporter"))
HTTP_REQUESTS = Spec(
    "hubble_http_requests_total", "HTTP requests that were answered.", ("method", "protocol", "status", "reporter")
)
HTTP_ANSWERS = Spec("hubble_http_responses_total", "HTTP answers.", ("method", "protocol", "status", "reporter"))
HTTP_DURATIONS = _histogram(
    "hubble_http_request_duration_seconds",
    "From the request's head to the answer's.",
    ("method", "reporter"),
    DEFAULT_BUCKETS,
)

RTT = _histogram(
    "remora_tcp_rtt_seconds",
    "Smoothed round trip of active and ended connections, as the local end's socket measures it.",
    ("reporter",),
    NETWORK_BUCKETS,
)
RETRANSMITS = Spec("remora_tcp_retransmits_total", "Segments that the local end's socket sent again.", ("reporter",))
FAILURES = Spec(
    "remora_connections_failed_total", "Connections that failed, by reason.", ("reason", "protocol", "reporter")
)
HANDSHAKES = _histogram(
    "remora_tcp_handshake_seconds",
    "From a connection's first SYN to the initiator's first ACK.",
    ("reporter",),
    NETWORK_BUCKETS,
)
OWN_DNS = _histogram(
    "remora_dns_answer_seconds", "From a DNS query to its answer.", ("rcode", "reporter"), ANSWER_BUCKETS
)
OWN_HTTP = _histogram(
    "remora_http_answer_seconds",
    "From a request's head to the answer's, by class of status.",
    ("method", "status", "reporter"),
    ANSWER_BUCKETS,
)
OWN_VERDICTS = Spec(
    "remora_policy_verdicts_total",
    "Verdicts of network policy by the policy that decided.",
    ("policy", "direction", "action"),
)

UNDECODED = Spec("remora_payloads_undecoded_total", "Payload heads that looked like DNS or HTTP and were not.")
KEPT_OUT = Spec(
    "remora_metric_series_dropped_total",
    "Counts without a series of their own, because the metric has reached its limit.",
    ("metric",),
)
SERIES = Spec("remora_metric_series", "Series that a metric has now.", ("metric",), Kind.GAUGE)
