"""Which flows GetFlows sends: number, first, since, until, filters, masks."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from daemon.proto import flow_pb2, observer_pb2, observer_pb2_grpc
from tests.unit.api.shop import REQUEST, RESPONSE, SECOND, START_WALL, FakeView, add_message, rows


def ask(channel: grpc.Channel, **fields: Any) -> list[observer_pb2.GetFlowsResponse]:
    return list(observer_pb2_grpc.ObserverStub(channel).GetFlows(observer_pb2.GetFlowsRequest(**fields), timeout=10))


def seconds(responses: list[observer_pb2.GetFlowsResponse]) -> list[int]:
    """The seconds at which the flows happened, as their source ports tell."""
    return [response.flow.l4.TCP.source_port - 40_000 for response in responses]


def at(second: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(START_WALL + int(second * SECOND))
    return stamp


def refusal(channel: grpc.Channel, **fields: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        ask(channel, **fields)
    return caught.value.code(), caught.value.details()


def test_number_gives_the_newest_flows_oldest_first(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(50))
    assert seconds(ask(channel, number=3)) == [47, 48, 49]


def test_number_counts_matching_flows_only(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(50, dst_port=[80 if second % 10 == 0 else 81 for second in range(50)]))
    wanted = [flow_pb2.FlowFilter(destination_port=["80"])]
    assert seconds(ask(channel, number=2, whitelist=wanted)) == [30, 40]


def test_number_counts_flows_before_until(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(50))
    assert seconds(ask(channel, number=3, until=at(20))) == [18, 19, 20]


def test_no_number_gives_everything_that_is_stored(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(5_000))
    assert seconds(ask(channel)) == list(range(5_000 - 4_096, 5_000))


def test_more_than_stored_gives_everything(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(5))
    assert seconds(ask(channel, number=2**64 - 1)) == [0, 1, 2, 3, 4]


def test_first_counts_from_the_oldest(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(50))
    assert seconds(ask(channel, number=3, first=True)) == [0, 1, 2]


def test_an_empty_store_ends_the_stream_at_once(channel: grpc.Channel) -> None:
    assert ask(channel, number=20) == []


def test_since_and_until_are_inclusive(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(50))
    assert seconds(ask(channel, since=at(10), until=at(12))) == [10, 11, 12]


def test_since_decides_the_start_and_number_caps(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(50))
    assert seconds(ask(channel, since=at(10), number=2)) == [10, 11]


def test_since_before_the_oldest_record_starts_at_the_oldest(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(3, 100))
    assert seconds(ask(channel, since=at(1))) == [100, 101, 102]


def test_since_in_the_future_gives_nothing(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(3))
    assert ask(channel, since=at(1_000)) == []


def test_the_first_flow_later_than_until_ends_the_stream(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(50))
    assert seconds(ask(channel, until=at(2))) == [0, 1, 2]


def test_any_filter_of_the_whitelist_is_enough_and_none_of_the_blacklist_may_match(
    view: FakeView, channel: grpc.Channel
) -> None:
    view.store.append(rows(10))
    white = [flow_pb2.FlowFilter(source_port=["40001"]), flow_pb2.FlowFilter(source_port=["40002", "40003"])]
    black = [flow_pb2.FlowFilter(source_port=["40002"])]
    assert seconds(ask(channel, whitelist=white, blacklist=black)) == [1, 3]


def test_an_empty_filter_matches_everything(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(3))
    assert len(ask(channel, whitelist=[flow_pb2.FlowFilter()])) == 3
    assert ask(channel, blacklist=[flow_pb2.FlowFilter()]) == []


def test_messages_are_found_by_what_they_say(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(5))
    add_message(view, REQUEST, at=6)
    add_message(view, RESPONSE, at=7, reply=True)
    found = ask(channel, whitelist=[flow_pb2.FlowFilter(http_status_code=["2+"])])
    assert [response.flow.Summary for response in found] == ["HTTP/1.1 200 325ms (GET http://backend/api/users)"]
    assert found[0].flow.source.pod_name == "backend-1"
    assert found[0].flow.is_reply.value


def test_time_and_node_stand_on_every_response(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(1, 5))
    (response,) = ask(channel, number=1)
    assert response.time == response.flow.time == at(5)
    assert response.node_name == "node-1"


def test_a_filter_that_cannot_be_read_fails_with_its_bare_text(view: FakeView, channel: grpc.Channel) -> None:
    wrong = [flow_pb2.FlowFilter(source_ip=["10.0.0.300"])]
    code, text = refusal(channel, whitelist=wrong)
    assert code is grpc.StatusCode.UNKNOWN
    assert text.startswith('invalid IP address "10.0.0.300" in filter')


def test_first_and_follow_contradict_each_other(channel: grpc.Channel) -> None:
    code, text = refusal(channel, first=True, follow=True)
    assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, "first cannot be specified with follow")


def test_a_mask_is_obeyed_but_time_and_node_of_the_response_stay(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(1, 5))
    (response,) = ask(channel, field_mask={"paths": ["source.pod_name", "verdict"]})
    expected = flow_pb2.Flow(verdict=flow_pb2.FORWARDED, source=flow_pb2.Endpoint(pod_name="frontend"))
    assert response.flow == expected
    assert response.time == at(5)
    assert response.node_name == "node-1"


CLI_MASK = [
    *("time", "verdict", "ethernet", "IP", "l4", "source.identity", "source.namespace", "source.pod_name"),
    *("destination.identity", "destination.namespace", "destination.pod_name", "Type", "node_name", "l7"),
    *("event_type", "source_service", "destination_service", "is_reply", "Summary", "ip_trace_id"),
]


def test_the_mask_of_hubbles_cli_is_a_minimum(view: FakeView, channel: grpc.Channel) -> None:
    view.store.append(rows(1))
    (response,) = ask(channel, field_mask={"paths": CLI_MASK})
    assert response.flow.traffic_direction == flow_pb2.INGRESS
    assert response.flow.destination.workloads[0].kind == "Deployment"


def test_a_mask_of_unknown_fields_is_refused(channel: grpc.Channel) -> None:
    assert refusal(channel, field_mask={"paths": ["nonsense"]}) == (grpc.StatusCode.UNKNOWN, "invalid fieldmask")
