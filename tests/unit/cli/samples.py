"""Flows of every kind that printers must tell, written by hand."""

from __future__ import annotations

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from daemon.proto import flow_pb2, observer_pb2, remora_pb2

FRONTEND = {"namespace": "shop", "pod_name": "frontend-5d", "identity": 4711}
BACKEND = {"namespace": "shop", "pod_name": "backend-7c", "identity": 4712}
WORLD = {"identity": 2, "labels": ["reserved:world"]}


def flow(millisecond: int, **fields: object) -> remora_pb2.FlowItem:
    """A flow from frontend to backend over TCP, `fields` (as in JSON) in place of the usual ones."""
    value: dict[str, object] = {
        "time": f"2026-03-07T09:05:11.{millisecond:03d}456Z",
        "verdict": "FORWARDED",
        "IP": {"source": "10.0.1.1", "destination": "10.0.1.2", "ipVersion": "IPv4"},
        "l4": {"TCP": {"source_port": 43210, "destination_port": 8080}},
        "source": FRONTEND,
        "destination": BACKEND,
        "Type": "L3_L4",
        "node_name": "node-1",
        "event_type": {"type": 4},
        "is_reply": False,
        "Summary": "TCP Flags: SYN",
        **fields,
    }
    value = {name: one for name, one in value.items() if one is not None}
    response = json_format.ParseDict({"flow": value, "node_name": "node-1"}, observer_pb2.GetFlowsResponse())
    response.time.CopyFrom(response.flow.time)
    return remora_pb2.FlowItem(
        response=response,
        extra=remora_pb2.FlowExtra(
            forward_packets=5,
            forward_bytes=640,
            reverse_packets=4,
            reverse_bytes=51_200,
            handshake_ns=212_000,
            pid=812,
            comm="curl",
        ),
    )


def lost(with_times: bool) -> remora_pb2.FlowItem:
    """Events that were lost."""
    response = observer_pb2.GetFlowsResponse(node_name="node-1", time=_stamp(700))
    response.lost_events.num_events_lost = 17
    response.lost_events.source = flow_pb2.HUBBLE_RING_BUFFER if with_times else flow_pb2.PERF_EVENT_RING_BUFFER
    if with_times:
        response.lost_events.first.CopyFrom(_stamp(100))
        response.lost_events.last.CopyFrom(_stamp(600))
    else:
        response.lost_events.cpu.value = 2
    return remora_pb2.FlowItem(response=response)


def _stamp(millisecond: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromJsonString(f"2026-03-07T09:05:11.{millisecond:03d}Z")
    return stamp


def _reply(**fields: object) -> dict[str, object]:
    """What a packet of the backend's carries."""
    return {
        "source": BACKEND,
        "destination": FRONTEND,
        "IP": {"source": "10.0.1.2", "destination": "10.0.1.1", "ipVersion": "IPv4"},
        "l4": {"TCP": {"source_port": 8080, "destination_port": 43210}},
        "is_reply": True,
        **fields,
    }


def _l7(**fields: object) -> dict[str, object]:
    return {"Type": "L7", "event_type": {"type": 129}, **fields}


URL = "http://backend/api/users?a=<1>&b=2"
POLICY = {"type": 5}

ITEMS = (
    flow(1),
    flow(2, **_reply(event_type={"type": 4, "sub_type": 3}, Summary="TCP Flags: SYN, ACK")),
    flow(
        3,
        **_l7(
            l7={"type": "REQUEST", "http": {"method": "GET", "url": URL, "protocol": "HTTP/1.1"}},
            Summary=f"HTTP/1.1 GET {URL}",
        ),
    ),
    flow(
        328,
        **_reply(
            **_l7(
                l7={
                    "type": "RESPONSE",
                    "latency_ns": "325400000",
                    "http": {"code": 200, "method": "GET", "url": URL, "protocol": "HTTP/1.1"},
                },
                Summary=f"HTTP/1.1 200 325ms (GET {URL})",
            )
        ),
    ),
    flow(
        400,
        **_l7(
            destination={"namespace": "kube-system", "pod_name": "dns-1", "identity": 700},
            l4={"UDP": {"source_port": 5353, "destination_port": 53}},
            l7={"type": "REQUEST", "dns": {"query": "backend.shop.svc.", "qtypes": ["A", "AAAA"]}},
            Summary="DNS Query backend.shop.svc. A,AAAA",
        ),
    ),
    flow(
        401,
        destination=WORLD,
        destination_names=["one.example", "two.example"],
        verdict="DROPPED",
        drop_reason_desc="POLICY_DENIED",
        event_type={"type": 1, "sub_type": 133},
        is_reply=None,
    ),
    flow(
        402,
        verdict="DROPPED",
        event_type=POLICY,
        traffic_direction="EGRESS",
        egress_denied_by=[{"name": "no-world", "kind": "NetworkPolicy"}, {"name": "nameless"}],
        is_reply=None,
    ),
    flow(403, verdict="AUDIT", event_type=POLICY, policy_match_type=2, traffic_direction="INGRESS", auth_type="SPIRE"),
    flow(
        404,
        verdict="TRANSLATED",
        event_type={"type": 7, "sub_type": 2},
        sock_xlate_point="SOCK_XLATE_POINT_POST_DIRECTION_FWD",
        destination={"identity": 4712, "namespace": "other"},
        destination_service={"name": "backend", "namespace": "shop"},
        is_reply=None,
        Summary="TCP",
    ),
    flow(
        405,
        source={"identity": 1},
        destination={"identity": 16777217},
        IP={"source": "fd00::1", "destination": "fd00::2", "ipVersion": "IPv6"},
        l4={"ICMPv6": {"type": 128}},
        ip_trace_id={"trace_id": "77"},
        Summary="ICMPv6 EchoRequest",
    ),
    flow(
        406,
        source={"identity": 6},
        destination={"identity": 11},
        IP={"source": "fd00::1", "destination": "fd00::2", "ipVersion": "IPv6"},
        event_type={"type": 4, "sub_type": 11},
        Summary="TCP Flags: ACK",
    ),
    flow(
        407,
        source={},
        destination={},
        IP=None,
        l4=None,
        ethernet={"source": "02:00:00:00:00:01", "destination": "ff:ff:ff:ff:ff:ff"},
        verdict="ERROR",
        event_type={"type": 1, "sub_type": 250},
        is_reply=None,
        Summary="Ethernet",
    ),
    flow(408, Summary="HTTP/1.1 GET http://x/\u001b[31mred\r", event_type={"type": 9}),
    lost(True),
    lost(False),
)
