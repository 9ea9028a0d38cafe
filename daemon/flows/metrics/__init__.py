"""Hubble's flow metrics and our own, counted as flows come in and told when Prometheus asks.

Records are counted as columns: what distinguishes series is packed into one integer a record, equal integers are
counted by numpy, and the few distinct ones are looked at. Which metrics there are and what their labels say is set in
Hubble's syntax (`options`). A metric has at most `limit` series; what would go beyond is counted in
`remora_metric_series_dropped_total`, so that a port scan or random DNS names cost neither memory nor silence.
"""

from daemon.flows.metrics.collector import FlowMetrics
from daemon.flows.metrics.options import HandlerConfig, MetricsError, parse
from daemon.flows.metrics.policy import Decider, PolicyOf
from daemon.flows.metrics.series import SERIES_LIMIT, LostSource

__all__ = [
    "SERIES_LIMIT",
    "Decider",
    "FlowMetrics",
    "HandlerConfig",
    "LostSource",
    "MetricsError",
    "PolicyOf",
    "parse",
]
