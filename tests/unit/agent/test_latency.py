"""Network programming latency: what is measured, from when, and what is not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from daemon.agent.latency import ProgrammingLatency
from daemon.agent.proxy import Proxy
from daemon.model.objects import EndpointSlice
from daemon.model.snapshot import Snapshot
from tests.unit.services.build import HERE, compiled, slice_


def at(text: str) -> EndpointSlice:
    """A slice with the annotation of the controller."""
    annotations = {"endpoints.kubernetes.io/last-change-trigger-time": text, "other": "1"}
    return slice_("web", "10.0.0.1", metadata={"name": "web-a", "namespace": "shop", "annotations": annotations})


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def told(latency: ProgrammingLatency) -> tuple[float, float]:
    """How many, and the sum of their seconds."""
    found = {sample.name: sample.value for family in latency.collect() for sample in family.samples}
    name = "kubeproxy_network_programming_duration_seconds"
    return found[f"{name}_count"], found[f"{name}_sum"]


@pytest.fixture
def latency(monkeypatch: pytest.MonkeyPatch) -> ProgrammingLatency:
    """Of an agent that has run for an hour."""
    made = ProgrammingLatency()
    monkeypatch.setattr(made, "_since", made._since - 3600)
    return made


def test_the_time_from_the_change_to_the_kernel_is_measured_when_it_has_arrived(latency: ProgrammingLatency) -> None:
    latency.came([], [at(ago(7))])
    assert told(latency)[0] == 0
    latency.arrived(latency.taken())
    count, seconds = told(latency)
    assert count == 1
    assert 7 <= seconds < 8
    latency.arrived(latency.taken())
    assert told(latency)[0] == 1


def test_what_comes_during_an_attempt_waits_for_the_next(latency: ProgrammingLatency) -> None:
    latency.came([], [at(ago(1))])
    taken = latency.taken()
    latency.came([], [at(ago(2))])
    latency.arrived(taken)
    assert told(latency)[0] == 1
    latency.arrived(latency.taken())
    assert told(latency)[0] == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("", "yesterday"),
        ("", ago(7200)),
        ("2999-01-01T00:00:00Z", "2999-01-01T00:00:00Z"),
    ],
    ids=["no time", "no time that can be read", "before the agent ran", "the same time as before"],
)
def test_this_is_not_measured(latency: ProgrammingLatency, old: str, new: str) -> None:
    latency.came([at(old)], [at(new)])
    assert latency.taken() == ()


def test_nanoseconds_and_zones_are_understood(latency: ProgrammingLatency) -> None:
    latency.came([], [at("2999-01-01T02:00:00.123456789+02:00"), at("2999-01-01T00:00:00Z")])
    assert [int(moment) for moment in latency.taken()] == [32472144000, 32472144000]


def test_full_and_partial_syncs_are_told_apart_and_together() -> None:
    async def live(proxy: Proxy) -> None:
        proxy.queued(Snapshot())
        for whole in (True, False, False):
            await proxy.synced(proxy.begin(), compiled(), whole=whole)

    proxy = Proxy(HERE)
    asyncio.run(live(proxy))
    found = {sample.name: sample.value for family in proxy.collect() for sample in family.samples}
    counts = [found[f"kubeproxy_sync_{kind}proxy_rules_duration_seconds_count"] for kind in ("", "full_", "partial_")]
    assert counts == [3, 1, 2]
