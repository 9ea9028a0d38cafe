"""Failures made on purpose, on live traffic: each is told once, with its reason; healthy traffic tells none.

`REMORA_HEALTHY_SECONDS` says how long the healthy load runs: 10 by default, 600 before a release.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.integration.truth import HEALTHY_SECONDS, Range, shooting_range

OPEN, RESETTING, FULL, CLOSED, FILTERED, SLOW = 8080, 8081, 8082, 8083, 8084, 8085
NOWHERE = "198.51.100.7"  # no route leads there

RESETTER = f"""
import socket, struct
server = socket.create_server(("::", {RESETTING}), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    connection.recv(100)
    connection.sendall(b"half of it")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
"""
DEAF = f"""
import socket, time
server = socket.create_server(("0.0.0.0", {FULL}), backlog=1)
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("0.0.0.0", 53))
print("ready", flush=True)
time.sleep(1000)
"""
SHOP = f"""
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import time
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(0.3 if self.path == "/slow" else 0)
        body = b"x" * 20000
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 1024
server = Server(("0.0.0.0", {OPEN}), Handler)
print("ready", flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def shooting(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Range]:
    with shooting_range(tmp_path_factory.mktemp("agent")) as built:
        for code in (RESETTER, DEAF, SHOP):
            built.serve(code, "server")
        yield built


def connect(address: str, port: int, timeout: float = 3.0, times: int = 1) -> str:
    """A client that connects and says how that went."""
    return f"""
import socket
kept = []
for _ in range({times}):
    s = socket.socket(socket.AF_INET6 if ":" in {address!r} else socket.AF_INET)
    s.settimeout({timeout})
    try:
        s.connect(({address!r}, {port}))
        kept.append(s)
        print("connected")
    except OSError as error:
        print(type(error).__name__)
        s.close()
"""


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("client", ["client", "node"])
def test_a_closed_port_refuses(shooting: Range, client: str, family: int) -> None:
    port = CLOSED + 100 * family + (client == "node")
    server = shooting.address("server", family)
    assert shooting.run(connect(server, port), client) == "ConnectionRefusedError"
    assert shooting.told(port, server, 1) == [("refused", "")]


@pytest.mark.parametrize("client", ["client", "node"])
def test_a_silent_drop_by_nftables_is_told_with_the_kernels_reason(shooting: Range, client: str) -> None:
    port, server = FILTERED + 10 * (client == "node"), shooting.address("server")
    for family in ("bridge", "inet"):
        shooting.nft(f"add table {family} cut")
    shooting.nft("add chain inet cut out { type filter hook output priority 0; }")
    shooting.nft(f"add rule inet cut out tcp dport {port} drop")
    shooting.nft("add chain bridge cut forward { type filter hook forward priority 0; }")
    shooting.nft(f"add rule bridge cut forward ip protocol tcp tcp dport {port} drop")
    assert shooting.run(connect(server, port), client) == "TimeoutError"
    assert shooting.told(port, server, 1) == [("kernel-drop", "NETFILTER_DROP")]


@pytest.mark.parametrize("client", ["client", "node"])
def test_what_vanishes_out_of_this_kernels_sight_has_timed_out(shooting: Range, client: str) -> None:
    """An address on the link that nobody holds, with a neighbour entry: the bridge floods, nobody answers."""
    port, nobody = 9100 + (client == "node"), "10.244.1.99"
    namespaces = {"client": shooting.node.spaces["client"].namespace, "node": shooting.node.name}
    device = "eth0" if client == "client" else "workloads"
    neighbour = ["ip", "neigh", "replace", nobody, "lladdr", "02:00:00:00:00:99", "dev", device, "nud", "permanent"]
    subprocess.run(["ip", "netns", "exec", namespaces[client], *neighbour], check=True)
    assert shooting.run(connect(nobody, port), client) == "TimeoutError"
    assert shooting.told(port, nobody, 1) == [("timed-out", "")]


def test_without_a_route_the_answer_is_unreachable(shooting: Range) -> None:
    assert shooting.run(connect(NOWHERE, 80)) == "OSError"
    assert shooting.told(80, NOWHERE, 1) == [("unreachable", "DestinationUnreachable(Net)")]


def test_the_nodes_own_process_without_a_route_sends_nothing_and_is_told(shooting: Range) -> None:
    assert shooting.run(connect(NOWHERE, 81), "node") == "OSError"
    assert shooting.told(81, NOWHERE, 1) == [("no-route", "")]


@pytest.mark.parametrize("client", ["client", "node"])
def test_a_full_accept_queue_is_told_as_such(shooting: Range, client: str) -> None:
    server = shooting.address("server")
    before = len(shooting.failures(FULL, server))
    words = shooting.run(connect(server, FULL, 2.5, times=4), client).split()
    lost = words.count("TimeoutError")
    assert lost
    assert shooting.told(FULL, server, before + lost)[before:] == [("accept-queue-full", "TCP_LISTEN_OVERFLOW")] * lost


@pytest.mark.parametrize("client", ["client", "node"])
def test_a_reset_in_the_middle_is_no_refusal(shooting: Range, client: str) -> None:
    server = shooting.address("server")
    before = len(shooting.failures(RESETTING, server))
    shooting.run(
        f"""
import socket, time
s = socket.create_connection(({server!r}, {RESETTING}))
s.sendall(b"give me all of it")
time.sleep(0.2)
try:
    s.recv(10000)
    assert s.recv(10000) and False
except ConnectionResetError:
    pass
""",
        client,
    )
    assert shooting.told(RESETTING, server, before + 1)[before:] == [("reset", "")]


@pytest.mark.parametrize(("family", "words"), [(4, "Port"), (6, "PortUnreachable")])
def test_a_closed_udp_port_is_told_of_the_flow_that_it_concerns(shooting: Range, family: int, words: str) -> None:
    server = shooting.address("server", family)
    shooting.run(f"""
import socket, time
s = socket.socket(socket.AF_INET if {family} == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
s.connect(({server!r}, 9999))
for _ in range(3):
    try:
        s.send(b"anybody?")
    except ConnectionRefusedError:
        pass
    time.sleep(0.1)
""")
    assert shooting.told(9999, server, 1) == [("refused", f"DestinationUnreachable({words})")]


def test_a_query_that_nobody_answers_is_told_once(shooting: Range) -> None:
    server = shooting.address("server")
    shooting.run(f"""
import dns.message, socket, time
query = dns.message.make_query("lost.example.", "A").to_wire()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(2):
    s.sendto(query, ({server!r}, 53))
    time.sleep(0.5)
time.sleep(6)
""")
    assert shooting.told(53, server, 1) == [("no-answer", "")]
    flows = shooting.agent.flows("--all", "--protocol", "dns")
    assert any("lost.example. A; Failed: no-answer" in flow["Summary"] for flow in flows), flows


def test_errors_and_slowness_of_an_application_are_in_its_answers_and_no_failures(shooting: Range) -> None:
    server = shooting.address("server")
    shooting.run(f"""
import http.client
c = http.client.HTTPConnection({server!r}, {OPEN})
for path in ("/broken", "/slow"):
    c.request("GET", path)
    c.getresponse().read()
c.close()
""")
    flows = shooting.agent.until(lambda: (found := shooting.agent.flows("--all", "--protocol", "http"))[3:] and found)
    answers = {flow["l7"]["http"]["url"].rpartition("/")[2]: flow["l7"] for flow in flows if flow.get("is_reply")}
    assert answers["broken"]["http"]["code"] == 500
    assert answers["slow"]["http"]["code"] == 200
    assert 300 <= int(answers["slow"]["latency_ns"]) / 1e6 < 500
    assert shooting.failures(OPEN, server) == []


HEALTHY = """
import http.client, random, socket, struct, sys, time
server, port, until = sys.argv[1], int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
requests = 0
while time.monotonic() < until:
    kind = random.randrange(6)
    connection = http.client.HTTPConnection(server, port, timeout=10)
    if kind == 0:  # keep-alive
        for _ in range(5):
            connection.request("GET", "/")
            connection.getresponse().read()
    elif kind == 1:  # closed before the answer
        connection.request("GET", "/slow")
    elif kind == 2:  # reset by a client that has what it wanted, with data unread
        connection.request("GET", "/")
        connection.getresponse().read(10)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif kind == 3:  # gives up before the handshake is done
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex((server, port))
        s.close()
    elif kind == 4:  # a look at the port
        socket.create_connection((server, port)).close()
    else:
        connection.request("GET", "/slow" if random.random() < 0.1 else "/")
        connection.getresponse().read()
    connection.close()
    requests += 1
    time.sleep(0.005)
print(requests)
"""


def test_healthy_traffic_has_no_failures(shooting: Range) -> None:
    before = shooting.failed()
    server = shooting.address("server")
    script = HEALTHY.replace("sys.argv[1]", repr(server)).replace("sys.argv[2]", str(OPEN))
    script = script.replace("sys.argv[3]", str(HEALTHY_SECONDS))
    assert min(int(count) for count in shooting.run_all(script, ("client", "node"))) > 10
    time.sleep(12)
    assert shooting.failed() == before, shooting.failures(OPEN, server)


def test_failures_are_counted_where_no_record_is_left_to_tell_them(shooting: Range) -> None:
    before = shooting.failed()
    shooting.run(connect(shooting.address("server"), 9300))
    wanted = before + Counter({"refused": 1})
    shooting.agent.until(lambda: shooting.failed() == wanted)
