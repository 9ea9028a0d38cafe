"""Hubble's flow metrics, counted as flows come in and told when Prometheus asks.

Records are counted as columns: what distinguishes two series is packed into one integer a record, equal integers are
counted by numpy, and words are looked up only when somebody scrapes. A metric has at most `limit` series; what would
go beyond is counted in `remora_metric_series_dropped_total`, so that a port scan or random DNS names cost neither
memory nor silence.
"""

from daemon.flows.metrics.collector import FlowMetrics
from daemon.flows.metrics.series import SERIES_LIMIT, LostSource

__all__ = ["SERIES_LIMIT", "FlowMetrics", "LostSource"]
