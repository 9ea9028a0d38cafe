"""The wire contract: numbers that foreign clients rely on, and generated code that matches its source.

The table below is written down apart from the .proto files, from the published
contract of the observer API. A number that moves breaks every client in the
field, so it has to be changed here too, on purpose.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor

from daemon.proto import flow_pb2, generate, health_pb2, observer_pb2, peer_pb2, relay_pb2

FLOW = (
    "time=1 verdict=2 drop_reason=3 ethernet=4 IP=5 l4=6 source=8 destination=9 Type=10 node_name=11 "
    "source_names=13 destination_names=14 l7=15 reply=16 event_type=19 source_service=20 destination_service=21 "
    "traffic_direction=22 policy_match_type=23 trace_observation_point=24 drop_reason_desc=25 is_reply=26 "
    "debug_capture_point=27 interface=28 proxy_port=29 trace_context=30 sock_xlate_point=31 socket_cookie=32 "
    "cgroup_id=33 uuid=34 auth_type=35 trace_reason=36 node_labels=37 file=38 tunnel=39 ip_trace_id=40 emitter=41 "
    "egress_allowed_by=21001 ingress_allowed_by=21002 egress_denied_by=21004 ingress_denied_by=21005 "
    "policy_log=21006 aggregate=21007 Summary=100000 extensions=150000"
)
FLOW_FILTER = (
    "source_ip=1 source_pod=2 destination_ip=3 destination_pod=4 verdict=5 event_type=6 source_fqdn=7 "
    "destination_fqdn=8 http_status_code=9 source_label=10 destination_label=11 protocol=12 source_port=13 "
    "destination_port=14 reply=15 source_service=16 destination_service=17 dns_query=18 source_identity=19 "
    "destination_identity=20 http_method=21 http_path=22 tcp_flags=23 node_name=24 ip_version=25 "
    "source_workload=26 destination_workload=27 trace_id=28 uuid=29 traffic_direction=30 http_url=31 "
    "http_header=32 drop_reason_desc=33 source_ip_xlated=34 interface=35 node_labels=36 source_cluster_name=37 "
    "destination_cluster_name=38 ip_trace_id=39 encrypted=40 experimental=999"
)
MESSAGES = {
    flow_pb2.Flow: FLOW,
    flow_pb2.FlowFilter: FLOW_FILTER,
    flow_pb2.FlowFilter.Experimental: "cel_expression=1",
    flow_pb2.Layer4: "TCP=1 UDP=2 ICMPv4=3 ICMPv6=4 SCTP=5 VRRP=6 IGMP=7",
    flow_pb2.Layer7: "type=1 latency_ns=2 dns=100 http=101 kafka=102",
    flow_pb2.Endpoint: "ID=1 identity=2 namespace=3 labels=4 pod_name=5 workloads=6 cluster_name=7",
    flow_pb2.Workload: "name=1 kind=2",
    flow_pb2.TCP: "source_port=1 destination_port=2 flags=3",
    flow_pb2.UDP: "source_port=1 destination_port=2",
    flow_pb2.IP: "source=1 destination=2 ipVersion=3 encrypted=4 source_xlated=5",
    flow_pb2.TCPFlags: "FIN=1 SYN=2 RST=3 PSH=4 ACK=5 URG=6 ECE=7 CWR=8 NS=9",
    flow_pb2.DNS: "query=1 ips=2 ttl=3 cnames=4 observation_source=5 rcode=6 qtypes=7 rrtypes=8",
    flow_pb2.HTTP: "code=1 method=2 url=3 protocol=4 headers=5",
    flow_pb2.HTTPHeader: "key=1 value=2",
    flow_pb2.Service: "name=1 namespace=2",
    flow_pb2.Policy: "name=1 namespace=2 labels=3 revision=4 kind=5",
    flow_pb2.EventTypeFilter: "type=1 match_sub_type=2 sub_type=3",
    flow_pb2.CiliumEventType: "type=1 sub_type=2",
    flow_pb2.LostEvent: "source=1 num_events_lost=2 cpu=3 first=4 last=5",
    flow_pb2.Tunnel: "protocol=1 IP=2 l4=3 vni=4",
    flow_pb2.NetworkInterface: "index=1 name=2",
    observer_pb2.GetFlowsRequest: (
        "number=1 follow=3 blacklist=5 whitelist=6 since=7 until=8 first=9 field_mask=10 "
        "experimental=999 extensions=150000"
    ),
    observer_pb2.GetFlowsResponse: "flow=1 node_status=2 lost_events=3 node_name=1000 time=1001",
    observer_pb2.GetAgentEventsRequest: "number=1 follow=2 since=7 until=8 first=9",
    observer_pb2.ServerStatusResponse: (
        "num_flows=1 max_flows=2 seen_flows=3 uptime_ns=4 num_connected_nodes=5 num_unavailable_nodes=6 "
        "unavailable_nodes=7 version=8 flows_rate=9"
    ),
    observer_pb2.Node: ("name=1 version=2 address=3 state=4 tls=5 uptime_ns=6 num_flows=7 max_flows=8 seen_flows=9"),
    observer_pb2.Namespace: "cluster=1 namespace=2",
    peer_pb2.ChangeNotification: "name=1 address=2 type=3 tls=4",
    relay_pb2.NodeStatusEvent: "state_change=1 node_names=2 message=3",
    health_pb2.HealthCheckRequest: "service=1",
    health_pb2.HealthCheckResponse: "status=1",
}
ENUMS = {
    "Verdict": "VERDICT_UNKNOWN=0 FORWARDED=1 DROPPED=2 ERROR=3 AUDIT=4 REDIRECTED=5 TRACED=6 TRANSLATED=7",
    "FlowType": "UNKNOWN_TYPE=0 L3_L4=1 L7=2 SOCK=3",
    "L7FlowType": "UNKNOWN_L7_TYPE=0 REQUEST=1 RESPONSE=2 SAMPLE=3",
    "IPVersion": "IP_NOT_USED=0 IPv4=1 IPv6=2",
    "TrafficDirection": "TRAFFIC_DIRECTION_UNKNOWN=0 INGRESS=1 EGRESS=2",
    "TraceObservationPoint": (
        "UNKNOWN_POINT=0 TO_PROXY=1 TO_HOST=2 TO_STACK=3 TO_OVERLAY=4 FROM_ENDPOINT=5 FROM_PROXY=6 FROM_HOST=7 "
        "FROM_STACK=8 FROM_OVERLAY=9 FROM_NETWORK=10 TO_NETWORK=11 FROM_CRYPTO=12 TO_CRYPTO=13 TO_ENDPOINT=101"
    ),
    "TraceReason": (
        "TRACE_REASON_UNKNOWN=0 NEW=1 ESTABLISHED=2 REPLY=3 RELATED=4 REOPENED=5 SRV6_ENCAP=6 SRV6_DECAP=7 "
        "ENCRYPT_OVERLAY=8"
    ),
    "LostEventSource": (
        "UNKNOWN_LOST_EVENT_SOURCE=0 PERF_EVENT_RING_BUFFER=1 OBSERVER_EVENTS_QUEUE=2 HUBBLE_RING_BUFFER=3"
    ),
    "AuthType": "DISABLED=0 SPIRE=1 TEST_ALWAYS_FAIL=2",
}
DROPS = {
    "DROP_REASON_UNKNOWN": 0,
    "INVALID_SOURCE_IP": 132,
    "POLICY_DENIED": 133,
    "SERVICE_BACKEND_NOT_FOUND": 158,
    "POLICY_DENY": 181,
    "DROP_RATE_LIMITED": 198,
    "DROP_PUNT_PROXY": 205,
}


def numbers(text: str) -> dict[str, int]:
    return {name: int(number) for name, number in (item.split("=") for item in text.split())}


@pytest.mark.parametrize(("message", "expected"), MESSAGES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_every_field_has_the_number_that_clients_use(message: type, expected: str) -> None:
    descriptor: Descriptor = message.DESCRIPTOR  # type: ignore[attr-defined]
    assert {field.name: field.number for field in descriptor.fields} == numbers(expected)


@pytest.mark.parametrize(("name", "expected"), ENUMS.items())
def test_every_enum_value_has_the_number_that_clients_use(name: str, expected: str) -> None:
    descriptor: EnumDescriptor = getattr(flow_pb2, name).DESCRIPTOR
    assert {value.name: value.number for value in descriptor.values} == numbers(expected)


def test_drop_reasons_have_the_numbers_that_dashboards_use() -> None:
    assert {name: flow_pb2.DropReason.Value(name) for name in DROPS} == DROPS
    assert len(flow_pb2.DropReason.keys()) == 76


def test_services_have_the_names_that_clients_call() -> None:
    calls = {
        service.full_name: sorted(method.name for method in service.methods)
        for module in (observer_pb2, peer_pb2, health_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    }
    assert calls == {
        "observer.Observer": [
            "GetAgentEvents",
            "GetDebugEvents",
            "GetFlows",
            "GetNamespaces",
            "GetNodes",
            "ServerStatus",
        ],
        "peer.Peer": ["Notify"],
        "grpc.health.v1.Health": ["Check", "Watch"],
    }


def test_generated_code_is_what_the_proto_files_give(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed: make install brings it")
    generate.compile_into(tmp_path)
    fresh = {path.name: path.read_text() for path in (tmp_path / "daemon" / "proto").iterdir()}
    committed = {path.name: path.read_text() for path in generate.FOLDER.glob("*_pb2*.py*")}
    assert sorted(fresh) == sorted(committed)
    assert [name for name in fresh if fresh[name] != committed[name]] == [], "run make proto"
