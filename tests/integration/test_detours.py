"""Services for clients that no socket program sees: translated at their device, packet by packet."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from daemon.demo.cgroups import Cgroup
from ebpf.constants import Counter
from tests.integration.conftest import PORT, VIPS, Entry, Shop, program
from tests.integration.test_sockets import client_address
from tests.support.netns import unique

KINDS = ("SOCK_STREAM", "SOCK_DGRAM")


@pytest.fixture(scope="module")
def watched(shop: Shop) -> Iterator[Shop]:
    """The shop with the packet programs on the client's device."""
    index = shop.node.run(socket.if_nametoindex, shop.node.spaces["client"].device)
    shop.node.run(shop.datapath.attach_device, index, "client")
    yield shop
    shop.node.run(shop.datapath.detach_device, index)


@pytest.fixture(scope="module")
def stranger() -> Iterator[Cgroup]:
    """A cgroup that the socket programs are not attached to."""
    with Cgroup(unique("stranger")) as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vip", VIPS, ids=["IPv4", "IPv6"])
def test_a_stranger_reaches_the_service_and_is_seen_under_its_own_address(
    watched: Shop, stranger: Cgroup, vip: str, kind: str
) -> None:
    family = "AF_INET6" if ":" in vip else "AF_INET"
    before = int(watched.datapath.counters.sums()[Counter.TRANSLATED])
    answers, source = json.loads(
        watched.client(
            f"""
import json, socket
answers, source = [], None
for _ in range(30):
    with socket.socket(socket.{family}, socket.{kind}) as s:
        s.settimeout(5)
        if {kind!r} == "SOCK_DGRAM":
            s.sendto(b"hello", ({vip!r}, 80))
            answer, source = s.recvfrom(100)
        else:
            s.connect(({vip!r}, 80))
            answer, source = s.recv(100), s.getpeername()
        answers.append(answer.decode().split())
print(json.dumps([answers, source[:2]]))
""",
            cgroup=stranger.path,
        )
    )
    assert {name for name, _ in answers} == {"b0", "b1", "b2"}
    assert {seen for _, seen in answers} == {client_address(watched, vip)}
    assert source == [vip, 80]
    assert watched.datapath.counters.sums()[Counter.TRANSLATED] > before


def test_many_connections_of_a_stranger_one_after_the_other_all_succeed(watched: Shop, stranger: Cgroup) -> None:
    done = watched.client(
        f"""
import socket
done = 0
for _ in range(2000):
    with socket.create_connection(({VIPS[0]!r}, 80), timeout=5) as s:
        done += s.recv(100).startswith(b"b")
print(done)
""",
        cgroup=stranger.path,
    )
    assert done == "2000"


def test_a_stranger_that_is_its_own_backend_reaches_itself(shop: Shop, stranger: Cgroup) -> None:
    index = shop.node.run(socket.if_nametoindex, shop.node.spaces["b0"].device)
    shop.node.run(shop.datapath.attach_device, index, "b0")
    code = f"""
import json, socket
answers = []
for vip, family in (({VIPS[0]!r}, socket.AF_INET), ({VIPS[1]!r}, socket.AF_INET6)):
    for _ in range(40):
        with socket.socket(family) as s:
            s.settimeout(5)
            s.connect((vip, 80))
            answers.append([vip, *s.recv(100).decode().split(), s.getpeername()[0]])
print(json.dumps(answers))
"""
    argv = [sys.executable, "-c", code]
    process = shop.node.popen(argv, "b0", cgroup=stranger.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, error = process.communicate(timeout=60)
    shop.node.run(shop.datapath.detach_device, index)
    assert process.returncode == 0, error.decode()
    answers = json.loads(out)
    assert {name for _, name, _, _ in answers} == {"b0", "b1", "b2"}
    assert all(peer == vip for vip, _, _, peer in answers)
    assert all(seen == vip for vip, name, seen, _ in answers if name == "b0"), "its server sees the frontend"


@pytest.mark.parametrize(("vip", "family"), [("10.96.0.99", "AF_INET"), ("fd00:10:96::99", "AF_INET6")])
def test_a_stranger_is_refused_at_once_where_nothing_serves(
    watched: Shop, stranger: Cgroup, vip: str, family: str
) -> None:
    code = f"""
import socket, time
start = time.monotonic()
print(socket.socket(socket.{family}).connect_ex(({vip!r}, 80)), time.monotonic() - start < 1)
"""
    assert watched.client(code, cgroup=stranger.path) == "111 True"


def test_a_process_of_the_agents_cgroup_is_still_translated_at_its_socket(watched: Shop) -> None:
    before = watched.datapath.counters.sums()
    watched.client(f"import socket; socket.create_connection(({VIPS[0]!r}, 80), timeout=5).close()")
    after = watched.datapath.counters.sums()
    assert after[Counter.SERVICE_CONNECTED] == before[Counter.SERVICE_CONNECTED] + 1
    assert after[Counter.TRANSLATED] == before[Counter.TRANSLATED]


def test_one_port_asks_two_frontends_and_then_their_backend_and_each_answers_for_itself(
    watched: Shop, stranger: Cgroup
) -> None:
    """A port that is used again soon meets the entry of whoever had it before."""
    pair = tuple(str(address.ip) for address in watched.node.spaces["b0"].addresses)
    first, second = ("10.96.0.61", "fd00:10:96::61"), ("10.96.0.62", "fd00:10:96::62")
    program(watched.datapath, Entry(61, first, (pair,)))
    program(watched.datapath, Entry(62, second, (pair,)))
    for family, kind in enumerate(("AF_INET", "AF_INET6")):
        wanted = [[first[family], 80], [second[family], 80], [pair[family], PORT], [first[family], 80]]
        code = f"""
import json, socket
sources = []
for host, port in {wanted!r}:
    with socket.socket(socket.{kind}, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.bind(("", 45454))
        s.sendto(b"hello", (host, port))
        sources.append(s.recvfrom(100)[1][:2])
print(json.dumps(sources))
"""
        assert json.loads(watched.client(code, cgroup=stranger.path)) == wanted
