"""NodePort, affinity, refused and dropped destinations, as sockets meet them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from ebpf import addresses
from ebpf.constants import Counter, DropReason, FrontendFlag, Reserved, Verdict
from tests.integration.conftest import VIPS, Entry, Shop, program
from tests.integration.test_sockets import client_address

NODE_PORT = 30080
ANY = ("::ffff:0.0.0.0", "::")
STICKY = ("10.96.0.30", "fd00:10:96::30")
LOCAL = ("10.96.0.40", "fd00:10:96::40")
ASK = """
import socket
def ask(address, family=socket.AF_INET):
    with socket.socket(family) as s:
        s.settimeout(3)
        s.connect(address)
        return s.recv(100).decode().split()[0]
"""


@pytest.fixture(scope="module")
def frontends(shop: Shop) -> Shop:
    """The shop with a NodePort, a Service with affinity, one that drops, and the VIP known as an address."""
    pairs = tuple(tuple(str(address.ip) for address in shop.node.spaces[f"b{index}"].addresses) for index in range(3))
    datapath = shop.datapath
    program(datapath, Entry(51, ANY, pairs, NODE_PORT, FrontendFlag.NODE_PORT))
    program(datapath, Entry(52, STICKY, pairs, affinity=3))
    program(datapath, Entry(53, LOCAL, flags=FrontendFlag.CLUSTER_IP | FrontendFlag.DROP))
    program(datapath, Entry(0, VIPS, port=0, flags=FrontendFlag.ADDRESS, protocols=(0,)))
    table = datapath.maps["addresses"]
    for gateway in shop.node.gateways:
        key, value = np.zeros(1, table.key_dtype), np.zeros(1, table.value_dtype)
        key["addr"] = np.frombuffer(addresses.pack(gateway.ip), np.uint32)
        value["workload"] = Reserved.HOST
        table.update(key, value)
    return shop


def on_node(shop: Shop, code: str) -> str:
    """Run Python in the node's own namespace, in the cgroup; what it prints."""
    process = shop.node.popen(
        [sys.executable, "-c", code], cgroup=shop.node.cgroup, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error.decode()
    return out.decode().strip()


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_node_port_is_reached_under_the_nodes_own_address(frontends: Shop, family: int) -> None:
    gateway = str(frontends.node.gateways[family].ip)
    kind = ("AF_INET", "AF_INET6")[family]
    code = ASK + f"print(ask(({gateway!r}, {NODE_PORT}), socket.{kind}))"
    assert frontends.client(code) in ("b0", "b1", "b2")
    assert on_node(frontends, code) in ("b0", "b1", "b2")


@pytest.mark.parametrize(
    ("loopback", "kind"), [("127.0.0.1", "AF_INET"), ("127.1.2.3", "AF_INET"), ("::1", "AF_INET6")]
)
def test_a_node_port_on_loopback_is_the_nodes_and_not_a_workloads(frontends: Shop, loopback: str, kind: str) -> None:
    assert on_node(frontends, ASK + f"print(ask(({loopback!r}, {NODE_PORT}), socket.{kind}))") in ("b0", "b1", "b2")
    refused = f"""
import socket
print(socket.socket(socket.{kind}).connect_ex(({loopback!r}, {NODE_PORT})))
"""
    assert frontends.client(refused) == "111"


def test_the_unspecified_address_means_the_callers_own_host(frontends: Shop) -> None:
    code = f"import socket; print(socket.socket().connect_ex(('0.0.0.0', {NODE_PORT})))"
    assert frontends.client(code) == "111"
    assert on_node(frontends, ASK + f"print(ask(('0.0.0.0', {NODE_PORT})))") in ("b0", "b1", "b2")


def test_a_node_port_is_not_reached_under_another_workloads_address(frontends: Shop) -> None:
    backend = frontends.backends[0]
    code = f"import socket; print(socket.socket().connect_ex(({backend!r}, {NODE_PORT})))"
    assert frontends.client(code) == "111"


def test_a_port_that_the_service_does_not_have_is_refused_at_once(frontends: Shop) -> None:
    for vip, kind in zip(VIPS, ("AF_INET", "AF_INET6"), strict=True):
        code = f"""
import socket, time
start = time.monotonic()
error = socket.socket(socket.{kind}).connect_ex(({vip!r}, 81))
print(error, time.monotonic() - start < 1)
"""
        assert frontends.client(code) == "111 True"


def test_a_client_stays_with_its_backend_over_sockets_and_protocols_of_time(frontends: Shop) -> None:
    code = ASK + f"print(*{{ask(({STICKY[0]!r}, 80)) for _ in range(30)}})"
    first = frontends.client(code)
    assert first in ("b0", "b1", "b2")
    assert frontends.client(code) == first, "another process of the same namespace is the same client"


def test_affinity_slides_with_use_and_ends_after_the_timeout(frontends: Shop) -> None:
    names = json.loads(
        frontends.client(
            ASK
            + f"""
import json, time
kept = []
for _ in range(5):
    kept.append(ask(({STICKY[0]!r}, 80)))
    time.sleep(1)
later = set()
for _ in range(6):
    time.sleep(3.2)
    later.add(ask(({STICKY[0]!r}, 80)))
print(json.dumps([sorted(set(kept)), sorted(later)]))
"""
        )
    )
    assert len(names[0]) == 1, "five seconds of use within a timeout of three must not change the backend"
    assert len(names[1]) > 1, "six draws after the timeout all gave one backend: 1 in 243 by chance"


def test_a_client_whose_backend_goes_gets_another_and_stays_with_it(frontends: Shop) -> None:
    code = ASK + f"print(*{{ask(({STICKY[0]!r}, 80)) for _ in range(20)}})"
    first = frontends.client(code)
    slots = frontends.datapath.maps["backends"]
    keys, values = slots.items()
    gone = np.frombuffer(addresses.pack(frontends.backends[int(first[1])]), np.uint32)
    mine = (keys["service"] == 520) & (values["addr"] == gone).all(axis=1)
    other = np.flatnonzero((keys["service"] == 520) & ~mine)[:1]
    assert mine.sum() == 1
    before = values[mine].copy()
    try:
        slots.update(keys[mine], values[other])
        second = frontends.client(code)
        assert second in {"b0", "b1", "b2"} - {first}
    finally:
        slots.update(keys[mine], before)


def test_a_policy_without_own_backends_drops_a_workloads_packets_and_shows_them(frontends: Shop) -> None:
    node, datapath = frontends.node, frontends.datapath
    index = node.run(socket.if_nametoindex, node.spaces["client"].device)
    ring = datapath.ring("flows")
    node.run(datapath.attach_device, index, "client")
    try:
        ring.rows(datapath.flow_dtype, 1 << 20)
        code = f"""
import socket
s = socket.socket(); s.settimeout(0.5)
print(s.connect_ex(({LOCAL[0]!r}, 80)))
"""
        assert frontends.client(code) != "0"
        rows = ring.rows(datapath.flow_dtype, 1 << 20)
        drops = rows[rows["verdict"] == Verdict.DROPPED]
        assert len(drops)
        assert set(drops["reason"].tolist()) == {DropReason.SERVICE_BACKEND_NOT_FOUND}
        assert addresses.text(drops[0]["dst"].tobytes()) == LOCAL[0]
        assert addresses.text(drops[0]["src"].tobytes()) == client_address(frontends, LOCAL[0])
        assert datapath.counters.sums()[Counter.SERVICE_DROPPED] >= len(drops)
    finally:
        node.run(datapath.detach_device, index)
        ring.close()


def test_the_nodes_own_packets_to_such_a_policy_do_not_leave_the_node(frontends: Shop) -> None:
    start = time.monotonic()
    assert on_node(frontends, f"import socket; print(socket.socket().connect_ex(({LOCAL[0]!r}, 80)))") == "113"
    assert time.monotonic() - start < 5


def test_udp_to_a_refused_destination_is_refused_on_sendto_too(frontends: Shop) -> None:
    code = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    s.sendto(b"x", ({VIPS[0]!r}, 81))
    print("sent")
except ConnectionRefusedError:
    print("refused")
"""
    assert frontends.client(code) == "refused"
