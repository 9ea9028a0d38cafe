"""Traffic of the last while: what is added up, what is dropped, and what is counted once though seen twice."""

from __future__ import annotations

from daemon.flows.summary import TrafficSummary
from daemon.flows.traffic import ORDERS, USUAL, Grouping, Line, Traffic
from daemon.proto import flow_pb2, remora_pb2

START = 1_700_000_000


def flow(
    second: float = 0, client: str = "web", server: str = "api", ingress: bool = True, **fields: object
) -> flow_pb2.Flow:
    made = flow_pb2.Flow(
        IP={"source": f"10.0.0.{len(client)}", "destination": f"10.0.1.{len(server)}"},
        l4={"TCP": {"source_port": 40_000, "destination_port": 80, "flags": {"SYN": True}}},
        source={"namespace": "shop", "pod_name": client},
        destination={"namespace": "shop", "pod_name": server},
        verdict=flow_pb2.Verdict.FORWARDED,
        traffic_direction=flow_pb2.INGRESS if ingress else flow_pb2.EGRESS,
        is_reply={"value": False},
        trace_reason=flow_pb2.TraceReason.NEW,
        interface={"index": 5 if ingress else 4},
    )
    made.time.FromNanoseconds(int((START + second) * 1e9))
    for name, value in fields.items():
        field = getattr(made, name)
        field.CopyFrom(type(field)(**value)) if isinstance(value, dict) else setattr(made, name, value)
    return made


def answer(second: float, code: int = 200, milliseconds: int = 10) -> flow_pb2.Flow:
    made = flow(second, "api", "web", l7={"type": 2, "latency_ns": milliseconds * 1_000_000, "http": {"code": code}})
    made.Type, made.is_reply.value = flow_pb2.FlowType.L7, True
    return made


def lines(traffic: Traffic, grouping: Grouping = Grouping.TALKERS, second: float = 10) -> list[Line]:
    return sorted(traffic.lines(grouping, int((START + second) * 1e9)), key=ORDERS[USUAL[grouping]])


def carried(total: int) -> remora_pb2.FlowExtra:
    return remora_pb2.FlowExtra(forward_bytes=total)


NOTHING = remora_pb2.FlowExtra()


def test_requests_errors_and_latencies_are_told_by_pair() -> None:
    traffic = Traffic()
    for number in range(100):
        traffic.add(answer(number / 10, 500 if number < 5 else 200, number + 1), NOTHING)
    (line,) = lines(traffic)
    assert (line.client, line.server, line.protocol) == ("shop/web", "shop/api", "HTTP")
    assert (line.requests, line.errors, line.error_share) == (100, 5, 5.0)
    assert (line.p50, line.p90, line.p99) == (50_000_000, 90_000_000, 99_000_000)
    assert 10 < line.rate < 10.2


def test_what_is_older_than_the_window_is_gone() -> None:
    traffic = Traffic(window=5)
    traffic.add(answer(0), NOTHING)
    traffic.add(answer(8), NOTHING)
    assert [line.requests for line in lines(traffic, second=9)] == [1]
    assert lines(traffic, second=60) == []


def test_bytes_are_what_a_connection_has_grown_by() -> None:
    traffic = Traffic()
    for second, total in ((0, 100), (1, 400), (10, 1_100)):
        traffic.add(flow(second, trace_reason=flow_pb2.TraceReason.NEW if not second else 2), carried(total))
    (line,) = lines(traffic)
    assert line.bytes_rate == 1_100 / 10


def test_a_connection_that_is_met_in_its_middle_counts_from_there() -> None:
    traffic = Traffic()
    for second, total in ((0, 10_000), (10, 10_500)):
        traffic.add(flow(second, trace_reason=flow_pb2.TraceReason.ESTABLISHED), carried(total))
    assert [line.bytes_rate for line in lines(traffic)] == [50.0]


def test_a_packet_that_both_devices_saw_counts_once() -> None:
    traffic = Traffic()
    for ingress in (True, False):
        traffic.add(flow(ingress=ingress), carried(60))
    assert [(line.requests, line.bytes_rate) for line in lines(traffic)] == [(1, 60.0)]


def test_a_failure_that_only_one_side_tells_is_not_lost_beside_the_fuller_view_of_the_other() -> None:
    traffic, summary = Traffic(), TrafficSummary()
    failed = flow(ingress=False, Summary="TCP Flags: SYN; Failed: refused", emitter={"name": "Remora"})
    for seen, total in (
        (flow(emitter={"name": "Remora"}), 60),
        (flow(2, emitter={"name": "Remora"}), 120),
        (failed, 0),
    ):
        traffic.add(seen, carried(total))
        summary.add(seen)
    assert [(line.requests, line.errors) for line in lines(traffic)] == [(2, 1)]
    assert [(line.reason, line.errors) for line in lines(traffic, Grouping.ERRORS)] == [("refused", 1)]
    assert [(pair.requests, pair.errors) for pair in summary.pairs()] == [(2, 1)]


def test_services_add_their_clients_up() -> None:
    traffic = Traffic()
    for client in ("web", "mobile"):
        traffic.add(flow(client=client), NOTHING)
    (line,) = lines(traffic, Grouping.SERVICES)
    assert (line.client, line.server, line.requests) == ("", "shop/api", 2)


def test_errors_are_told_by_reason() -> None:
    traffic = Traffic()
    traffic.add(flow(verdict=flow_pb2.Verdict.DROPPED, drop_reason_desc=flow_pb2.POLICY_DENIED), NOTHING)
    for _ in range(2):
        traffic.add(answer(1, 503), NOTHING)
    told = [(line.reason, line.errors) for line in lines(traffic, Grouping.ERRORS)]
    assert told == [("HTTP 503", 2), ("POLICY_DENIED", 1)]


def test_only_what_was_measured_has_latency() -> None:
    traffic = Traffic()
    traffic.add(flow(), NOTHING)
    traffic.add(answer(1), NOTHING)
    assert [line.protocol for line in lines(traffic, Grouping.LATENCY)] == ["HTTP"]


def test_many_pairs_do_not_take_more_room() -> None:
    traffic = Traffic()
    for number in range(9_000):
        traffic.add(flow(client=f"c{number}"), NOTHING)
    told = lines(traffic)
    assert len(told) <= 8_193
    assert sum(line.requests for line in told) == 9_000
