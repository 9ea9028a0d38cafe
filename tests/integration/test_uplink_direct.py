"""Two nodes with agents and a client outside: backends answer it themselves, and Maglev is the same on both nodes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from daemon.demo.processes import stop
from daemon.demo.topology import BRIDGE
from ebpf.constants import Counter
from tests.integration import shop as manifests
from tests.integration.city import ECHO, FAMILIES, HERE, PROTOCOLS, THERE, City, both, objects, run, serve, vip
from tests.integration.test_uplink import HOLD, SEND, narrow
from tests.support.agent import AgentProcess, agent_on
from tests.support.netns import node
from tests.support.outside import CLIENT, NEIGHBOUR, NODE, attach, outside

KIND = pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer", "ExternalIP", "ClusterIP"])
FAMILY = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
PROTOCOL = pytest.mark.parametrize("protocol", PROTOCOLS)


class Town(City):
    """A city whose neighbour has an agent as well."""

    other: AgentProcess

    def told(self) -> int:
        """Connections that the neighbour took over."""
        name = Counter.OUTSIDE_DIRECT.name.lower()
        return next(int(one.get("value", 0)) for one in self.other.status()["counters"] if one["name"] == name)


@pytest.fixture(scope="module", name="town")
def town_fixture(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with founded(tmp_path_factory) as town:
        yield town


@contextmanager
def founded(folders: pytest.TempPathFactory, *, wired: bool = False, **settings: Any) -> Iterator[Town]:
    """A town whose agents run with these settings; `wired`: its links are as XDP needs them."""
    with ExitStack() as stack:
        world = stack.enter_context(outside(wired=wired))
        made, neighbour = stack.enter_context(node(HERE)), stack.enter_context(node(THERE))
        agents = [
            stack.enter_context(
                agent_on(one, folders.mktemp(name), uplinks=["upl*"], node_name=name, outside_mode="dsr", **settings)
            )
            for one, name in ((made, "node-1"), (neighbour, "node-2"))
        ]
        attach(made, world)
        attach(neighbour, world, NEIGHBOUR)
        world.route(made.name, *zip(map(str, THERE), NEIGHBOUR, strict=True))
        world.route(neighbour.name, *zip(map(str, HERE), NODE, strict=True))
        for prefixes, gateway in (
            (("10.96.0.0/16", "203.0.113.0/24", "192.0.2.0/24"), NODE[0]),
            (("fd00:10:96::/64", "2001:db8:113::/64", "2001:db8:2::/64"), NODE[1]),
        ):
            world.route("client", *((prefix, gateway) for prefix in prefixes))
        for one, names in ((made, ["here"]), (neighbour, ["there", "echo", "third"])):
            for name in names:
                one.add(name)
                if name == "echo":
                    run(one, name, ECHO)
                else:
                    serve(one, name)
        town = Town(world, made, neighbour, agents[0])
        town.other = agents[1]
        text = documents(town)
        for agent in agents:
            (agent.manifests / "town.yaml").write_text(text)
            agent.start()
        yield town


def documents(town: City) -> str:
    spaces = {**town.node.spaces, **town.neighbour.spaces}
    where = {name: "node-1" if name in town.node.spaces else "node-2" for name in spaces}
    pods = []
    for name, space in spaces.items():
        pod: dict[str, Any] = manifests.pod(name, list(both(space)))
        pod["spec"] |= {"nodeName": where[name]}
        pod["status"] |= {"phase": "Running"}
        pods.append(pod)
    ends = {name: (both(space), where[name]) for name, space in spaces.items()}
    spread = objects("moving", [ends[name] for name in ("here", "there", "third")])
    spread[0]["metadata"]["annotations"] = {"remora.io/algorithm": "maglev"}
    return manifests.dump(
        *pods, *objects("cluster", [ends["here"], ends["there"]]), *objects("echo", [ends["echo"]]), *spread
    )


@PROTOCOL
@FAMILY
@KIND
def test_every_backend_sees_the_client_and_answers_as_the_frontend(
    town: Town, kind: str, family: int, protocol: str
) -> None:
    before = town.told()
    answers = town.ask(*vip(kind, "cluster", family), protocol)
    assert {tuple(answer) for answer in answers} == {("here", CLIENT[family]), ("there", CLIENT[family])}
    assert town.told() > before


@FAMILY
def test_fragments_that_leave_no_room_for_the_frontend_are_told_so_once_and_then_arrive(
    town: Town, family: int
) -> None:
    town.ask(*vip("NodePort", "cluster", family), "UDP", size=1200)
    answers = town.ask(*vip("NodePort", "cluster", family), "UDP", size=1200)
    assert {name for name, _ in answers} == {"here", "there"}


@FAMILY
def test_a_sender_learns_that_the_way_to_the_backend_is_smaller(town: Town, family: int) -> None:
    town.neighbour.run(narrow, BRIDGE, 1400)
    try:
        address, port = vip("ExternalIP", "echo", family)
        told = town.world.python(f"import sys\nsys.argv = ['', {address!r}, {port}]\n{SEND}")
        assert int(told) == 200_000
    finally:
        town.neighbour.run(narrow, BRIDGE, 1500)


FROM_PORTS = """
import json, socket, sys
found = []
for port in range(21000, 21040):
    with socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(3)
        s.bind(("", port))
        s.connect((sys.argv[1], int(sys.argv[2])))
        s.send(b"who")
        found.append(s.recv(100).decode().split()[0])
print(json.dumps(found))
"""


@FAMILY
def test_maglev_sends_a_client_to_the_same_backend_from_every_node(town: Town, family: int) -> None:
    assert "maglev" in town.agent.remora("service", "get", "moving", "--namespace", "shop")
    assert "random" in town.agent.remora("service", "get", "cluster", "--namespace", "shop")
    _, port = vip("NodePort", "moving", family)
    found = [
        json.loads(town.world.python(f"import sys\nsys.argv = ['', {address!r}, {port}]\n{FROM_PORTS}"))
        for address in (NODE[family], NEIGHBOUR[family])
    ]
    assert found[0] == found[1]
    assert set(found[0]) == {"here", "there", "third"}


def test_open_connections_outlive_the_death_and_return_of_both_agents(town: Town) -> None:
    processes = [
        town.world.popen([sys.executable, "-c", HOLD, *map(str, vip(kind, "echo", family))])
        for kind in ("NodePort", "ExternalIP")
        for family in (0, 1)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == b"10\n"
    town.agent.kill()
    town.other.kill()
    assert {name for name, _ in town.ask(*vip("NodePort", "cluster", 0))} == {"here", "there"}, "without any agent"
    town.agent.start()
    town.other.start()
    for process in processes:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(20)] == [b"10\n"] * 20
        assert process.poll() is None
        stop(process)
