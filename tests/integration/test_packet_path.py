"""Workloads that are left to the per-packet path reach Services all the same: at their device, not at their sockets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration import shop as manifests
from tests.support.agent import AgentProcess, agent_on
from tests.support.netns import TestNode, node
from tests.support.whoami import __file__ as WHOAMI

VIP, PORT = "10.96.0.20", 8080
CODE = f"""
import socket
tcp = socket.create_connection(({VIP!r}, 80), timeout=5)
print(tcp.recv(100).decode().split()[0], tcp.getpeername())
udp = socket.socket(type=socket.SOCK_DGRAM)
udp.settimeout(5)
udp.sendto(b"?", ({VIP!r}, 80))
answer, peer = udp.recvfrom(100)
print(answer.decode().split()[0], peer)
"""


@pytest.fixture(scope="module")
def town(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestNode, AgentProcess]]:
    folder = tmp_path_factory.mktemp("agent")
    with node() as made, agent_on(made, folder, packet_path_labels=["mesh=yes"]) as agent:
        for workload in ("client", "backend"):
            made.add(workload)
        server = made.popen([sys.executable, WHOAMI, "backend", str(PORT)], "backend", stdout=subprocess.PIPE)
        assert server.stdout
        assert server.stdout.readline()
        write(made, agent, {})
        agent.start()
        agent.until(lambda: len([e for e in agent.json("endpoint", "list")["endpoints"] if e.get("ifindex")]) >= 2)
        yield made, agent


def write(made: TestNode, agent: AgentProcess, labels: dict[str, str], **annotations: str) -> None:
    """The shop with these labels and annotations on its client."""
    client, backend = (str(made.spaces[name].addresses[0].ip) for name in ("client", "backend"))
    pod = manifests.pod("client", [client], **labels)
    pod["metadata"]["annotations"] = {f"remora.io/{key}": value for key, value in annotations.items()}
    objects = [pod, manifests.pod("backend", [backend])]
    for protocol in ("TCP", "UDP"):
        service = manifests.service("backend", [VIP], 80, PORT, protocol=protocol)
        slice_ = manifests.endpoint_slice("backend", [backend], PORT, protocol=protocol)
        for one in (service, slice_):
            one["metadata"]["name"] += f"-{protocol.lower()}"
        slice_["metadata"]["labels"]["kubernetes.io/service-name"] = service["metadata"]["name"]
        objects += [service, slice_]
    (agent.manifests / "shop.new").write_text(manifests.dump(*objects))
    (agent.manifests / "shop.new").rename(agent.manifests / "shop.yaml")


def counted(agent: AgentProcess) -> tuple[int, int]:
    """Calls translated at sockets, packets translated at devices."""
    found = {one["name"]: int(one.get("value", 0)) for one in agent.status()["counters"]}
    return found["service_connected"] + found["service_datagram"], found["translated"]


def per_packet(agent: AgentProcess) -> bool:
    notes = agent.json("service", "explain", f"{VIP}:80", "--from", "shop/client").get("notes", [])
    return any("per packet" in note for note in notes)


@pytest.mark.parametrize(
    ("labels", "annotations", "expected"),
    [
        ({"mesh": "yes"}, {}, True),
        ({}, {}, False),
        ({}, {"service-path": "packet"}, True),
        ({"mesh": "yes"}, {"service-path": "socket"}, False),
    ],
    ids=["by label", "not asked for", "by annotation", "annotation undoes the label"],
)
def test_a_chosen_workload_is_translated_at_its_device_and_sees_the_frontend(
    town: tuple[TestNode, AgentProcess], labels: dict[str, str], annotations: dict[str, str], expected: bool
) -> None:
    made, agent = town
    write(made, agent, labels, **annotations)
    agent.until(lambda: per_packet(agent) is expected)
    sockets, packets = counted(agent)
    seen = f"backend ('{VIP}', 80)"
    assert made.output([sys.executable, "-c", CODE], "client").splitlines() == [seen, seen]
    now_sockets, now_packets = counted(agent)
    assert (now_sockets - sockets, now_packets > packets) == ((0, True) if expected else (2, False))
