"""Endpoints that come, go and fail, under both internal policies and from the node port.

An endpoint is a number and marks: L on this node, u not ready, t terminating and still serving, x terminating and no
longer serving, r terminating and published as ready. The external policy is Local in all rows: a socket is inside the
cluster, so it does not narrow the node port. What comes from outside is the per-packet path's.
"""

from __future__ import annotations

import pytest

from tests.conformance.services.host import DROPPED, REFUSED, Host
from tests.unit.services.build import Object, service, slice_

# endpoints | ClusterIP with internal policy Cluster | ClusterIP with internal policy Local | node port
TABLE = """
1L 2    | 1 2     | 1       | 1 2
1 2     | 1 2     | dropped | 1 2
1L 2t   | 1       | 1       | 1
1Lt 2   | 2       | 1       | 2
1Lt 2t  | 1 2     | 1       | 1 2
1t 2t   | 1 2     | dropped | 1 2
1Lt 2x  | 1       | 1       | 1
1Lx 2t  | 2       | dropped | 2
1Lx 2   | 2       | dropped | 2
1Lu 2   | 2       | dropped | 2
1Lu 2t  | 2       | dropped | 2
1Lu 3Lt | 3       | 3       | 3
1Lr 2   | 1 2     | 1       | 1 2
1Lr 2t  | 1       | 1       | 1
1Lx 2x  | refused | refused | refused
1Lu 2u  | refused | refused | refused
1Lu 2x  | refused | refused | refused
-       | refused | refused | refused
"""
ROWS = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]


def objects(endpoints: str, internal: str = "Cluster") -> list[Object]:
    made = service(
        "api",
        "10.96.0.1",
        {"port": 80, "nodePort": 30080},
        type="NodePort",
        externalTrafficPolicy="Local",
        internalTrafficPolicy=internal,
    )
    listed = [endpoint(each) for each in endpoints.replace("-", "").split()]
    return [made, slice_("api", "", addressType="IPv4", endpoints=listed)]


def endpoint(text: str) -> dict[str, object]:
    number, marks = text[0], text[1:]
    gone = any(mark in marks for mark in "txr")
    conditions = {
        "ready": "r" in marks or not (gone or "u" in marks),
        "serving": "x" not in marks and "u" not in marks,
        "terminating": gone,
    }
    node = "here" if "L" in marks else "there"
    return {"addresses": [f"10.0.0.{number}"], "nodeName": node, "conditions": conditions}


def answer(host: Host, address: str, port: int) -> str:
    return host.ask(address, port).replace("10.0.0.", "").replace(":8080", "")


@pytest.mark.parametrize(("endpoints", "cluster", "local", "outside"), ROWS, ids=[row[0] for row in ROWS])
def test_who_is_used(endpoints: str, cluster: str, local: str, outside: str) -> None:
    host = Host()
    host.apply(*objects(endpoints))
    assert answer(host, "10.96.0.1", 80) == cluster
    assert answer(host, "192.0.2.10", 30080) == outside
    host.apply(*objects(endpoints, "Local"))
    assert answer(host, "10.96.0.1", 80) == local
    assert answer(host, "192.0.2.10", 30080) == outside


def test_a_rollout_never_leaves_a_service_without_a_backend() -> None:
    host = Host()
    steps = ["1L", "1L 2Lu", "1L 2L", "1Lt 2L", "2L", "2Lt", "2Lt 3u", "2Lt 3", "3"]
    answers = []
    for step in steps:
        host.apply(*objects(step))
        answers.append(answer(host, "10.96.0.1", 80))
    assert answers == ["1", "1", "1 2", "2", "2", "2", "2", "3", "3"]
    assert host.reader.broken == []


def test_a_service_goes_from_serving_to_dropping_to_refusing_and_back() -> None:
    host = Host()
    for endpoints, expected in (("1L", "1"), ("2", DROPPED), ("2u", REFUSED), ("2", DROPPED), ("1L 2", "1")):
        host.apply(*objects(endpoints, "Local"))
        assert answer(host, "10.96.0.1", 80) == expected
