"""Policy between real sockets: what is denied is silence, and what is allowed does not notice it."""

from __future__ import annotations

import errno
import itertools
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Thread

import pytest

from daemon.demo.cgroups import Cgroup
from ebpf.constants import Counter, DropReason, PolicyFlag
from tests.integration.conftest import Entry as ServiceEntry
from tests.integration.conftest import program
from tests.integration.policy_stage import FAMILIES, PATIENCE, TCP, UDP, Stage, allow, arrives, stage
from tests.support.netns import unique

CLIENT, SERVER, ROUTER = "client", "server", "router"
FAR, FAR_NET, ROUTER_FAR = "10.9.0.2", "10.9.0.0/24", "10.9.0.1"
IP_MTU, IP_MTU_DISCOVER, IP_PMTUDISC_DO = 14, 10, 2
_ports = itertools.count(7000)


@pytest.fixture(scope="module")
def built(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    pins = Path("/sys/fs/bpf") / unique("policy")
    with stage(pins, tmp_path_factory.mktemp("state"), (CLIENT, SERVER, ROUTER)) as made:
        made.open()
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def free(built: Stage) -> Stage:
    """Nothing restricted yet, nothing told yet."""
    built.settings(PolicyFlag(0))
    built.free()
    built.records()
    return built


@pytest.fixture(params=FAMILIES, ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> socket.AddressFamily:
    found: socket.AddressFamily = request.param
    return found


@pytest.fixture
def port() -> int:
    return next(_ports)


def test_denied_is_a_timeout_and_never_a_refusal(free: Stage, family: socket.AddressFamily, port: int) -> None:
    free.restrict(SERVER, ingress=[allow(free.number(CLIENT), TCP, port)])
    target = free.address(SERVER, family)
    with closing(free.listener(SERVER, family, port)), closing(free.listener(SERVER, family, port + 1000)):
        free.connect(CLIENT, target, port).close()
        with pytest.raises(TimeoutError):
            free.connect(CLIENT, target, port + 1000)
        with pytest.raises(TimeoutError):
            free.connect(CLIENT, target, 1)  # nobody listens there, and nobody may know
        with pytest.raises(TimeoutError):
            free.connect(ROUTER, target, port)
    dropped = [row for row in free.records() if row["reason"] == DropReason.POLICY_DENIED]
    assert {int(row["dst_port"]) for row in dropped} == {port + 1000, 1, port}


def test_datagrams_that_are_denied_vanish_and_answers_pass(
    free: Stage, family: socket.AddressFamily, port: int
) -> None:
    free.restrict(CLIENT, ingress=[], egress=[allow(free.number(SERVER), UDP, port)])
    target = free.address(SERVER, family)
    with (
        closing(free.receiver(SERVER, family, port)) as open_,
        closing(free.receiver(SERVER, family, port + 1000)) as shut,
        closing(free.made(CLIENT, family, socket.SOCK_DGRAM)) as client,
    ):
        client.sendto(b"question", (target, port))
        client.sendto(b"question", (target, port + 1000))
        data, peer = open_.recvfrom(100)
        open_.sendto(b"answer to " + data, peer)
        assert client.recv(100) == b"answer to question"
        assert not arrives(shut)
        shut.sendto(b"unasked", peer)
        assert not arrives(client)


def test_an_isolated_server_answers_whom_it_admits(free: Stage, family: socket.AddressFamily, port: int) -> None:
    free.restrict(SERVER, ingress=[allow(free.number(CLIENT))], egress=[])
    with closing(free.listener(SERVER, family, port)) as listener:
        client = free.connect(CLIENT, free.address(SERVER, family), port)
        server, _ = listener.accept()
        sender = Thread(target=lambda: (server.sendall(b"x" * 1_000_000), server.close()))
        sender.start()
        with closing(client):
            assert sum(len(part) for part in iter(lambda: client.recv(65536), b"")) == 1_000_000
        sender.join()


class TestEstablished:
    """A connection that was there before a policy denied it."""

    @pytest.fixture
    def both(self, free: Stage, family: socket.AddressFamily, port: int) -> Iterator[tuple[socket.socket, ...]]:
        free.restrict(SERVER, ingress=[allow(free.number(CLIENT))])
        with ExitStack() as ends:
            listener = ends.enter_context(free.listener(SERVER, family, port))
            client = ends.enter_context(free.connect(CLIENT, free.address(SERVER, family), port))
            server = ends.enter_context(listener.accept()[0])
            server.settimeout(PATIENCE)
            client.sendall(b"before")
            assert server.recv(100) == b"before"
            yield client, server

    def test_is_cut(self, free: Stage, both: tuple[socket.socket, ...]) -> None:
        client, server = both
        free.restrict(SERVER, ingress=[])
        client.sendall(b"after")
        assert not arrives(server)

    def test_goes_on_when_it_is_allowed_again(self, free: Stage, both: tuple[socket.socket, ...]) -> None:
        client, server = both
        free.restrict(SERVER, ingress=[])
        client.sendall(b"after")
        assert not arrives(server)
        free.restrict(SERVER, ingress=[allow(free.number(CLIENT))])
        server.settimeout(10)
        assert server.recv(100) == b"after"

    def test_is_kept_by_setting(self, free: Stage, both: tuple[socket.socket, ...]) -> None:
        client, server = both
        free.settings(PolicyFlag.KEEP)
        free.restrict(SERVER, ingress=[])
        client.sendall(b"after")
        assert server.recv(100) == b"after"


def test_the_node_reaches_an_isolated_workload_and_is_reached(
    free: Stage, family: socket.AddressFamily, port: int
) -> None:
    free.restrict(SERVER, ingress=[], egress=[])
    own = str(free.node.gateways[FAMILIES.index(family)].ip)
    with closing(free.listener(SERVER, family, port)), closing(free.listener("", family, port)):
        free.connect("", free.address(SERVER, family), port).close()
        free.connect(SERVER, own, port).close()
        with pytest.raises(TimeoutError):
            free.connect(CLIENT, free.address(SERVER, family), port)


def test_a_spoofed_source_does_not_get_out(free: Stage, port: int) -> None:
    before = int(free.datapath.counters.sums()[Counter.SOURCE_INVALID])
    with closing(free.receiver(SERVER, socket.AF_INET, port)) as receiver:
        for source, passes in ((free.address(CLIENT), True), (free.address(ROUTER), False), ("8.8.8.8", False)):
            raw = free.node.run(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW, workload=CLIENT)
            ends = socket.inet_aton(source) + socket.inet_aton(free.address(SERVER))
            head = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, UDP, 0) + ends
            with closing(raw):
                raw.sendto(head + struct.pack("!HHHH", 5555, port, 12, 0) + b"data", (free.address(SERVER), 0))
            assert arrives(receiver) == passes, source
    assert free.datapath.counters.sums()[Counter.SOURCE_INVALID] == before + 2


def test_a_workload_that_is_its_own_backend_reaches_itself_however_isolated(
    free: Stage, family: socket.AddressFamily, port: int
) -> None:
    vips = ("10.96.7.7", "fd00:10:96::77")
    backend = tuple(free.address(SERVER, one) for one in FAMILIES)
    program(free.datapath, ServiceEntry(900, vips, (backend,), port=80))
    free.restrict(SERVER, ingress=[], egress=[])
    code = f"""
import socket, threading
family = socket.AF_INET6 if {family == socket.AF_INET6} else socket.AF_INET
listener = socket.socket(family)
listener.bind(("", 8080)); listener.listen()
client = socket.socket(family)
client.settimeout(5)
client.connect(({vips[FAMILIES.index(family)]!r}, 80))
server, _ = listener.accept()
server.sendall(b"hello"); print(client.recv(10).decode())
"""
    with Cgroup(unique("stranger")) as outside:
        process = free.node.popen(["python3", "-c", code], SERVER, cgroup=outside.path, stdout=-1, stderr=-1)
        out, error = process.communicate(timeout=20)
    assert out == b"hello\n", error.decode()


def test_a_port_used_again_has_the_verdict_of_its_day(free: Stage, family: socket.AddressFamily, port: int) -> None:
    target = free.address(SERVER, family)
    with closing(free.listener(SERVER, family, port)) as listener:

        def reaches() -> bool:
            try:
                client = free.connect(CLIENT, target, port, 44444)
            except TimeoutError:
                return False
            server, _ = listener.accept()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.close()  # a reset, so that the port is free at once
            client.close()
            return True

        for allowed in (True, False, True, False):
            free.restrict(SERVER, ingress=[allow(free.number(CLIENT))] if allowed else [])
            assert reaches() == allowed


@pytest.fixture(scope="module")
def far(built: Stage) -> Iterator[str]:
    node = built.node
    name = f"{node.name}-far"
    router, client = node.spaces[ROUTER].namespace, node.spaces[CLIENT].namespace
    via = built.address(ROUTER)
    built.free()
    for line in (
        f"netns add {name}",
        f"link add far0 netns {router} mtu 1300 type veth peer name eth0 netns {name} mtu 1300",
        f"-n {router} addr add {ROUTER_FAR}/24 dev far0",
        f"-n {router} link set far0 up",
        f"-n {name} addr add {FAR}/24 dev eth0",
        f"-n {name} link set eth0 up",
        f"-n {name} route add default via {ROUTER_FAR}",
        f"-n {client} route add {FAR_NET} via {via}",
    ):
        node.output(["ip", *line.split()])
    node.run(Path("/proc/sys/net/ipv4/ip_forward").write_text, "1", workload=ROUTER)
    yield name
    node.output(["ip", "netns", "del", name])


class TestRouter:
    """A router between client and a far network that has a smaller MTU; it is a workload, not the node."""

    def datagram(self, free: Stage) -> socket.socket:
        made = free.made(CLIENT, socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        made.connect((FAR, 9000))
        return made

    @pytest.fixture
    def unchecked(self, free: Stage, far: str) -> Stage:
        """The router sends what is not its own, so its device has no guard."""
        del free.guards[free.index(ROUTER)]
        free.apply()
        return free

    def test_the_path_mtu_reaches_an_isolated_client(self, unchecked: Stage) -> None:
        unchecked.restrict(CLIENT, ingress=[], egress=[allow(1, UDP)])
        with closing(self.datagram(unchecked)) as client:
            client.send(bytes(1400))
            time.sleep(PATIENCE)
            with pytest.raises(OSError, match="too long") as caught:
                client.send(bytes(1400))
            assert caught.value.errno == errno.EMSGSIZE
            assert client.getsockopt(socket.IPPROTO_IP, IP_MTU) == 1300

    def test_a_refusal_by_the_far_host_reaches_an_isolated_client(self, unchecked: Stage) -> None:
        unchecked.restrict(CLIENT, ingress=[], egress=[allow(1, UDP)])
        with closing(self.datagram(unchecked)) as client:
            client.send(b"anybody there?")
            with pytest.raises(ConnectionRefusedError):
                client.recv(100)
