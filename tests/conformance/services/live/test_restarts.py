"""The agent, or what it reads, goes away and comes back: nobody who uses a Service notices."""

from __future__ import annotations

import time

import pytest

from tests.conformance.services.live.catalogue import case
from tests.support.cluster import Cluster
from tests.support.kube import Port
from tests.support.place import errors, until


@case("agent-restart")
@pytest.mark.parametrize("client", ["ann", "bea", "one", "customer"])
def test_the_agent_is_restarted(live: Cluster, client: str) -> None:
    service = live.svc("web", Port(node_port=-1), type="NodePort")
    ends = [live["alice"], live["bob"]]
    live.apply(service.with_endpoints(*ends))
    target = service.on(live["one"]) if client == "customer" else service.inside()
    load = live[client].load(target, 0.002)
    agent = live.agents[live[client].node or "one"]
    agent.kill()
    time.sleep(0.5)
    agent.start()
    live.apply(service.with_endpoints(live["alice"], live["carol"]))
    replies = load.stop()
    assert len(replies) > 100
    assert errors(replies) == []
    assert live[client].names(target) == {"alice", "carol"}


@case("source-restart")
def test_the_source_goes_away_and_comes_back(live: Cluster, family: str) -> None:
    service, later = live.svc("web"), live.svc("later")
    live.apply(service.with_endpoints(live["alice"], live["bob"]))
    agent = live.agents["one"]
    aside = agent.manifests.with_name("aside")
    agent.manifests.rename(aside)
    until(lambda: agent.status()["warnings"])
    try:
        assert live["ann"].names(service.inside(family)) == {"alice", "bob"}
    finally:
        aside.rename(agent.manifests)
    live.apply(service.with_endpoints(live["alice"]), later.with_endpoints(live["bob"]))
    assert live["ann"].names(service.inside(family)) == {"alice"}
    assert live["ann"].names(later.inside(family)) == {"bob"}
