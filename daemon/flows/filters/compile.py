"""From a `flow.FlowFilter` to one predicate.

Every field has one rule: how its values become a predicate. The table is in the order in which Hubble's server looks
at the fields, which decides whose error is told when two are wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from daemon.flows.filters import ends, http, packet, patterns
from daemon.flows.filters.ends import DESTINATION, SOURCE
from daemon.flows.filters.errors import FilterError
from daemon.flows.filters.labels import by_labels
from daemon.proto import flow_pb2

Predicate = Callable[[flow_pb2.Flow], bool]
Rule = Callable[[Any, flow_pb2.FlowFilter], Predicate]


def compile_filter(wanted: flow_pb2.FlowFilter) -> Predicate:
    """The predicate of one filter; an empty one matches everything. Raises FilterError."""
    predicates = [rule(values, wanted) for field, rule in _RULES.items() if (values := getattr(wanted, field))]
    predicates.extend(_experimental(wanted))
    return lambda flow: all(predicate(flow) for predicate in predicates)


def compile_lists(whitelist: Sequence[flow_pb2.FlowFilter], blacklist: Sequence[flow_pb2.FlowFilter]) -> Predicate:
    """The predicate of a request. Raises FilterError for the first filter that cannot be understood."""
    wanted = [compile_filter(entry) for entry in whitelist]
    unwanted = [compile_filter(entry) for entry in blacklist]

    def accept(flow: flow_pb2.Flow) -> bool:
        return (not wanted or any(match(flow) for match in wanted)) and not any(match(flow) for match in unwanted)

    return accept


def _alone(compiler: Callable[[Any], Predicate]) -> Rule:
    """The rule of a field that is understood without looking at the others."""
    return lambda values, _: compiler(values)


def _prefixed(prefix: str, compiler: Callable[[Any], Predicate]) -> Rule:
    """The same, with words in front of its errors."""

    def rule(values: Any, _: flow_pb2.FlowFilter) -> Predicate:
        try:
            return compiler(values)
        except FilterError as error:
            raise FilterError(f"{prefix}: {error}") from error

    return rule


def _for_l7(what: str, rule: Rule) -> Rule:
    """A rule that contradicts an event type filter without L7 events."""

    def checked(values: Any, wanted: flow_pb2.FlowFilter) -> Predicate:
        if wanted.event_type and all(entry.type != packet.EVENT_L7 for entry in wanted.event_type):
            raise FilterError(f"filtering by {what} requires the event type filter to only match 'l7' events")
        return rule(values, wanted)

    return checked


def _experimental(wanted: flow_pb2.FlowFilter) -> list[Predicate]:
    if wanted.experimental.cel_expression:
        raise FilterError(
            "error compiling CEL expression: this server does not evaluate CEL; use the other filter fields"
        )
    return []


_RULES: dict[str, Rule] = {
    "uuid": _alone(packet.by_uuid),
    "event_type": _alone(packet.by_event_type),
    "verdict": _alone(packet.by_verdict),
    "drop_reason_desc": _alone(packet.by_drop_reason),
    "reply": _alone(packet.by_reply),
    "encrypted": _alone(packet.by_encrypted),
    "source_identity": _alone(partial(ends.by_identity, SOURCE)),
    "destination_identity": _alone(partial(ends.by_identity, DESTINATION)),
    "protocol": _prefixed("invalid protocol filter", packet.by_protocol),
    "source_ip": _alone(partial(ends.by_address, SOURCE.ip)),
    "destination_ip": _alone(partial(ends.by_address, DESTINATION.ip)),
    "source_ip_xlated": _alone(partial(ends.by_address, ends.xlated)),
    "source_pod": _alone(partial(ends.by_name, SOURCE.pod)),
    "destination_pod": _alone(partial(ends.by_name, DESTINATION.pod)),
    "source_workload": _alone(partial(ends.by_workload, SOURCE)),
    "destination_workload": _alone(partial(ends.by_workload, DESTINATION)),
    "source_service": _prefixed("invalid source service filter", partial(ends.by_name, SOURCE.service)),
    "destination_service": _prefixed("invalid destination service filter", partial(ends.by_name, DESTINATION.service)),
    "source_fqdn": _alone(partial(patterns.by_fqdn, SOURCE.names)),
    "destination_fqdn": _alone(partial(patterns.by_fqdn, DESTINATION.names)),
    "dns_query": _prefixed("invalid DNS query filter", http.by_dns_query),
    "source_label": _prefixed("invalid source label filter", partial(by_labels, SOURCE.labels)),
    "destination_label": _prefixed("invalid destination label filter", partial(by_labels, DESTINATION.labels)),
    "node_labels": _prefixed("invalid node label filter", partial(by_labels, packet.node_labels)),
    "source_port": _prefixed("invalid source port filter", partial(ends.by_port, SOURCE)),
    "destination_port": _prefixed("invalid destination port filter", partial(ends.by_port, DESTINATION)),
    "http_status_code": _for_l7("http status code", _prefixed("invalid http status code filter", http.by_status)),
    "http_method": _for_l7("http method", _alone(http.by_method)),
    "http_path": _for_l7("http path", _prefixed("invalid http path filter", http.by_path)),
    "http_url": _for_l7("http url", _prefixed("invalid http url filter", http.by_url)),
    "http_header": _for_l7("http headers", _alone(http.by_header)),
    "tcp_flags": _alone(packet.by_tcp_flags),
    "node_name": _alone(patterns.by_node_name),
    "source_cluster_name": _alone(partial(ends.by_cluster, SOURCE)),
    "destination_cluster_name": _alone(partial(ends.by_cluster, DESTINATION)),
    "ip_version": _alone(packet.by_ip_version),
    "trace_id": _alone(packet.by_trace_id),
    "traffic_direction": _alone(packet.by_traffic_direction),
    "interface": _alone(packet.by_interface),
    "ip_trace_id": _alone(packet.by_ip_trace_id),
}
