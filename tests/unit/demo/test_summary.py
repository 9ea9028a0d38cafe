"""The demo's last lines: what is counted, and that nothing is counted twice."""

from __future__ import annotations

from typing import Any

from daemon.demo.summary import Pair, Summary, milliseconds, text
from daemon.proto import flow_pb2

FRONTEND = flow_pb2.Endpoint(namespace="shop", pod_name="frontend")
BACKEND = flow_pb2.Endpoint(namespace="shop", pod_name="backend-1")
OTHER = flow_pb2.Endpoint(namespace="shop", pod_name="backend-2")
SERVICE = flow_pb2.Service(namespace="shop", name="backend")
HTTP = Pair("shop/frontend", "shop/backend", "HTTP")


def response(latency_ms: float, code: int = 200, server: flow_pb2.Endpoint = BACKEND, **more: Any) -> flow_pb2.Flow:
    fields: dict[str, Any] = {"traffic_direction": flow_pb2.EGRESS, "source_service": SERVICE} | more
    l7 = flow_pb2.Layer7(type=flow_pb2.RESPONSE, latency_ns=int(latency_ms * 1e6), http=flow_pb2.HTTP(code=code))
    return flow_pb2.Flow(Type=flow_pb2.L7, l7=l7, source=server, destination=FRONTEND, **fields)


def packet(port: int = 40000, **flags: bool) -> flow_pb2.Flow:
    tcp = flow_pb2.TCP(source_port=81, destination_port=port, flags=flow_pb2.TCPFlags(**flags))
    flow = flow_pb2.Flow(
        Type=flow_pb2.L3_L4,
        traffic_direction=flow_pb2.EGRESS,
        source=BACKEND,
        destination=FRONTEND,
        IP=flow_pb2.IP(source="10.0.0.2", destination="10.0.0.1"),
        l4=flow_pb2.Layer4(TCP=tcp),
    )
    flow.is_reply.value = True
    return flow


def test_latencies_are_told_as_median_and_99th_percentile() -> None:
    talk = Summary.of(response(ms) for ms in [*range(1, 100), 500]).talks[HTTP]
    assert (talk.percentile(0.50), talk.percentile(0.99)) == ("51ms", "500ms")


def test_what_the_servers_side_saw_is_not_counted_again() -> None:
    flows = [response(1), response(1, traffic_direction=flow_pb2.INGRESS)]
    summary = Summary.of(flows)
    assert len(summary.talks[HTTP].latencies) == 1
    assert summary.flows == 2


def test_client_and_server_errors_are_counted_by_code() -> None:
    summary = Summary.of([response(1), response(1, 404), response(1, 404), response(1, 503)])
    assert summary.talks[HTTP].errors == {"404": 2, "503": 1}


def test_an_unknown_name_is_an_error_of_dns() -> None:
    flow = response(1)
    flow.l7.dns.rcode = 3
    summary = Summary.of([flow])
    assert summary.talks[Pair("shop/frontend", "shop/backend", "DNS")].errors == {"NXDOMAIN": 1}


def test_a_reset_in_answer_to_a_syn_is_a_refusal() -> None:
    summary = Summary.of([packet(RST=True, ACK=True)])
    assert summary.talks[Pair("shop/frontend", "shop/backend-1:81", "TCP")].errors == {"refused": 1}


def test_a_reset_after_a_handshake_is_none() -> None:
    assert not Summary.of([packet(SYN=True, ACK=True), packet(RST=True)]).talks


def test_the_pods_of_a_service_are_told_apart() -> None:
    shown = text(Summary.of([response(1), response(325, server=OTHER)])).splitlines()
    assert shown[1].split()[:5] == ["shop/frontend", "->", "shop/backend", "(HTTP)", "2"]
    assert shown[2].split() == ["by", "shop/backend-1", "1", "1.0ms", "1.0ms"]
    assert shown[3].split() == ["by", "shop/backend-2", "1", "325ms", "325ms"]


def test_no_request_at_all_is_said() -> None:
    assert "no request" in text(Summary.of([]))


def test_latencies_below_ten_milliseconds_have_a_decimal() -> None:
    assert [milliseconds(ns) for ns in (400_000, 9_940_000, 325_400_000)] == ["0.4ms", "9.9ms", "325ms"]
