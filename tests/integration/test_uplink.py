"""Services from outside: real clients beyond a node's uplink, backends on the node and on another machine."""

from __future__ import annotations

import socket
import sys
import time
from typing import Any

import pytest
from pyroute2 import IPRoute

from daemon.demo.processes import stop
from daemon.demo.topology import BRIDGE
from ebpf.attach import detach_tc
from ebpf.constants import Counter
from tests.integration import shop as manifests
from tests.integration.city import FAMILIES, PROTOCOLS, City, both, city_fixture, objects, vip
from tests.support.outside import CLIENT, NODE, UPLINK

__all__ = ["city_fixture"]


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
    answers = city.ask(*vip("NodePort", service, family), "UDP", size=1200)
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
