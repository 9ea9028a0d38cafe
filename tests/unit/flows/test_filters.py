"""The meaning of FlowFilter, field by field, with the words of its errors."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from daemon.flows.filters import FilterError, compile_filter, compile_lists
from daemon.flows.filters.compile import _RULES
from daemon.proto import flow_pb2

TCP: dict[str, Any] = {
    "uuid": "u-1",
    "verdict": "FORWARDED",
    "IP": {"source": "10.0.0.1", "destination": "10.0.0.2", "ipVersion": "IPv4", "source_xlated": "172.16.0.1"},
    "l4": {"TCP": {"source_port": 40000, "destination_port": 80, "flags": {"SYN": True, "ACK": True}}},
    "source": {
        "identity": 256,
        "namespace": "shop",
        "pod_name": "frontend-1",
        "labels": ["k8s:app=frontend", "k8s:tier=web", "k8s:replicas=3", "reserved:world"],
        "workloads": [{"name": "frontend", "kind": "Deployment"}],
        "cluster_name": "prod",
    },
    "destination": {"identity": 2, "labels": ["reserved:world"]},
    "source_names": ["api.example.com"],
    "node_name": "prod/node-1",
    "node_labels": ["zone=a"],
    "destination_service": {"name": "backend", "namespace": "shop"},
    "event_type": {"type": 4, "sub_type": 3},
    "traffic_direction": "EGRESS",
    "is_reply": False,
    "interface": {"index": 7, "name": "veth0"},
    "trace_context": {"parent": {"trace_id": "abc"}},
    "ip_trace_id": {"trace_id": 9},
}
HTTP: dict[str, Any] = {
    "l4": {"TCP": {"destination_port": 80}},
    "l7": {
        "type": "RESPONSE",
        "http": {
            "code": 404,
            "method": "GET",
            "url": "http://backend:80/api/us%65rs?q=1",
            "headers": [{"key": "X-Id", "value": "7"}],
        },
    },
    "event_type": {"type": 129},
    "is_reply": True,
}
DNS: dict[str, Any] = {
    "l4": {"UDP": {"destination_port": 53}},
    "l7": {"type": "REQUEST", "dns": {"query": "api.shop.svc.cluster.local."}},
    "event_type": {"type": 129},
}
DROP: dict[str, Any] = {
    "verdict": "DROPPED",
    "drop_reason_desc": "POLICY_DENIED",
    "event_type": {"type": 1, "sub_type": 133},
}
PING: dict[str, Any] = {"l4": {"ICMPv4": {"type": 8}}, "IP": {"source": "fd00::1", "ipVersion": "IPv6"}}


def _flow(fields: dict[str, Any]) -> flow_pb2.Flow:
    return json_format.ParseDict(fields, flow_pb2.Flow())


def _filter(fields: dict[str, Any]) -> flow_pb2.FlowFilter:
    return json_format.ParseDict(fields, flow_pb2.FlowFilter())


def _matches(wanted: dict[str, Any], flow: dict[str, Any]) -> bool:
    return compile_filter(_filter(wanted))(_flow(flow))


Case = tuple[dict[str, Any], dict[str, Any]]

MATCHING: list[Case] = [
    ({}, {}),
    ({"uuid": ["x", "u-1"]}, TCP),
    ({"source_ip": ["10.0.0.1"]}, TCP),
    ({"source_ip": ["10.9.0.0/16", "10.0.0.0/8"]}, TCP),
    ({"source_ip": ["10.0.0.77/24"]}, TCP),
    ({"source_ip": ["fd00::/8"]}, PING),
    ({"destination_ip": ["10.0.0.2"]}, TCP),
    ({"source_ip_xlated": ["172.16.0.0/12"]}, TCP),
    ({"source_pod": ["shop/front"]}, TCP),
    ({"source_pod": ["shop/"]}, TCP),
    ({"source_pod": ["/frontend"]}, TCP),
    ({"source_pod": ["/"]}, TCP),
    ({"source_pod": ["x", "shop/frontend-1"]}, TCP),
    ({"destination_service": ["shop/back"]}, TCP),
    ({"source_fqdn": ["*.example.com"]}, TCP),
    ({"source_fqdn": ["API.example.com."]}, TCP),
    ({"source_fqdn": ["a*m"]}, TCP),
    ({"dns_query": ["^api\\..*local\\.$"]}, DNS),
    ({"dns_query": ["nope", "shop"]}, DNS),
    ({"source_label": ["app=frontend"]}, TCP),
    ({"source_label": ["k8s:app==frontend,tier in (web, db)"]}, TCP),
    ({"source_label": ["any:app"]}, TCP),
    ({"source_label": ["reserved:world"]}, TCP),
    ({"source_label": ["!missing"]}, TCP),
    ({"source_label": ["app!=backend"]}, TCP),
    ({"source_label": ["missing!=x"]}, TCP),
    ({"source_label": ["app notin (a,b)"]}, TCP),
    ({"source_label": ["replicas>2,replicas<4"]}, TCP),
    ({"source_label": ["app=no", "tier=web"]}, TCP),
    ({"source_label": [""]}, TCP),
    ({"source_label": ["world="]}, TCP),
    ({"node_labels": ["zone=a"]}, TCP),
    ({"source_workload": [{"name": "frontend"}]}, TCP),
    ({"source_workload": [{"kind": "Deployment"}]}, TCP),
    ({"source_workload": [{"name": "x"}, {"name": "frontend", "kind": "Deployment"}]}, TCP),
    ({"source_cluster_name": ["prod"]}, TCP),
    ({"node_name": ["node-1"]}, TCP),
    ({"node_name": ["prod/"]}, TCP),
    ({"node_name": ["/node-*"]}, TCP),
    ({"node_name": ["p*/NODE-1"]}, TCP),
    ({"node_name": ["default/bare"]}, {"node_name": "bare"}),
    ({"traffic_direction": ["EGRESS"]}, TCP),
    ({"verdict": ["DROPPED", "FORWARDED"]}, TCP),
    ({"ip_version": ["IPv4"]}, TCP),
    ({"ip_version": ["IP_NOT_USED"]}, DROP),
    ({"drop_reason_desc": ["POLICY_DENIED"]}, DROP),
    ({"interface": [{"name": "veth0"}]}, TCP),
    ({"interface": [{"index": 7}]}, TCP),
    ({"interface": [{}]}, TCP),
    ({"event_type": [{"type": 4}]}, TCP),
    ({"event_type": [{"type": 4, "match_sub_type": True, "sub_type": 3}]}, TCP),
    ({"event_type": [{"match_sub_type": True, "sub_type": 3}]}, TCP),
    ({"event_type": [{}]}, TCP),
    ({"event_type": [{"type": 1}, {"type": 129}]}, HTTP),
    ({"http_status_code": ["404"]}, HTTP),
    ({"http_status_code": ["4+"]}, HTTP),
    ({"http_status_code": ["500", "40+"]}, HTTP),
    ({"http_method": ["get"]}, HTTP),
    ({"http_path": ["^/api/users$"]}, HTTP),
    ({"http_url": ["backend:80.*q=1"]}, HTTP),
    ({"http_header": [{"key": "X-Id", "value": "7"}]}, HTTP),
    ({"http_method": ["GET"], "event_type": [{"type": 129}]}, HTTP),
    ({"protocol": ["TCP"]}, HTTP),
    ({"protocol": ["udp", "http"]}, HTTP),
    ({"protocol": ["dns"]}, DNS),
    ({"protocol": ["icmp"]}, PING),
    ({"protocol": ["icmpv4"]}, PING),
    ({"source_port": ["40000"]}, TCP),
    ({"destination_port": ["53", "080"]}, TCP),
    ({"reply": [False]}, TCP),
    ({"reply": [True, False]}, HTTP),
    ({"reply": [False]}, DROP),
    ({"source_identity": [1, 256]}, TCP),
    ({"tcp_flags": [{"SYN": True}]}, TCP),
    ({"tcp_flags": [{"FIN": True}, {"SYN": True, "ACK": True}]}, TCP),
    ({"tcp_flags": [{}]}, TCP),
    ({"trace_id": ["abc"]}, TCP),
    ({"ip_trace_id": [9]}, TCP),
    ({"encrypted": [False]}, TCP),
    ({"encrypted": [True]}, {"IP": {"encrypted": True}}),
    ({"source_pod": ["shop/"], "destination_port": ["80"], "verdict": ["FORWARDED"]}, TCP),
]

NOT_MATCHING: list[Case] = [
    ({"uuid": ["u"]}, TCP),
    ({"source_ip": ["10.0.0.2", "11.0.0.0/8", "fd00::/8"]}, TCP),
    ({"source_ip": ["fd00:0::1"]}, PING),
    ({"source_ip": ["::/0"]}, DROP),
    ({"source_pod": ["frontend"]}, TCP),
    ({"source_pod": ["shop/rontend"]}, TCP),
    ({"source_pod": ["sho/"]}, TCP),
    ({"destination_pod": ["/"]}, TCP),
    ({"source_service": ["/"]}, TCP),
    ({"destination_service": ["backend"]}, TCP),
    ({"source_fqdn": ["example.com"]}, TCP),
    ({"destination_fqdn": ["*"]}, TCP),
    ({"dns_query": ["^shop"]}, DNS),
    ({"dns_query": [".*"]}, HTTP),
    ({"source_label": ["app"]}, DROP),
    ({"source_label": ["reserved:app"]}, TCP),
    ({"source_label": ["app=frontend,tier=db"]}, TCP),
    ({"source_label": ["!app"]}, TCP),
    ({"source_label": ["app notin (frontend)"]}, TCP),
    ({"source_label": ["replicas>3"]}, TCP),
    ({"source_label": ["app>3"]}, TCP),
    ({"destination_label": ["app=frontend"]}, TCP),
    ({"node_labels": ["zone=b"]}, TCP),
    ({"source_workload": [{"name": "front"}]}, TCP),
    ({"source_workload": [{"name": "frontend", "kind": "deployment"}]}, TCP),
    ({"destination_workload": [{}]}, TCP),
    ({"source_cluster_name": ["pro"]}, TCP),
    ({"node_name": ["node"]}, TCP),
    ({"node_name": ["default/node-1"]}, TCP),
    ({"node_name": ["*"]}, DROP),
    ({"traffic_direction": ["INGRESS"]}, TCP),
    ({"verdict": ["DROPPED"]}, TCP),
    ({"ip_version": ["IPv6"]}, TCP),
    ({"drop_reason_desc": ["DROP_REASON_UNKNOWN"]}, TCP),
    ({"drop_reason_desc": ["POLICY_DENY"]}, DROP),
    ({"interface": [{"index": 7, "name": "veth1"}]}, TCP),
    ({"interface": [{}]}, DROP),
    ({"event_type": [{"type": 4, "match_sub_type": True}]}, TCP),
    ({"event_type": [{"type": 129}]}, TCP),
    ({"event_type": [{}]}, {}),
    ({"http_status_code": ["40+", "500"]}, {"l7": {"http": {"code": 500 + 3}}}),
    ({"http_status_code": ["1+", "2+", "3+", "4+", "5+"]}, {"l7": {"http": {"method": "GET"}}}),
    ({"http_method": ["POST"]}, HTTP),
    ({"http_method": [""]}, DNS),
    ({"http_path": ["backend"]}, HTTP),
    ({"http_path": [".*"]}, {"l7": {"http": {"url": "no path"}}}),
    ({"http_url": ["^/api"]}, HTTP),
    ({"http_header": [{"key": "x-id", "value": "7"}]}, HTTP),
    ({"http_header": [{"key": "X-Id"}]}, HTTP),
    ({"protocol": ["udp", "icmp", "dns"]}, TCP),
    ({"protocol": ["icmpv6"]}, PING),
    ({"source_port": ["80"]}, TCP),
    ({"source_port": ["0"]}, PING),
    ({"reply": [True]}, TCP),
    ({"reply": [True, False]}, DNS),
    ({"reply": [True]}, DROP),
    ({"source_identity": [0]}, DROP),
    ({"tcp_flags": [{"SYN": True, "FIN": True}]}, TCP),
    ({"tcp_flags": [{}]}, HTTP),
    ({"trace_id": ["ab"]}, TCP),
    ({"ip_trace_id": [8]}, TCP),
    ({"encrypted": [True]}, TCP),
    ({"destination_identity": [256]}, TCP),
    ({"destination_cluster_name": ["prod"]}, TCP),
    ({"source_pod": ["shop/"], "destination_port": ["81"]}, TCP),
]


@pytest.mark.parametrize(("wanted", "flow"), MATCHING, ids=str)
def test_a_filter_takes_what_it_means(wanted: dict[str, Any], flow: dict[str, Any]) -> None:
    assert _matches(wanted, flow)


@pytest.mark.parametrize(("wanted", "flow"), NOT_MATCHING, ids=str)
def test_a_filter_leaves_what_it_does_not_mean(wanted: dict[str, Any], flow: dict[str, Any]) -> None:
    assert not _matches(wanted, flow)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"source_ip": ["10.0.0"]}, 'invalid IP address "10.0.0" in filter: '),
    ({"destination_ip": ["10.0.0.0/33"]}, 'invalid IP prefix "10.0.0.0/33" in filter: '),
    ({"source_ip_xlated": ["10.0.0.0/255.0.0.0"]}, 'invalid IP prefix "10.0.0.0/255.0.0.0" in filter: '),
    ({"source_pod": [""]}, "invalid filter, name must not be empty"),
    ({"source_service": [""]}, "invalid source service filter: invalid filter, name must not be empty"),
    ({"destination_service": [""]}, "invalid destination service filter: invalid filter, name must not be empty"),
    ({"source_fqdn": [" "]}, "empty pattern"),
    ({"source_fqdn": ["a.."]}, "multiple trailing dots in pattern"),
    ({"destination_fqdn": ["a b"]}, "' ': invalid rune in pattern"),
    ({"dns_query": ["("]}, "invalid DNS query filter: failed to compile regexp: error parsing regexp: "),
    ({"source_label": ["a b"]}, "invalid source label filter: unable to parse requirement: "),
    ({"destination_label": ["a in x"]}, "invalid destination label filter: unable to parse requirement: "),
    ({"node_labels": ["=x"]}, "invalid node label filter: unable to parse requirement: "),
    ({"source_label": ["a in (x"]}, "invalid source label filter: "),
    ({"source_label": ["a=b,"]}, "invalid source label filter: "),
    ({"source_label": ["a>b"]}, "invalid source label filter: "),
    ({"source_label": ["a=b!"]}, "invalid source label filter: "),
    ({"source_label": ["-x=1"]}, "invalid source label filter: "),
    ({"source_cluster_name": ["a", ""]}, "invalid filter, name must not be empty"),
    ({"node_name": [""]}, "empty pattern"),
    ({"node_name": ["a/b/c"]}, "too many slashes in pattern"),
    ({"http_status_code": ["6"]}, 'invalid http status code filter: invalid status code prefix: "6"'),
    ({"http_status_code": ["404+"]}, 'invalid http status code filter: invalid status code prefix: "404+"'),
    ({"http_path": ["["]}, "invalid http path filter: [: error parsing regexp: "),
    ({"http_url": ["(?=a)"]}, "invalid http url filter: (?=a): error parsing regexp: invalid or unsupported Perl"),
    ({"http_url": [r"(a)\1"]}, "invalid http url filter: "),
    ({"protocol": ["TCP", "quic"]}, 'invalid protocol filter: unknown protocol: "quic"'),
    ({"source_port": ["http"]}, 'invalid source port filter: invalid port "http": '),
    ({"destination_port": ["65536"]}, 'invalid destination port filter: invalid port "65536": '),
    ({"destination_port": ["-1"]}, 'invalid destination port filter: invalid port "-1": '),
    ({"experimental": {"cel_expression": ["true"]}}, "error compiling CEL expression: "),
]
WITHOUT_L7: list[tuple[dict[str, Any], str]] = [
    (
        {field: values, "event_type": [{"type": 4}]},
        f"filtering by {name} requires the event type filter to only match 'l7' events",
    )
    for field, values, name in (
        ("http_status_code", ["404"], "http status code"),
        ("http_method", ["GET"], "http method"),
        ("http_path", ["/"], "http path"),
        ("http_url", ["/"], "http url"),
        ("http_header", [{"key": "a", "value": "b"}], "http headers"),
    )
]


@pytest.mark.parametrize(("wanted", "message"), REFUSED + WITHOUT_L7, ids=str)
def test_a_filter_that_cannot_be_understood_is_refused_with_hubble_s_words(
    wanted: dict[str, Any], message: str
) -> None:
    with pytest.raises(FilterError) as raised:
        compile_filter(_filter(wanted))
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("whitelist", "blacklist", "accepted"),
    [
        ([], [], True),
        ([{}], [], True),
        ([{"verdict": ["DROPPED"]}], [], False),
        ([{"verdict": ["DROPPED"]}, {"source_port": ["40000"]}], [], True),
        ([], [{"source_port": ["40000"]}], False),
        ([{"source_port": ["40000"]}], [{"verdict": ["DROPPED"]}, {"protocol": ["tcp"]}], False),
        ([], [{}], False),
    ],
)
def test_lists_accept_what_the_whitelist_takes_and_the_blacklist_does_not(
    whitelist: list[dict[str, Any]], blacklist: list[dict[str, Any]], accepted: bool
) -> None:
    accept = compile_lists([_filter(entry) for entry in whitelist], [_filter(entry) for entry in blacklist])
    assert accept(_flow(TCP)) is accepted


def test_every_field_of_a_filter_is_understood() -> None:
    cases: list[dict[str, Any]] = [wanted for wanted, _ in MATCHING + NOT_MATCHING] + [wanted for wanted, _ in REFUSED]
    tested = {field for wanted in cases for field in wanted}
    assert tested == {field.name for field in flow_pb2.FlowFilter.DESCRIPTOR.fields}


def test_every_field_of_a_filter_has_a_rule_and_a_case() -> None:
    fields = {field.name for field in flow_pb2.FlowFilter.DESCRIPTOR.fields}
    assert set(_RULES) | {"experimental"} == fields
    sided = {name.replace("source_", "").replace("destination_", "") for wanted, _ in MATCHING for name in wanted}
    assert {name.replace("source_", "").replace("destination_", "") for name in _RULES} <= sided
