"""The agent's own Node object, followed while it changes: its zone chooses backends, a taint turns balancers away."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration import shop as manifests
from tests.support.agent import AgentProcess, agent_on
from tests.support.apiserver_process import Remote
from tests.support.netns import TestNode, node
from tests.support.pinned import contents

VIP = "10.96.0.50"
HEALTHZ = "127.0.0.1:10256"
BACKENDS = {"zone-a": "10.9.0.1", "zone-b": "10.9.0.2"}


@dataclass
class Zoned:
    node: TestNode
    api: Remote
    agent: AgentProcess

    def backends(self) -> set[str]:
        """The addresses that the kernel balances the Service to."""
        return {
            address
            for place, (_, _, behind) in contents(self.agent.pins).services.items()
            if place[:2] == (VIP, 80)
            for address, _ in behind
        }

    def code(self, path: str) -> int:
        """How the health port answers."""
        program = f"""
import http.client
c = http.client.HTTPConnection({HEALTHZ!r}, timeout=5)
c.request("GET", {path!r})
print(c.getresponse().status)
"""
        return int(self.node.output([sys.executable, "-c", program]))


def own_node(zone: str, *taints: str) -> dict[str, Any]:
    meta = {"name": "node-1", "labels": {"topology.kubernetes.io/zone": zone}}
    spec = {"taints": [{"key": key, "effect": "NoSchedule"} for key in taints]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": spec}


@pytest.fixture
def zoned(root: None, tmp_path: Path) -> Iterator[Zoned]:
    with node() as made:
        api = Remote.start(made.popen, tmp_path)
        path = str(api.kubeconfig(tmp_path))
        with agent_on(made, tmp_path, source="kubernetes", kubeconfig=path, healthz_address=HEALTHZ) as agent:
            made.add("client")
            slice_ = manifests.endpoint_slice("web", list(BACKENDS.values()), 8080)
            for endpoint, zone in zip(slice_["endpoints"], BACKENDS, strict=True):
                endpoint.update(zone=zone, hints={"forZones": [{"name": zone}]})
            api.tell(put=[own_node("zone-a"), manifests.service("web", [VIP], 80, 8080), slice_])
            agent.start()
            yield Zoned(made, api, agent)


def test_another_zone_of_the_node_chooses_other_backends(zoned: Zoned) -> None:
    assert zoned.backends() == {BACKENDS["zone-a"]}
    zoned.api.tell(put=[own_node("zone-b")])
    zoned.agent.until(lambda: zoned.backends() == {BACKENDS["zone-b"]})


def test_the_autoscalers_taint_turns_balancers_away_while_the_agent_lives(zoned: Zoned) -> None:
    assert (zoned.code("/healthz"), zoned.code("/livez")) == (200, 200)
    zoned.api.tell(put=[own_node("zone-a", "ToBeDeletedByClusterAutoscaler")])
    zoned.agent.until(lambda: zoned.code("/healthz") == 503)
    assert zoned.code("/livez") == 200
    zoned.api.tell(put=[own_node("zone-a")])
    zoned.agent.until(lambda: zoned.code("/healthz") == 200)
