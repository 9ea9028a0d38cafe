"""Services at the socket, seen by real clients: what they connect to, what they are told, who answers."""

from __future__ import annotations

import json
from collections import Counter as Tally

import pytest

from daemon.demo.cgroups import Cgroup
from ebpf.constants import Counter
from tests.integration.conftest import VIPS, Shop
from tests.support.netns import unique

FAMILIES = {
    "IPv4": ("AF_INET", VIPS[0]),
    "IPv6": ("AF_INET6", VIPS[1]),
    "IPv4 on an IPv6 socket": ("AF_INET6", f"::ffff:{VIPS[0]}"),
}
families = pytest.mark.parametrize(("family", "vip"), FAMILIES.values(), ids=FAMILIES.keys())


def plain(text: str) -> str:
    return text.removeprefix("::ffff:")


def client_address(shop: Shop, vip: str) -> str:
    version = 4 if "." in vip else 6
    addresses = shop.node.spaces["client"].addresses
    return next(str(address.ip) for address in addresses if address.version == version)


@families
@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_a_connected_client_sees_the_vip_and_the_backend_sees_the_client(
    shop: Shop, family: str, vip: str, kind: str
) -> None:
    peer, answer = json.loads(
        shop.client(f"""
import json, socket
s = socket.socket(socket.{family}, socket.{kind})
s.settimeout(5)
s.connect(({vip!r}, 80))
if {kind!r} == "SOCK_DGRAM": s.send(b"hello")
answer = s.recv(100).decode()
print(json.dumps([s.getpeername()[:2], answer]))
""")
    )
    assert peer == [vip, 80]
    backend, seen = answer.split()
    assert backend in ("b0", "b1", "b2")
    assert seen == client_address(shop, vip)


@families
def test_an_unconnected_datagram_is_answered_from_the_vip(shop: Shop, family: str, vip: str) -> None:
    source, answers = json.loads(
        shop.client(f"""
import json, socket
s = socket.socket(socket.{family}, socket.SOCK_DGRAM)
s.settimeout(5)
answers = set()
for _ in range(20):
    s.sendto(b"hello", ({vip!r}, 80))
    answer, source = s.recvfrom(100)
    answers.add(answer.decode().split()[0])
print(json.dumps([source[:2], sorted(answers)]))
""")
    )
    assert source == [vip, 80]
    assert len(answers) == 1, "datagrams of one socket must stay on one backend"


def test_one_socket_can_talk_to_a_vip_and_to_its_backend_and_knows_them_apart(shop: Shop) -> None:
    backend = shop.backends[0]
    sources = json.loads(
        shop.client(f"""
import json, socket
def ask(address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.sendto(b"hello", address)
    return s.recvfrom(100)[1]
print(json.dumps([ask(({VIPS[0]!r}, 80)), ask(({backend!r}, 8080))]))
""")
    )
    assert sources == [[VIPS[0], 80], [backend, 8080]]


def test_a_socket_connected_anew_to_a_backend_itself_forgets_the_vip(shop: Shop) -> None:
    peers = json.loads(
        shop.client(f"""
import json, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
peers = []
for address in (({VIPS[0]!r}, 80), ({shop.backends[1]!r}, 8080)):
    s.connect(address)
    peers.append(s.getpeername())
print(json.dumps(peers))
""")
    )
    assert peers == [[VIPS[0], 80], [shop.backends[1], 8080]]


@pytest.mark.parametrize(("family", "vip"), [("AF_INET", "10.96.0.99"), ("AF_INET6", "fd00:10:96::99")])
@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_a_service_without_backends_refuses_at_once(shop: Shop, family: str, vip: str, kind: str) -> None:
    before = int(shop.datapath.counters.sums()[Counter.SERVICE_REFUSED])
    code, elapsed = json.loads(
        shop.client(f"""
import errno, json, socket, time
s = socket.socket(socket.{family}, socket.{kind})
start = time.monotonic()
code = s.connect_ex(({vip!r}, 80))
print(json.dumps([errno.errorcode.get(code, code), time.monotonic() - start]))
""")
    )
    assert code == "ECONNREFUSED"
    assert elapsed < 1
    assert int(shop.datapath.counters.sums()[Counter.SERVICE_REFUSED]) == before + 1


def test_a_process_of_another_cgroup_is_left_alone(shop: Shop) -> None:
    with Cgroup(unique("other")) as other:
        error = shop.client(
            f"""
import socket
s = socket.socket()
s.settimeout(0.3)
print(s.connect_ex(({VIPS[0]!r}, 80)))
""",
            cgroup=other.path,
        )
    assert error != "0"


def test_ten_thousand_connections_are_shared_evenly(shop: Shop) -> None:
    tally = Tally(
        json.loads(
            shop.client(f"""
import json, socket
names = []
for _ in range(10_000):
    with socket.create_connection(({VIPS[0]!r}, 80), timeout=5) as s:
        names.append(s.recv(100).decode().split()[0])
print(json.dumps(names))
""")
        )
    )
    assert set(tally) == {"b0", "b1", "b2"}
    expected = 10_000 / 3
    chi_square = sum((count - expected) ** 2 / expected for count in tally.values())
    assert chi_square < 18.42, f"{tally}: less likely than 1 in 10,000 when all three are drawn alike"


def test_a_backend_that_goes_is_drawn_no_more(shop: Shop) -> None:
    table = shop.datapath.maps["services"]
    keys, values = table.items()
    ours = values["service"] == 410
    fewer = values[ours].copy()
    fewer["backends"] = 2
    try:
        table.update(keys[ours], fewer)
        names = shop.client(f"""
import socket
for _ in range(200):
    with socket.create_connection(({VIPS[0]!r}, 80), timeout=5) as s:
        print(s.recv(100).decode().split()[0])
""")
        assert set(names.split()) == {"b0", "b1"}
    finally:
        table.update(keys[ours], values[ours])
