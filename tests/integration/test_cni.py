"""Pods made by the reference CNI plugins: found by address, named, seen, served; the node keeps its own settings.

`bridge` hangs a veth on a bridge, `ptp` routes to one, and both have an end on the node. A `macvlan` device has none:
it is a second face of the node's uplink. So its pods are names and addresses, their sockets are served, and what they
send is not seen.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import netns

from daemon.demo.topology import BRIDGE
from tests.integration import shop as manifests
from tests.support.agent import AgentProcess, agent_on
from tests.support.netns import Space, TestNode, node
from tests.support.whoami import __file__ as WHOAMI

PLUGINS = Path("/usr/lib/cni")
VIP, PORT, PAIR = "10.96.0.40", 8080, ("client", "server")
KINDS: dict[str, dict[str, Any]] = {
    "bridge": {"bridge": "cni0", "isGateway": True},
    "ptp": {},
    "macvlan": {"master": BRIDGE, "mode": "bridge"},
}

pytestmark = pytest.mark.skipif(
    not (PLUGINS / "bridge").exists(), reason="needs the package containernetworking-plugins"
)


@dataclass
class Pods:
    """A client and a server of one plugin, behind a Service, and the agent beside them."""

    node: TestNode
    agent: AgentProcess
    undo: ExitStack

    def asked(self) -> str:
        """Who answers the client at the Service."""
        code = f"import socket; print(socket.create_connection(({VIP!r}, 80), timeout=5).recv(99).decode().split()[0])"
        return self.node.output([sys.executable, "-c", code], "client").strip()

    def endpoints(self) -> dict[str, Any]:
        """What the agent lists, by name."""
        return {one["name"]: one for one in self.agent.json("endpoint", "list").get("endpoints", [])}

    def part(self, name: str) -> Any:
        """One of the parts in `remora status`."""
        return next(one for one in self.agent.status()["subsystems"] if one["name"] == name)

    def address(self, name: str) -> str:
        return str(self.node.spaces[name].addresses[0].ip)


def pod(made: TestNode, kind: str, name: str, folder: Path) -> Callable[[], object]:
    """Have a plugin make a pod's network; what is returned has it take the network away."""
    space = f"{made.name}-{name}"
    netns.create(space)
    config = {
        "cniVersion": "1.0.0",
        "name": "test",
        "type": kind,
        **KINDS[kind],
        "ipam": {"type": "host-local", "dataDir": str(folder), "ranges": [[{"subnet": "10.244.77.0/24"}]]},
    }
    environment = {
        "CNI_CONTAINERID": space,
        "CNI_NETNS": f"/run/netns/{space}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(PLUGINS),
    }

    def plugin(command: str) -> bytes:
        process = made.popen(
            [str(PLUGINS / kind)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            environment={**environment, "CNI_COMMAND": command},
        )
        out, complaint = process.communicate(json.dumps(config).encode(), timeout=20)
        assert process.returncode == 0, (out, complaint)
        return out

    told = json.loads(plugin("ADD"))
    made.spaces[name] = Space(space, tuple(ip_interface(one["address"]) for one in told["ips"]), "")
    return lambda: plugin("DEL")


@pytest.fixture(params=[*KINDS])
def pods(request: pytest.FixtureRequest, root: None, tmp_path: Path) -> Iterator[Pods]:
    with node() as made, agent_on(made, tmp_path) as agent, ExitStack() as stack:
        for name in PAIR:
            stack.callback(pod(made, request.param, name, tmp_path / "ipam"))
        built = Pods(made, agent, stack)
        documents = [manifests.pod(name, [built.address(name)]) for name in PAIR]
        documents += [manifests.service("server", [VIP], 80, PORT)]
        documents += [manifests.endpoint_slice("server", [built.address("server")], PORT)]
        (agent.manifests / "pods.yaml").write_text(manifests.dump(*documents))
        server = made.popen([sys.executable, WHOAMI, "server", str(PORT)], "server", stdout=subprocess.PIPE)
        assert server.stdout
        assert server.stdout.readline()
        agent.start()
        yield built


@pytest.mark.parametrize("pods", ["bridge", "ptp"], indirect=True)
def test_a_pod_with_a_veth_is_found_named_seen_and_served(pods: Pods) -> None:
    pods.agent.until(lambda: all(pods.endpoints().get(name, {}).get("ifindex") for name in PAIR))
    assert pods.asked() == "server"

    def seen() -> list[dict[str, Any]]:
        return [
            flow
            for flow in pods.agent.flows("--last", "100", "--to-pod", "shop/server")
            if flow["source"].get("pod_name") == "client"
        ]

    (flow, *_) = pods.agent.until(seen)
    assert flow["destination"]["namespace"] == "shop"
    assert flow["IP"]["destination"] == pods.address("server")
    server = pods.endpoints()["server"]["inside"]
    assert server["netns"] == Path(pods.node.spaces["server"].path).name
    (process,) = server["occupants"]
    assert process["comm"].startswith("python")
    assert process["cgroup"] == Path(f"/proc/{process['pid']}/cgroup").read_text().split("0::")[1].strip()


@pytest.mark.parametrize("pods", ["macvlan"], indirect=True)
def test_a_pod_with_a_macvlan_is_served_and_named_but_has_no_device_to_be_seen_at(pods: Pods) -> None:
    assert pods.asked() == "server"
    known = pods.endpoints()
    assert not any(known[name].get("ifindex") for name in PAIR)
    assert all(known[name]["unreached"] for name in PAIR)
    assert "none here" in pods.agent.remora("endpoint", "list")
    assert "no device leads to shop/client, shop/server: neither seen nor guarded" in pods.part("endpoints")["words"]


@pytest.mark.parametrize("pods", ["macvlan"], indirect=True)
def test_a_policy_for_a_pod_with_a_macvlan_is_told_not_to_be_enforced(pods: Pods) -> None:
    assert "warnings" not in pods.part("endpoints")
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "nobody", "namespace": "shop"},
        "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]},
    }
    (pods.agent.manifests / "policy.yaml").write_text(manifests.dump(policy))
    (warning,) = pods.agent.until(lambda: pods.part("endpoints").get("warnings"))
    assert warning.startswith("policies restrict shop/server, and no device of this node leads there")
    assert pods.asked() == "server"


@pytest.mark.parametrize("pods", ["ptp"], indirect=True)
def test_a_pod_that_is_made_anew_with_the_same_address_keeps_its_name_at_another_device(
    pods: Pods, tmp_path: Path
) -> None:
    pods.agent.until(lambda: pods.endpoints().get("client", {}).get("ifindex"))
    before, address = pods.endpoints()["client"]["ifindex"], pods.address("client")
    netns.remove(pods.node.spaces.pop("client").namespace)
    (tmp_path / "ipam" / "test" / address).unlink()
    (tmp_path / "ipam" / "test" / "last_reserved_ip.0").unlink()
    pods.undo.callback(pod(pods.node, "ptp", "client", tmp_path / "ipam"))
    assert pods.address("client") == address
    pods.agent.until(lambda: pods.endpoints().get("client", {}).get("ifindex", before) != before)
    assert pods.asked() == "server"
