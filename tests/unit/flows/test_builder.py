"""Records told as flows."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.flows.l7 import DnsMessage, HttpMessage
from daemon.flows.record import FlowRecord, read_record
from daemon.proto import flow_pb2
from ebpf import addresses
from ebpf.constants import Direction, EventKind, Point, Verdict
from tests.support.layouts import flow_dtype
from tests.unit.flows.samples import BACKEND, FRONTEND, WORLD, Bench, renamed, row

Flow = flow_pb2.Flow


def _flow(message: object = None, **record: object) -> Flow:
    return Bench().builder.build(row(**record), 3, message)  # type: ignore[arg-type]


def test_every_field_of_a_row_is_read_from_its_place() -> None:
    array = np.zeros(1, flow_dtype())
    for number, name in enumerate(FlowRecord._fields, 1):
        array[name] = number
    record = read_record(array[0])
    plain = {name: value for name, value in record._asdict().items() if isinstance(value, int)}
    assert plain == {name: FlowRecord._fields.index(name) + 1 for name in plain}
    assert record.src == np.full(4, FlowRecord._fields.index("src") + 1, np.uint32).tobytes()
    assert record.comm == bytes([FlowRecord._fields.index("comm") + 1]) * 16


def test_a_layout_without_a_field_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"lacks.*tcp_flags"):
        read_record(np.zeros(1, np.dtype([("time", np.uint64)]))[0])


def test_a_forwarded_packet_is_told_like_a_trace_event() -> None:
    flow = _flow(time=1_500_000_000, tcp_flags=0x12)
    assert (flow.time.seconds, flow.time.nanos) == (1_700_000_001, 500_000_000)
    assert (flow.verdict, flow.Type) == (flow_pb2.FORWARDED, flow_pb2.L3_L4)
    assert (flow.event_type.type, flow.event_type.sub_type) == (4, 3)
    assert flow.trace_observation_point == flow_pb2.TO_STACK
    assert flow.trace_reason == flow_pb2.TraceReason.NEW
    assert flow.traffic_direction == flow_pb2.EGRESS
    assert (flow.IP.source, flow.IP.destination, flow.IP.ipVersion) == (FRONTEND, BACKEND, flow_pb2.IPv4)
    assert (flow.l4.TCP.source_port, flow.l4.TCP.destination_port) == (40_000, 80)
    assert flow.l4.TCP.flags == flow_pb2.TCPFlags(SYN=True, ACK=True)
    assert flow.Summary == "TCP Flags: SYN, ACK"
    assert (flow.emitter.name, flow.emitter.version) == ("Remora", "1.2.3")
    assert (flow.interface.index, flow.interface.name) == (7, "veth0")


def test_to_endpoint_has_its_own_observation_point() -> None:
    flow = _flow(point=Point.TO_ENDPOINT)
    assert (flow.event_type.sub_type, flow.trace_observation_point) == (0, flow_pb2.TO_ENDPOINT)


@pytest.mark.parametrize("reply", [0, 1])
def test_whether_it_is_a_reply_is_always_present(reply: int) -> None:
    flow = _flow(reply=reply)
    assert flow.HasField("is_reply")
    assert (flow.is_reply.value, flow.reply) == (bool(reply), bool(reply))


def test_ends_carry_names_identity_labels_and_owners() -> None:
    flow = _flow()
    assert (flow.source.namespace, flow.source.pod_name, flow.source.ID) == ("shop", "frontend", 16)
    assert list(flow.source.labels) == ["k8s:app=frontend", "k8s:tier=web"]
    assert flow.destination.identity == 257
    assert flow.destination.ID == 0
    assert flow.destination.workloads[0] == flow_pb2.Workload(name="backend", kind="Deployment")


def test_an_end_that_nobody_claims_is_the_world() -> None:
    flow = _flow(dst=WORLD)
    assert (flow.destination.identity, list(flow.destination.labels)) == (2, ["reserved:world"])
    assert (flow.destination.pod_name, flow.destination.namespace) == ("", "")


def test_a_link_local_address_belongs_to_the_workload_whose_device_it_came_from() -> None:
    flow = _flow(src="fe80::1", dst="fe80::2", src_workload=0, dst_workload=0)
    assert flow.source.pod_name == "frontend"
    assert list(flow.destination.labels) == ["reserved:world"]
    flow = _flow(src="fe80::1", dst="fe80::2", src_workload=0, dst_workload=0, point=Point.TO_ENDPOINT)
    assert flow.destination.pod_name == "frontend"


def test_an_end_without_number_is_found_by_its_address() -> None:
    assert _flow(dst_workload=0).destination.pod_name == "backend-7d-x1"


def test_the_number_decides_before_the_address() -> None:
    assert _flow(dst_workload=18).destination.pod_name == "dns"


def test_the_host_is_told_as_reserved() -> None:
    assert list(_flow(src_workload=1).source.labels) == ["reserved:host"]


def test_a_drop_carries_its_reason_everywhere() -> None:
    flow = _flow(verdict=Verdict.DROPPED, reason=133)
    assert (flow.event_type.type, flow.event_type.sub_type, flow.drop_reason) == (1, 133, 133)
    assert flow.drop_reason_desc == flow_pb2.POLICY_DENIED
    assert flow.trace_observation_point == flow_pb2.UNKNOWN_POINT


def test_the_service_that_was_asked_for_is_on_the_responder_s_side() -> None:
    asked, answered = _flow(service=5), _flow(service=5, src=BACKEND, dst=FRONTEND, reply=1)
    assert (asked.destination_service.namespace, asked.destination_service.name) == ("shop", "backend")
    assert not asked.HasField("source_service")
    assert answered.source_service.name == "backend"
    assert not answered.HasField("destination_service")


def test_a_frontend_s_address_is_told_as_its_service() -> None:
    assert _flow(dst="10.96.0.9").destination_service.name == "backend"
    assert not _flow(dst="10.96.0.9", dst_port=81).HasField("destination_service")


@pytest.mark.parametrize(
    ("proto", "field"),
    [(6, "TCP"), (17, "UDP"), (132, "SCTP"), (1, "ICMPv4"), (58, "ICMPv6"), (112, "VRRP"), (2, "IGMP")],
)
def test_each_protocol_has_its_message_even_when_all_is_zero(proto: int, field: str) -> None:
    assert _flow(proto=proto, src_port=0, dst_port=0).l4.WhichOneof("protocol") == field


def test_an_unknown_protocol_has_no_layer_4() -> None:
    assert not _flow(proto=47).HasField("l4")


def test_ethernet_addresses_are_told_when_there_are_any() -> None:
    flow = _flow(src_mac=np.array([2, 0, 0, 0, 0, 1], np.uint8))
    assert (flow.ethernet.source, flow.ethernet.destination) == ("02:00:00:00:00:01", "00:00:00:00:00:00")
    assert not _flow().HasField("ethernet")


def test_an_http_answer_is_told_as_a_layer_7_flow() -> None:
    message = HttpMessage("GET", "http://b/x", "HTTP/1.1", 404, (("Host", "b"),), latency_ns=325_000_000)
    flow = _flow(message, kind=EventKind.L7, reply=1)
    assert (flow.Type, flow.event_type.type, flow.event_type.sub_type) == (flow_pb2.FlowType.L7, 129, 0)
    assert (flow.l7.type, flow.l7.latency_ns) == (flow_pb2.RESPONSE, 325_000_000)
    assert (flow.l7.http.code, flow.l7.http.url) == (404, "http://b/x")
    assert flow.l7.http.headers[0] == flow_pb2.HTTPHeader(key="Host", value="b")
    assert flow.l4.TCP.destination_port == 80
    assert not flow.l4.TCP.HasField("flags")
    assert not flow.HasField("ethernet")
    assert flow.Summary == "HTTP/1.1 404 325ms (GET http://b/x)"


def test_a_dns_query_names_its_observer() -> None:
    flow = _flow(DnsMessage(1, "a.", ("A",)), kind=EventKind.L7, proto=17)
    assert (flow.l7.type, flow.l7.dns.observation_source) == (flow_pb2.REQUEST, "agent")


def test_a_message_that_is_gone_leaves_a_layer_7_flow_without_record() -> None:
    flow = _flow(None, kind=EventKind.L7, reply=1)
    assert (flow.Type, flow.l7.type, flow.l7.WhichOneof("record")) == (flow_pb2.FlowType.L7, flow_pb2.RESPONSE, None)


def test_names_are_those_that_the_other_end_asked_for() -> None:
    bench = Bench()
    bench.names.learn(addresses.pack(FRONTEND), DnsMessage(1, "api.example.", ("A",), (WORLD,), response=True))
    out = bench.builder.build(row(dst=WORLD), 0, None)
    back = bench.builder.build(row(src=WORLD, dst=FRONTEND, reply=1), 1, None)
    assert (list(out.destination_names), list(out.source_names)) == (["api.example"], [])
    assert (list(back.source_names), list(back.destination_names)) == (["api.example"], [])


def test_every_record_has_an_identifier_of_its_own_that_does_not_change() -> None:
    builder = Bench().builder
    one, again, two = (builder.build(row(), seq, None).uuid for seq in (1, 1, 2))
    assert one == again != two
    assert [len(part) for part in one.split("-")] == [8, 4, 4, 4, 12]


def test_a_workload_that_changed_its_name_is_told_by_the_new_one() -> None:
    bench = Bench()
    assert bench.builder.build(row(), 0, None).source.pod_name == "frontend"
    bench.directory.update_workloads([renamed(workload, "renamed") for workload in bench.directory.workloads()])
    assert bench.builder.build(row(), 0, None).source.pod_name == "renamed"


def test_what_the_kernel_knows_beyond_a_flow_is_told_apart() -> None:
    extra = Bench().builder.extra(
        row(
            time=5_000, started=2_000, forward_packets=3, forward_bytes=180, reverse_packets=2, reverse_bytes=120,
            handshake=250, pid=42, comm=np.frombuffer(b"curl".ljust(16, b"\0"), np.uint8), cgroup=9,
        )
    )  # fmt: skip
    assert (extra.forward_packets, extra.forward_bytes, extra.reverse_packets, extra.reverse_bytes) == (3, 180, 2, 120)
    assert (extra.age_ns, extra.handshake_ns, extra.pid, extra.comm, extra.cgroup) == (3_000, 250_000, 42, "curl", 9)


def test_an_ingress_flow_says_so() -> None:
    assert _flow(direction=Direction.INGRESS).traffic_direction == flow_pb2.INGRESS


def test_the_trace_of_a_request_and_of_its_answer_is_told() -> None:
    for message in (HttpMessage("GET", "/", "HTTP/1.1", trace_id="ab" * 16), HttpMessage("GET", "/", "HTTP/1.1")):
        flow = _flow(message, kind=EventKind.L7)
        assert flow.trace_context.parent.trace_id == message.trace_id
        assert flow.HasField("trace_context") == bool(message.trace_id)


@pytest.mark.parametrize(
    ("point", "told"),
    [
        (Point.TO_ENDPOINT, "TO_ENDPOINT"),
        (Point.TO_STACK, "TO_STACK"),
        (Point.TO_HOST, "TO_HOST"),
        (Point.FROM_HOST, "FROM_HOST"),
        (Point.FROM_NETWORK, "FROM_NETWORK"),
    ],
)
def test_every_place_where_packets_are_seen_has_hubbles_word(point: Point, told: str) -> None:
    flow = _flow(point=point)
    assert flow.trace_observation_point == flow_pb2.TraceObservationPoint.Value(told)
    assert (flow.event_type.type, flow.event_type.sub_type) == (4, point)
