"""What becomes of real UDP sockets when the backend that a Service gave them goes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from daemon.services.datagrams import Columns, flows, places
from daemon.services.udp import Closed, close_stale
from ebpf.addresses import pack
from ebpf.maps import HashMap
from tests.integration.conftest import PORT, VIPS, Entry, Shop, network, program
from tests.support.netns import TestNode, node

LONE, LONE_PORT = ("10.96.0.50", "fd00:10:96::50"), PORT + 1  # a Service with one backend: b2, under another port
FAMILIES = {
    "IPv4": ("AF_INET", VIPS[0]),
    "IPv6": ("AF_INET6", VIPS[1]),
    "IPv4 on an IPv6 socket": ("AF_INET6", f"::ffff:{VIPS[0]}"),
}
families = pytest.mark.parametrize(("family", "vip"), FAMILIES.values(), ids=FAMILIES.keys())
PRELUDE = """
import errno, json, socket, sys, time
def ask(s, *address):
    if address:
        s.sendto(b"hello", address)
    else:
        s.send(b"hello")
    return s.recv(100).decode().split()[0]
def connected(family, address, port):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((address, port))
    return s
def through(family, vip, backend):
    while True:
        s = connected(family, vip, 80)
        if ask(s) == backend:
            return s
def failure(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error)), time.monotonic()
    return "", time.monotonic()
"""


class Client:
    """A process in a workload or, without one, in the node: prints `ready`, and a JSON document at its end."""

    def __init__(self, where: TestNode, code: str, workload: str = "") -> None:
        self.process = where.popen(
            [sys.executable, "-c", PRELUDE + code],
            workload,
            cgroup=where.cgroup,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout
        ready = self.process.stdout.readline()
        assert ready == b"ready\n", self.process.communicate(timeout=5)[1].decode()

    def told(self) -> Any:
        out, error = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, error.decode()
        return json.loads(out)


@pytest.fixture(scope="module")
def reverses(shop: Shop) -> HashMap:
    return shop.datapath.maps["reverses"]


@pytest.fixture(scope="module")
def lone(shop: Shop) -> Shop:
    """The shop with the Service whose one backend nobody listens at."""
    program(shop.datapath, Entry(45, LONE, (addresses_of(shop, "b2"),)))
    slots = shop.datapath.maps["backends"]
    keys, values = slots.items()
    ours = keys["service"] // 10 == 45
    values["port"][ours] = network(LONE_PORT)
    slots.update(keys[ours], values[ours])
    return shop


@pytest.fixture
def without_b2(shop: Shop) -> Iterator[Columns]:
    """The flows that stay without b2. The Service's entries can be told to forget it; they know it again at the end."""
    table = shop.datapath.maps["services"]
    keys, values = table.items()
    ours = values["service"] // 10 == 41
    yield kept(shop, 41, "b2")
    table.update(keys[ours], values[ours])


def kept(shop: Shop, service: int, workload: str) -> Columns:
    """The flows of all Services to all their backends but one: what was the one service's and went to the workload."""
    keys, values = shop.datapath.maps["backends"].items()
    gone = np.array([list(np.frombuffer(pack(address), np.uint32)) for address in addresses_of(shop, workload)])
    lost = (keys["service"] // 10 == service) & (values["addr"][:, None] == gone).all(axis=2).any(axis=1)
    ports = values["port"].astype(np.uint16).view(">u2")
    return flows(keys["service"][~lost], places(values["addr"], ports)[~lost])


def addresses_of(shop: Shop, workload: str) -> tuple[str, ...]:
    return tuple(str(address.ip) for address in shop.node.spaces[workload].addresses)


def forget_b2(shop: Shop) -> None:
    table = shop.datapath.maps["services"]
    keys, values = table.items()
    ours = values["service"] // 10 == 41
    fewer = values[ours].copy()
    fewer["backends"] = 2
    table.update(keys[ours], fewer)


@families
@pytest.mark.parametrize("workload", ["client", ""], ids=["in a pod", "on the node"])
def test_a_client_waiting_for_a_backend_that_goes_gets_an_error_within_a_second_and_reaches_another(
    shop: Shop, reverses: HashMap, without_b2: Columns, family: str, vip: str, workload: str
) -> None:
    client = Client(
        shop.node,
        f"""
s = through(socket.{family}, {vip!r}, "b2")
print("ready", flush=True)
code, at = failure(s.recv, 100)
s.connect(({vip!r}, 80))
print(json.dumps([code, at, ask(s)]))
""",
        workload,
    )
    time.sleep(0.1)
    started = time.monotonic()
    forget_b2(shop)
    result = close_stale(reverses, without_b2)
    code, at, backend = client.told()
    assert result.closed >= 1
    assert result.failures == ()
    assert result.left == 0
    assert code == "ECONNABORTED"
    assert at - started < 1
    assert backend in ("b0", "b1")


def test_a_client_that_sends_is_told_with_its_next_datagram(shop: Shop, reverses: HashMap, without_b2: Columns) -> None:
    client = Client(
        shop.node,
        f"""
s = through(socket.AF_INET, {VIPS[0]!r}, "b2")
print("ready", flush=True)
code = ""
while not code:
    time.sleep(0.01)
    code, _ = failure(s.send, b"hello")
again = connected(socket.AF_INET, {VIPS[0]!r}, 80)
print(json.dumps([code, ask(again)]))
""",
        "client",
    )
    forget_b2(shop)
    close_stale(reverses, without_b2)
    code, backend = client.told()
    assert code == "EDESTADDRREQ", "the socket is connected no more"
    assert backend in ("b0", "b1")


def test_unconnected_direct_and_other_clients_go_on(shop: Shop, reverses: HashMap, without_b2: Columns) -> None:
    four, six = addresses_of(shop, "b2")
    client = Client(
        shop.node,
        f"""
def loose():
    while True:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(5)
        if ask(s, {VIPS[0]!r}, 80) == "b2":
            return s
unconnected = loose()
direct = [
    connected(socket.AF_INET, {four!r}, {PORT}),
    connected(socket.AF_INET6, {six!r}, {PORT}),
    connected(socket.AF_INET6, "::ffff:" + {four!r}, {PORT}),
]
once = through(socket.AF_INET, {VIPS[0]!r}, "b2")
once.connect(({four!r}, {PORT}))
direct.append(once)
other = through(socket.AF_INET, {VIPS[0]!r}, "b0")
gone = through(socket.AF_INET, {VIPS[0]!r}, "b2")
print("ready", flush=True)
code, _ = failure(gone.recv, 100)
print(json.dumps([code, ask(unconnected, {VIPS[0]!r}, 80), [ask(s) for s in direct], ask(other)]))
""",
        "client",
    )
    forget_b2(shop)
    close_stale(reverses, without_b2)
    code, unconnected, direct, other = client.told()
    assert code == "ECONNABORTED", "or the others were not closed only because nothing was"
    assert unconnected in ("b0", "b1")
    assert direct == ["b2"] * 4
    assert other == "b0"


def test_a_tcp_connection_to_the_same_address_and_port_goes_on(lone: Shop, reverses: HashMap) -> None:
    server = f"""
listener = socket.create_server(("", {LONE_PORT}))
print("ready", flush=True)
s, _ = listener.accept()
s.sendall(s.recv(100))
print("[]")
"""
    holder = Client(lone.node, server, "b2")
    client = Client(
        lone.node,
        f"""
tcp = socket.create_connection(({LONE[0]!r}, 80), timeout=5)
udp = connected(socket.AF_INET, {LONE[0]!r}, 80)
print("ready", flush=True)
code, _ = failure(udp.recv, 100)
tcp.sendall(b"still here")
print(json.dumps([code, tcp.recv(100).decode()]))
""",
        "client",
    )
    close_stale(reverses, kept(lone, 45, "b2"))
    assert client.told() == ["ECONNABORTED", "still here"]
    holder.told()


def test_sockets_that_never_sent_and_sockets_with_the_same_addresses_are_all_closed(
    lone: Shop, reverses: HashMap
) -> None:
    client = Client(
        lone.node,
        f"""
def twin():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("", 40000))
    s.connect(({LONE[0]!r}, 80))
    return s
sockets = [twin() for _ in range(3)] + [connected(socket.AF_INET, {LONE[0]!r}, 80) for _ in range(200)]
print("ready", flush=True)
print(json.dumps(sorted({{failure(s.recv, 100)[0] for s in sockets}})))
""",
        "client",
    )
    result = close_stale(reverses, kept(lone, 45, "b2"))
    assert client.told() == ["ECONNABORTED"]
    assert (result.closed, result.left, result.failures) == (203, 0, ())


def test_a_twin_namespace_with_the_same_addresses_is_not_mistaken_for_ours(lone: Shop, reverses: HashMap) -> None:
    """A direct client there has the very 4-tuple that a Service's client has here."""
    address = addresses_of(lone, "b2")[0]
    code = """
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout({patience})
s.bind(("", 40001))
s.connect(({to!r}, {port}))
print("ready", flush=True)
print(json.dumps([s.getsockname(), failure(s.recv, 100)[0]]))
"""
    with node() as other:
        other.add("client")
        ours = Client(lone.node, code.format(patience=5, to=LONE[0], port=80), "client")
        theirs = Client(other, code.format(patience=1, to=address, port=LONE_PORT), "client")
        result = close_stale(reverses, kept(lone, 45, "b2"))
        (here, error), (there, calm) = ours.told(), theirs.told()
    assert result.closed == 1
    assert here == there
    assert error == "ECONNABORTED"
    assert calm == "timed out"


def test_nothing_is_done_when_nothing_is_gone(shop: Shop, reverses: HashMap) -> None:
    everything = kept(shop, 0, "b2")
    assert close_stale(reverses, everything) == Closed(0, 0, ())
