"""Services from outside: real clients beyond a node's uplink, backends on the node and on another machine."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from daemon.demo.processes import stop
from daemon.demo.topology import BRIDGE
from ebpf.attach import detach_tc
from ebpf.constants import Counter
from tests.integration import shop as manifests
from tests.support.agent import AgentProcess, agent_on
from tests.support.netns import TestNode, node
from tests.support.outside import CLIENT, NEIGHBOUR, NODE, UPLINK, Outside, attach, outside

WHOAMI = Path(__file__).parents[1] / "support" / "whoami.py"
PORT = 8080
STRANGER = ("198.18.0.50", "2001:db8:18::50")
HERE = (IPv4Network("10.244.1.0/24"), IPv6Network("fd00:10:244:1::/64"))
THERE = (IPv4Network("10.244.2.0/24"), IPv6Network("fd00:10:244:2::/64"))
FAMILIES = {"IPv4": 0, "IPv6": 1}
PROTOCOLS = ("TCP", "UDP")
NUMBERS = {
    "cluster": 1,
    "local": 2,
    "empty": 3,
    "away": 4,
    "ranged": 5,
    "sticky": 6,
    "host": 7,
    "echo": 8,
    "moving": 9,
    "counted": 10,
    "counted-local": 11,
}
"""Services by their number, from which their addresses and node ports follow"""

ASK = """
import json, socket, sys
address, port, kind, times = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
size = int(sys.argv[5])
answers = []
for _ in range(times):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                       socket.SOCK_STREAM if kind == "TCP" else socket.SOCK_DGRAM) as s:
        s.settimeout(3)
        try:
            s.connect((address, port))
            if kind == "UDP":
                s.send(b"who" * size)
            answers.append(s.recv(100).decode().split())
        except OSError as error:
            answers.append(["error", error.__class__.__name__])
print(json.dumps(answers))
"""

ECHO = """
import socket, threading
def serve(s):
    while data := s.recv(1 << 16):
        s.sendall(b"%d " % len(data))
listener = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


@dataclass
class City:
    """A node with an agent and two workloads, a neighbour with one, and a client outside."""

    world: Outside
    node: TestNode
    neighbour: TestNode
    agent: AgentProcess

    def ask(
        self, address: str, port: int, protocol: str = "TCP", times: int = 12, machine: str = "client", size: int = 1
    ) -> Any:
        """Pairs of who answered and whom it saw, one a connection."""
        code = f"import sys\nsys.argv = ['', {address!r}, {port}, {protocol!r}, {times}, {size}]\n{ASK}"
        return json.loads(self.world.python(code, machine))

    def ask_inside(self, address: str, port: int, workload: str = "") -> Any:
        """What a workload gets, or a process of the node, which is in the agent's cgroup as well."""
        code = f"import sys\nsys.argv = ['', {address!r}, {port}, 'TCP', 2, 1]\n{ASK}"
        argv = [sys.executable, "-c", code]
        process = self.node.popen(argv, workload, cgroup=self.node.cgroup, stdout=subprocess.PIPE)
        return json.loads(process.communicate(timeout=30)[0])

    def counter(self, which: Counter) -> int:
        """A counter of the datapath."""
        name = which.name.lower()
        return next(int(one.get("value", 0)) for one in self.agent.status()["counters"] if one["name"] == name)


def vip(kind: str, service: str, family: int) -> tuple[str, int]:
    """Where a Service is reached."""
    number = NUMBERS[service]
    if kind == "NodePort":
        return NODE[family], 30000 + number
    prefixes = {
        "ClusterIP": ("10.96.0.", "fd00:10:96::"),
        "LoadBalancer": ("203.0.113.", "2001:db8:113::"),
        "ExternalIP": ("192.0.2.", "2001:db8:2::"),
    }
    return f"{prefixes[kind][family]}{number}", 80


def objects(
    name: str, endpoints: list[tuple[tuple[str, str], str]], target: int = PORT, **spec: Any
) -> list[dict[str, Any]]:
    """A Service of both families and protocols that is reached in every way; endpoints are addresses and their node."""
    made = manifests.service(name, [vip("ClusterIP", name, family)[0] for family in (0, 1)], 80, PORT)
    made["spec"] |= {
        "type": "LoadBalancer",
        "externalIPs": [vip("ExternalIP", name, family)[0] for family in (0, 1)],
        "ports": [
            {"name": kind.lower(), "port": 80, "protocol": kind, "nodePort": 30000 + NUMBERS[name]}
            for kind in PROTOCOLS
        ],
        **spec,
    }
    ingress = [{"ip": vip("LoadBalancer", name, family)[0]} for family in (0, 1)]
    made["status"] = {"loadBalancer": {"ingress": ingress}}
    slices = [manifests.endpoint_slice(name, ["0.0.0.0" if family == 0 else "::"], PORT) for family in (0, 1)]
    for family, one in enumerate(slices):
        one["ports"] = [{"name": kind.lower(), "port": target, "protocol": kind} for kind in PROTOCOLS]
        one["endpoints"] = [
            {"addresses": [addresses[family]], "nodeName": where, "conditions": {"ready": True}}
            for addresses, where in endpoints
        ]
    return [made, *slices]


def both(space: Any) -> tuple[str, str]:
    """A workload's two addresses."""
    first, second = (str(address.ip) for address in space.addresses)
    return first, second


def serve(made: TestNode, workload: str, name: str = "", port: int = PORT) -> None:
    argv = [sys.executable, str(WHOAMI), name or workload, str(port)]
    server = made.popen(argv, workload, stdout=subprocess.PIPE)
    assert server.stdout
    assert server.stdout.readline() == b"ready\n"


def run(made: TestNode, workload: str, code: str) -> None:
    """Run a server that says when it listens."""
    server = made.popen([sys.executable, "-c", code], workload, stdout=subprocess.PIPE)
    assert server.stdout
    assert server.stdout.readline() == b"ready\n"


@pytest.fixture(scope="module")
def city(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    with (
        outside() as world,
        node(HERE) as made,
        node(THERE) as neighbour,
        agent_on(made, tmp_path_factory.mktemp("agent"), uplinks=["upl*"]) as agent,
    ):
        world.machine("stranger", STRANGER)
        attach(made, world)
        attach(neighbour, world, NEIGHBOUR)
        world.route(made.name, *zip(map(str, THERE), NEIGHBOUR, strict=True))
        world.route(neighbour.name, *zip(map(str, HERE), NODE, strict=True))
        for prefixes, gateway in (
            (("10.96.0.0/16", "203.0.113.0/24", "192.0.2.0/24"), NODE[0]),
            (("fd00:10:96::/64", "2001:db8:113::/64", "2001:db8:2::/64"), NODE[1]),
        ):
            for machine in ("client", "stranger"):
                world.route(machine, *((prefix, gateway) for prefix in prefixes))
        for workload in ("here", "pinned"):
            made.add(workload)
            serve(made, workload)
        made.add("counted")
        run(made, "counted", ECHO)
        for workload in ("there", "echo"):
            neighbour.add(workload)
        serve(neighbour, "there")
        run(neighbour, "echo", ECHO)
        serve(made, "", "host", 8081)
        built = City(world, made, neighbour, agent)
        write(built)
        agent.start()
        yield built


def write(city: City) -> None:
    here, there = both(city.node.spaces["here"]), both(city.neighbour.spaces["there"])
    everywhere = [(here, "node-1"), (there, "node-2")]
    counted = [(both(city.node.spaces["counted"]), "node-1")]
    pinned = manifests.pod("pinned", list(both(city.node.spaces["pinned"])))
    pinned["spec"] |= {"containers": [{"ports": [{"containerPort": PORT, "hostPort": 9000}]}]}
    pinned["status"] |= {"phase": "Running"}
    services = {
        "cluster": objects("cluster", everywhere),
        "local": objects("local", everywhere, externalTrafficPolicy="Local"),
        "empty": objects("empty", []),
        "away": objects("away", everywhere[1:], externalTrafficPolicy="Local"),
        "ranged": objects("ranged", everywhere, loadBalancerSourceRanges=["198.18.0.96/28", " 2001:db8:18::96/124"]),
        "sticky": objects("sticky", everywhere, sessionAffinity="ClientIP"),
        "host": objects("host", [(NODE, "node-1")], target=8081),
        "echo": objects("echo", [(both(city.neighbour.spaces["echo"]), "node-2")]),
        "counted": objects("counted", counted),
        "counted-local": objects("counted-local", counted, externalTrafficPolicy="Local"),
    }
    documents = [one for service in services.values() for one in service]
    (city.agent.manifests / "city.yaml").write_text(manifests.dump(pinned, *documents))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer", "ExternalIP", "ClusterIP"])
def test_a_client_outside_reaches_all_backends_and_is_seen_as_the_node(
    city: City, kind: str, family: int, protocol: str
) -> None:
    answers = city.ask(*vip(kind, "cluster", family), protocol)
    assert {name for name, _ in answers} == {"here", "there"}
    assert {seen for _, seen in answers} == {NODE[family]}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer", "ExternalIP"])
def test_policy_local_reaches_backends_of_this_node_that_see_the_client(
    city: City, kind: str, family: int, protocol: str
) -> None:
    answers = city.ask(*vip(kind, "local", family), protocol)
    assert {tuple(answer) for answer in answers} == {("here", CLIENT[family])}


EVERY_KIND = ["NodePort", "LoadBalancer", "ExternalIP", "ClusterIP"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_where_nothing_serves_a_client_outside_is_refused_at_once(
    city: City, kind: str, family: int, protocol: str
) -> None:
    assert city.ask(*vip(kind, "empty", family), protocol, 1) == [["error", "ConnectionRefusedError"]]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_a_port_that_a_known_cluster_ip_does_not_have_is_refused(city: City, family: int) -> None:
    address, _ = vip("ClusterIP", "cluster", family)
    assert city.ask(address, 81, times=1) == [["error", "ConnectionRefusedError"]]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_policy_local_without_a_backend_here_drops_what_comes_from_outside_and_inside_reaches_all(
    city: City, family: int
) -> None:
    before = city.counter(Counter.SERVICE_DROPPED)
    assert city.ask(*vip("NodePort", "away", family), times=1) == [["error", "TimeoutError"]]
    assert city.counter(Counter.SERVICE_DROPPED) > before
    assert {name for name, _ in city.ask_inside(*vip("NodePort", "away", family), workload="here")} == {"there"}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_source_ranges_keep_strangers_from_the_balancers_address_and_from_no_other(city: City, family: int) -> None:
    before = city.counter(Counter.SOURCE_RANGE)
    assert {name for name, _ in city.ask(*vip("LoadBalancer", "ranged", family))} == {"here", "there"}
    assert city.ask(*vip("NodePort", "ranged", family), times=1, machine="stranger")[0][1] == NODE[family]
    place = vip("LoadBalancer", "ranged", family)
    assert city.ask(*place, times=1, machine="stranger") == [["error", "TimeoutError"]]
    assert city.counter(Counter.SOURCE_RANGE) > before


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_source_ranges_hold_for_workloads_and_for_the_node_too(city: City, family: int) -> None:
    place = vip("LoadBalancer", "ranged", family)
    assert city.ask_inside(*place, workload="here") == [["error", "TimeoutError"]] * 2
    assert city.ask_inside(*place) == [["error", "OSError"]] * 2
    open_place = vip("ExternalIP", "ranged", family)
    assert {name for name, _ in city.ask_inside(*open_place, workload="here")} <= {"here", "there"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_affinity_keeps_a_client_outside_with_its_backend(city: City, family: int, protocol: str) -> None:
    answers = [
        name
        for kind in ("NodePort", "LoadBalancer")
        for name, _ in city.ask(*vip(kind, "sticky", family), protocol, times=15)
    ]
    assert len(answers) == 30
    assert len(set(answers)) == 1


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_a_host_port_leads_to_its_pod_which_sees_the_client(city: City, family: int) -> None:
    assert city.ask(NODE[family], 9000, times=3) == [["pinned", CLIENT[family]]] * 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_a_backend_of_the_node_itself_answers_under_the_frontends_address(
    city: City, family: int, protocol: str
) -> None:
    for kind in ("NodePort", "LoadBalancer"):
        assert city.ask(*vip(kind, "host", family), protocol, times=3) == [["host", CLIENT[family]]] * 3


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
@pytest.mark.parametrize("service", ["cluster", "local"])
def test_datagrams_in_fragments_arrive_and_are_answered(city: City, service: str, family: int) -> None:
    answers = city.ask(*vip("NodePort", service, family), "UDP", times=8, size=1200)
    assert {name for name, _ in answers} == ({"here", "there"} if service == "cluster" else {"here"})


def narrow(device: str, mtu: int) -> None:
    """Let a device take less in one piece; in its namespace's thread."""
    with IPRoute() as ipr:
        ipr.link("set", index=ipr.link_lookup(ifname=device)[0], mtu=mtu)


SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as s:
    s.settimeout(10)
    s.sendall(b"x" * 200_000)
    told = 0
    while told < 200_000:
        told += sum(map(int, s.recv(1 << 16).split()))
print(told)
"""


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
@pytest.mark.parametrize("where", ["by this node", "by a router on the way"])
def test_a_sender_outside_learns_of_a_smaller_path(city: City, family: int, where: str) -> None:
    narrowed, name = (city.node, "counted") if where == "by this node" else (city.neighbour, "echo")
    counter = Counter.TOO_BIG if where == "by this node" else Counter.ICMP_TRANSLATED
    narrowed.run(narrow, BRIDGE, 1400)
    try:
        before = city.counter(counter)
        kind = "LoadBalancer" if narrowed is city.node else "ExternalIP"  # sizes are learned by address
        address, port = vip(kind, name, family)
        told = city.world.python(f"import sys\nsys.argv = ['', {address!r}, {port}]\n{SEND}")
        assert int(told) == 200_000
        assert city.counter(counter) > before
    finally:
        narrowed.run(narrow, BRIDGE, 1500)


MOVE = """
import socket, sys, time
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(0.2)
s.bind(("", 12345))
while True:
    s.sendto(b"who", (sys.argv[1], int(sys.argv[2])))
    try:
        print(s.recv(100).decode().split()[0], flush=True)
    except TimeoutError:
        print("nothing", flush=True)
    time.sleep(0.05)
"""


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_a_flow_of_datagrams_leaves_a_backend_that_is_gone_within_two_seconds(city: City, family: int) -> None:
    file = city.agent.manifests / "moving.yaml"
    here = both(city.node.spaces["here"]), "node-1"
    there = both(city.neighbour.spaces["there"]), "node-2"
    file.write_text(manifests.dump(*objects("moving", [here])))
    address, port = vip("NodePort", "moving", family)
    city.agent.until(lambda: city.ask(address, port, "UDP", 1)[0][0] == "here")
    process = city.world.popen([sys.executable, "-c", MOVE, address, str(port)])
    assert process.stdout
    lines = iter(process.stdout.readline, b"")
    assert next(line for line in lines if line != b"nothing\n") == b"here\n"
    start = time.monotonic()
    file.write_text(manifests.dump(*objects("moving", [there])))
    assert next(line for line in lines if line not in (b"here\n", b"nothing\n")) == b"there\n"
    took = time.monotonic() - start
    stop(process)
    file.unlink()
    assert took < 2


HOLD = """
import socket, sys, time
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as s:
    s.settimeout(5)
    while True:
        s.sendall(b"x" * 10)
        print(s.recv(100).decode().strip(), flush=True)
        time.sleep(0.02)
"""


def test_an_open_connection_outlives_the_agents_death_and_return(city: City) -> None:
    processes = [
        city.world.popen([sys.executable, "-c", HOLD, *map(str, vip("NodePort", name, family))])
        for name in ("echo", "counted", "counted-local")
        for family in (0, 1)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == b"10\n"
    city.agent.kill()
    for process in processes:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(20)] == [b"10\n"] * 20
    assert {name for name, _ in city.ask(*vip("NodePort", "cluster", 0))} == {"here", "there"}, "without any agent"
    city.agent.start()
    for process in processes:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(20)] == [b"10\n"] * 20
        assert process.poll() is None
        stop(process)


def test_the_status_names_the_uplinks_and_their_programs(city: City) -> None:
    places = {one["name"]: one.get("attached", []) for one in city.agent.status()["programs"]}
    assert places["from_network"] == places["to_network"] == [UPLINK]
    assert UPLINK not in places["from_endpoint"]


def test_programs_that_somebody_took_off_an_uplink_are_put_back(city: City) -> None:
    index = city.node.run(socket.if_nametoindex, UPLINK)
    city.node.run(detach_tc, index)
    assert city.ask(*vip("NodePort", "cluster", 0), times=1) == [["error", "ConnectionRefusedError"]]
    city.agent.until(lambda: city.ask(*vip("NodePort", "cluster", 0), times=1)[0][1] == NODE[0], 40)


def test_records_tell_the_client_the_frontend_and_the_service(city: City) -> None:
    address, port = vip("LoadBalancer", "cluster", 0)
    city.ask(address, port, times=1)

    def told() -> list[dict[str, Any]]:
        flows = city.agent.flows("--ip", address, "--last", "50")
        return [one for one in flows if one["IP"]["source"] == CLIENT[0]]

    flow = city.agent.until(told)[-1]
    assert flow["trace_observation_point"] == "FROM_NETWORK"
    assert flow["destination_service"]["name"] == "cluster"
    assert flow["verdict"] == "FORWARDED"


def test_verify_finds_nothing_wrong_and_service_get_shows_both_sides(city: City) -> None:
    city.agent.remora("verify")
    shown = city.agent.remora("service", "get", "local", "--namespace", "shop")
    assert "NodePort from outside" in shown
    explained = city.agent.remora("service", "explain", f"{NODE[0]}:30002", "--from", "outside")
    assert "the backend sees the client's address" in explained
