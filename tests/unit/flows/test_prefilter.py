"""Column masks: they may let too much pass, never too little."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format

from daemon.flows.filters import FilterError, compile_filter, prefilter, prefilter_any
from daemon.flows.l7 import DnsMessage, HttpMessage
from daemon.flows.record import RowArray
from daemon.proto import flow_pb2
from ebpf import addresses
from tests.unit.flows.samples import BACKEND, FRONTEND, RESOLVER, WORLD, Bench, renamed, rows

ADDRESSES = (FRONTEND, BACKEND, RESOLVER, WORLD, "fd00::1", "10.96.0.9")
SHARP: list[dict[str, Any]] = [
    {"source_ip": ["10.0.0.1"]},
    {"destination_ip": ["10.0.0.0/30"]},
    {"source_ip": ["fd00::/16"]},
    {"source_port": ["80"]},
    {"destination_port": ["53", "80"]},
    {"verdict": ["DROPPED"]},
    {"reply": [True]},
    {"traffic_direction": ["INGRESS"]},
    {"protocol": ["udp"]},
    {"protocol": ["icmp"]},
    {"protocol": ["http"]},
    {"event_type": [{"type": 1}]},
    {"event_type": [{"type": 129}]},
    {"event_type": [{"type": 4, "match_sub_type": True}, {"type": 129}]},
    {"event_type": [{"type": 77}]},
    {"drop_reason_desc": ["POLICY_DENIED"]},
    {"ip_version": ["IPv6"]},
    {"http_method": ["GET"]},
    {"dns_query": ["api"]},
    {"source_pod": ["shop/front"]},
    {"destination_pod": ["kube-system/"]},
    {"source_label": ["app in (frontend, backend)"]},
    {"destination_label": ["!app"]},
    {"source_identity": [257]},
    {"destination_workload": [{"name": "backend"}]},
    {"tcp_flags": [{"SYN": True, "ACK": True}, {"RST": True}]},
    {"tcp_flags": [{"NS": True}]},
    {"interface": [{"name": "veth0"}, {"index": 9}]},
    {"destination_service": ["shop/backend"], "destination_port": ["53"]},
    {"destination_fqdn": ["*.example"]},
    {"source_pod": ["/"], "protocol": ["tcp"], "destination_port": ["80"], "reply": [False]},
]
BLUNT: list[dict[str, Any]] = [
    {},
    {"uuid": ["x"]},
    {"source_fqdn": ["*"]},
    {"tcp_flags": [{}]},
    {"source_service": ["shop/backend"]},
    {"event_type": [{}]},
]


def _wanted(fields: dict[str, Any]) -> flow_pb2.FlowFilter:
    return json_format.ParseDict(fields, flow_pb2.FlowFilter())


def _random_rows(bench: Bench, count: int) -> RowArray:
    """Records of all kinds; FRONTEND knows WORLD as api.example."""
    bench.names.learn(addresses.pack(FRONTEND), DnsMessage(1, "api.example.", ("A",), (WORLD,), response=True))
    generator = np.random.default_rng(9)
    batch = rows(*[{}] * count)
    packed = np.array([np.frombuffer(addresses.pack(text), np.uint32) for text in ADDRESSES])
    for field in ("src", "dst"):
        batch[field] = packed[generator.integers(0, len(ADDRESSES), count)]
        batch[f"{field}_workload"] = generator.choice([0, 1, 2, 16, 17, 18, 99], count)
        batch[f"{field}_port"] = generator.choice([53, 80, 40_000], count)
    batch["family"] = generator.choice([4, 6], count)
    for field, values in (
        ("proto", [1, 2, 6, 17, 47, 58, 112, 132]),
        ("kind", [1, 2, 3, 4, 5]),
        ("verdict", [0, 1, 2]),
        ("reason", [0, 133]),
        ("reply", [0, 1]),
        ("direction", [0, 1, 2]),
        ("tcp_flags", [0, 2, 4, 16, 18]),
        ("service", [0, 5, 77]),
        ("ifindex", [0, 7, 9]),
    ):
        batch[field] = generator.choice(values, count)
    messages = bench.store.messages
    refs = [0, messages.put(HttpMessage("GET", "http://b/", "HTTP/1.1")), messages.put(DnsMessage(1, "api.", ("A",)))]
    batch["l7"] = np.where(batch["kind"] == 5, generator.choice(refs, count), 0)
    return batch


@pytest.mark.parametrize("fields", SHARP + BLUNT, ids=str)
def test_a_mask_never_holds_back_a_flow_that_its_filter_takes(fields: dict[str, Any]) -> None:
    bench = Bench()
    batch = _random_rows(bench, 1_000)
    mask = prefilter(_wanted(fields), bench.directory, bench.names)(batch)
    matches = compile_filter(_wanted(fields))
    told = [bench.builder.build(record, 0, bench.store.message(int(record["l7"]))) for record in batch]
    taken = np.array([matches(flow) for flow in told])
    assert mask.shape == taken.shape
    assert not (taken & ~mask).any()


@pytest.mark.parametrize("fields", SHARP, ids=str)
def test_a_mask_spares_the_builder_work(fields: dict[str, Any]) -> None:
    bench = Bench()
    assert prefilter(_wanted(fields), bench.directory, bench.names)(_random_rows(bench, 1_000)).mean() < 0.75


def test_names_are_looked_up_for_every_batch() -> None:
    bench = Bench()
    mask = prefilter(_wanted({"source_pod": ["shop/late"]}), bench.directory)
    assert mask(rows({})).tolist() == [False]
    bench.directory.update_workloads([renamed(bench.directory.workloads()[0], "late")])
    assert mask(rows({})).tolist() == [True]


def test_an_empty_batch_gives_an_empty_mask() -> None:
    bench = Bench()
    for fields in SHARP + BLUNT:
        assert prefilter(_wanted(fields), bench.directory)(rows()).tolist() == []


def test_a_list_passes_what_any_of_its_filters_passes_and_an_empty_one_everything() -> None:
    bench = Bench()
    batch = rows({"dst_port": 53}, {"dst_port": 80}, {"dst_port": 81})
    filters = [_wanted({"destination_port": [port]}) for port in ("53", "81")]
    assert prefilter_any(filters, bench.directory)(batch).tolist() == [True, False, True]
    assert prefilter_any([], bench.directory)(batch).tolist() == [True] * 3


def test_a_filter_that_cannot_be_understood_is_refused_here_too() -> None:
    with pytest.raises(FilterError, match="invalid IP address"):
        prefilter(_wanted({"source_ip": ["x"]}), Bench().directory)
