"""What went wrong in a flow: one answer for filters, summaries and live views.

Our agent tells each failed connection once and puts the reason behind the flow's summary, so the answer is the same
for a flow from the API, from a file, or from an aggregator. Other servers tell no failures; of their flows a reset by
the responder counts as one.
"""

from __future__ import annotations

from daemon.flows.texts import EMITTER, FAILED, rcode_text
from daemon.proto import flow_pb2

_STOPPED = frozenset({flow_pb2.Verdict.DROPPED, flow_pb2.Verdict.ERROR})


def reason(flow: flow_pb2.Flow) -> str:
    """`POLICY_DENIED`, `HTTP 503`, `DNS Non-Existent Domain`, `refused`, `timed-out` …; "" where nothing is wrong."""
    if flow.verdict in _STOPPED:
        known = flow_pb2.DropReason.DESCRIPTOR.values_by_number.get(flow.drop_reason_desc)
        return known.name if known else str(flow.drop_reason_desc)
    if flow.l7.http.code:
        return f"HTTP {flow.l7.http.code}" if flow.l7.http.code >= 400 else ""
    if flow.l7.dns.rcode:
        return f"DNS {rcode_text(flow.l7.dns.rcode)}"
    if flow.emitter.name != EMITTER and flow.is_reply.value and flow.l4.TCP.flags.RST:
        return "reset"
    return _told(flow)


def _told(flow: flow_pb2.Flow) -> str:
    """The word behind the summary of a failed connection; a URL may hold the same text, so HTTP is left out."""
    if flow.l7.HasField("http"):
        return ""
    return flow.Summary.partition(FAILED)[2].partition(" ")[0]
