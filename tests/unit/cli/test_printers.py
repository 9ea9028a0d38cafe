"""The output formats of `remora observe`, against golden files.

Run with REMORA_GOLDEN=write to write the files anew, and read the difference before keeping it.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from google.protobuf import json_format

from daemon.cli import jsonpb, times
from daemon.cli.flowtext import FlowText
from daemon.cli.printer import PRINTERS, node_status_text
from daemon.proto import flow_pb2, observer_pb2, relay_pb2, remora_pb2
from tests.unit.cli.samples import ITEMS, flow

GOLDEN = Path(__file__).parents[2] / "golden" / "observe"


def printed(
    output: str, text: FlowText | None = None, items: tuple[remora_pb2.FlowItem, ...] = ITEMS, **flags: bool
) -> str:
    out = io.StringIO()
    printer = PRINTERS[output](out, None, text or FlowText(), **flags)
    for item in items:
        printer.write(item)
    printer.close()
    return out.getvalue()


CASES = {
    "compact": lambda: printed("compact"),
    "compact_colour": lambda: printed("compact", FlowText(colour=True)),
    "compact_node_policies": lambda: printed("compact", FlowText(policy_names=True), node=True),
    "compact_numeric_rfc3339": lambda: printed("compact", FlowText(names=False, layout=times.LAYOUTS["RFC3339Nano"])),
    "compact_extra": lambda: printed("compact", items=ITEMS[:1], extra=True),
    "dict": lambda: printed("dict"),
    "dict_node": lambda: printed("dict", items=ITEMS[-3:], node=True),
    "table": lambda: printed("table"),
    "table_node": lambda: printed("table", items=ITEMS[-3:], node=True),
    "json": lambda: printed("json"),
    "json_extra": lambda: printed("json", items=ITEMS[:1], extra=True),
}


@pytest.mark.parametrize("name", CASES)
def test_output_is_that_of_the_golden_file(name: str) -> None:
    text = CASES[name]()
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("REMORA_GOLDEN") == "write":
        path.write_text(text, newline="")
    assert text == path.read_bytes().decode()


def test_a_reply_is_told_with_the_client_on_the_left() -> None:
    line = printed("compact", items=ITEMS[3:4])
    assert line == (
        "Mar  7 09:05:11.328: shop/frontend-5d:43210 (ID:4711) <- shop/backend-7c:8080 (ID:4712) "
        "http-response FORWARDED (HTTP/1.1 200 325ms (GET http://backend/api/users?a=<1>&b=2))\n"
    )


def test_json_holds_what_was_sent_and_nothing_else() -> None:
    for item, line in zip(ITEMS, printed("json").splitlines(), strict=True):
        assert json_format.Parse(line, observer_pb2.GetFlowsResponse()) == item.response


def test_json_follows_the_order_of_declaration() -> None:
    one = flow_pb2.Flow(node_name="n", uuid="u", Summary="s", verdict=flow_pb2.DROPPED, emitter={"name": "e"})
    assert list(json.loads(jsonpb.line(one))) == ["uuid", "emitter", "verdict", "node_name", "Summary"]


def test_json_writes_wide_numbers_as_text_and_wrappers_bare() -> None:
    one = flow_pb2.Flow(cgroup_id=2**63, is_reply={"value": False}, l7={"latency_ns": 5}, proxy_port=7)
    assert jsonpb.line(one) == (
        '{"l7":{"latency_ns":"5"},"is_reply":false,"proxy_port":7,"cgroup_id":"9223372036854775808"}'
    )


def test_json_keeps_empty_messages_that_were_set_and_unknown_enum_numbers() -> None:
    one = flow_pb2.Flow()
    one.l4.TCP.flags.SetInParent()
    one.drop_reason_desc = 9_999  # type: ignore[assignment]
    assert jsonpb.line(one) == '{"l4":{"TCP":{"flags":{}}},"drop_reason_desc":9999}'


def test_table_of_nothing_is_nothing() -> None:
    assert printed("table", items=()) == ""


def test_a_flow_without_time_says_so() -> None:
    item = flow(1, time=None)
    assert printed("compact", items=(item,)).startswith("N/A: shop/frontend-5d")


def test_unavailable_nodes_go_to_stderr_and_connected_ones_only_for_debugging() -> None:
    err = io.StringIO()
    for debug in (False, True):
        printer = PRINTERS["compact"](io.StringIO(), err, FlowText(), debug=debug)
        for state in (relay_pb2.NODE_CONNECTED, relay_pb2.NODE_UNAVAILABLE):
            response = observer_pb2.GetFlowsResponse(node_name="relay")
            response.node_status.CopyFrom(relay_pb2.NodeStatusEvent(state_change=state, node_names=["a", "b"]))
            printer.write(remora_pb2.FlowItem(response=response))
    assert err.getvalue().splitlines() == [
        "N/A [relay]: 2 nodes are unavailable: a, b",
        "N/A [relay]: Receiving flows from 2 nodes: a, b",
        "N/A [relay]: 2 nodes are unavailable: a, b",
    ]


def test_a_long_list_of_nodes_is_cut() -> None:
    names = [f"cluster/node-{number}" for number in range(20)]
    status = relay_pb2.NodeStatusEvent(state_change=relay_pb2.NODE_ERROR, node_names=names, message="boom")
    text = node_status_text(status)
    assert text == 'Error "boom" on 20 nodes: cluster/node-0, cluster/node-1, cluster/node-2 (and 17 more)'
