"""The whole agent on real traffic: what it shows, what it survives, what it leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration import shop as manifests
from tests.integration.shop import DNS_VIP, PORT, VIP, VIP6
from tests.support.agent import ROOT, AgentProcess, agent_on
from tests.support.netns import TestNode, node

PYTHON = {"PYTHONPATH": str(ROOT)}


@dataclass
class Town:
    """A node with a client, three backends and a name server, and an agent on it."""

    node: TestNode
    agent: AgentProcess

    def serve(self, workload: str, *argv: str) -> None:
        server = self.node.popen([sys.executable, "-m", *argv], workload, stdout=subprocess.PIPE, environment=PYTHON)
        assert server.stdout
        assert server.stdout.readline()

    def client(self, code: str) -> subprocess.Popen[bytes]:
        """Python in the client's namespace, running."""
        return self.node.popen(
            [sys.executable, "-c", code], "client", stdout=subprocess.PIPE, stderr=subprocess.PIPE, environment=PYTHON
        )

    def ask(self, code: str) -> str:
        """What Python in the client's namespace prints."""
        process = self.client(code)
        out, error = process.communicate(timeout=60)
        assert process.returncode == 0, error.decode()
        return out.decode().strip()

    def addresses(self, workload: str) -> list[str]:
        return [str(address.ip) for address in self.node.spaces[workload].addresses]

    def write(self) -> None:
        """The shop's manifests."""
        backends = [self.addresses(f"backend-{number}") for number in range(3)]
        pods = [manifests.pod(f"backend-{number}", both) for number, both in enumerate(backends)]
        dns = self.addresses("dns")
        (self.agent.manifests / "shop.yaml").write_text(
            manifests.dump(
                *pods,
                manifests.pod("client", self.addresses("client")),
                manifests.service("backend", [VIP, VIP6], 80, PORT),
                *(manifests.endpoint_slice("backend", [both[family] for both in backends], PORT) for family in (0, 1)),
            )
        )
        (self.agent.manifests / "dns.yaml").write_text(
            manifests.dump(
                manifests.pod("dns", dns, "kube-system"),
                manifests.service("kube-dns", [DNS_VIP], 53, 53, "kube-system", "UDP"),
                manifests.endpoint_slice("kube-dns", dns[:1], 53, "kube-system", "UDP"),
            )
        )


@pytest.fixture(scope="module")
def town(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with node() as made, agent_on(made, tmp_path_factory.mktemp("agent")) as agent:
        built = Town(made, agent)
        for workload in ("client", "backend-0", "backend-1", "backend-2", "dns"):
            made.add(workload)
        built.write()
        for number in range(3):
            delay = "0.325" if number == 2 else "0"
            built.serve(f"backend-{number}", "daemon.demo.web", str(PORT), delay)
        names = [f"backend.shop.svc.cluster.local={VIP}"]
        dns = made.popen([sys.executable, "-m", "daemon.demo.names", *names], "dns", environment=PYTHON)
        agent.start()
        agent.until(lambda: len([e for e in agent.json("endpoint", "list")["endpoints"] if e.get("ifindex")]) >= 5)
        yield built
        assert dns.poll() is None


@pytest.fixture(autouse=True)
def running(town: Town) -> None:
    """Tests that end the agent leave the next one a running one."""
    if not town.agent.alive:
        town.agent.start()


REQUESTS = f"""
import http.client
for _ in range(12):
    c = http.client.HTTPConnection({VIP!r}, timeout=5)
    c.request("GET", "/api/users", headers={{"Host": "backend"}})
    assert c.getresponse().read()
    c.request("GET", "/missing", headers={{"Host": "backend"}})
    assert c.getresponse().status == 404
    c.close()
"""


def test_requests_through_the_service_are_told_with_names_status_and_latency(town: Town) -> None:
    town.ask(REQUESTS)
    agent = town.agent
    flows = agent.until(lambda: (found := agent.flows("--all", "--protocol", "http"))[47:] and found)
    requests = [flow for flow in flows if flow["l7"]["type"] == "REQUEST"]
    assert {flow["source"]["pod_name"] for flow in requests} == {"client"}
    assert {flow["destination"]["pod_name"] for flow in requests} <= {"backend-0", "backend-1", "backend-2"}
    assert {flow["l7"]["http"]["url"] for flow in requests} == {"http://backend/api/users", "http://backend/missing"}
    assert {flow["destination_service"]["name"] for flow in requests} == {"backend"}
    slow = [
        int(flow["l7"]["latency_ns"]) / 1e6
        for flow in flows
        if flow["l7"]["type"] == "RESPONSE"
        and flow["source"]["pod_name"] == "backend-2"
        and flow["l7"]["http"]["code"] == 200
    ]
    assert all(325 <= latency < 425 for latency in slow), slow
    codes = [flow["l7"]["http"]["code"] for flow in flows if flow["l7"]["type"] == "RESPONSE"]
    assert (codes.count(200), codes.count(404)) == (len(codes) // 2, len(codes) // 2)


def test_each_message_is_told_once_although_both_ends_are_on_this_node(town: Town) -> None:
    since = town.agent.flows("--last", "1")[0]["time"] if town.agent.flows("--last", "1") else "1s"
    town.ask(REQUESTS.replace("range(12)", "range(1)"))
    time.sleep(0.5)
    flows = town.agent.flows("--since", since, "--protocol", "http")
    assert len(flows) == 4, [flow["Summary"] for flow in flows]


def test_the_compact_line_reads_like_hubbles(town: Town) -> None:
    town.ask(REQUESTS.replace("range(12)", "range(1)"))
    time.sleep(0.3)
    lines = town.agent.remora("observe", "--last", "50", "--protocol", "http")
    assert "shop/client:" in lines
    assert "http-request FORWARDED (HTTP/1.1 GET http://backend/api/users)" in lines
    assert "ms (GET http://backend/api/users))" in lines


def test_names_that_are_looked_up_are_told_with_their_answers(town: Town) -> None:
    town.ask(f"""
import dns.message, dns.query
for name in ("backend.shop.svc.cluster.local.", "nobody.shop.svc.cluster.local."):
    dns.query.udp(dns.message.make_query(name, "A"), {DNS_VIP!r}, timeout=3)
""")
    agent = town.agent
    flows = agent.until(lambda: (found := agent.flows("--last", "200", "--protocol", "dns"))[3:] and found)
    summaries = [flow["Summary"] for flow in flows]
    assert any(f'DNS Answer "{VIP}" TTL:' in text and "backend.shop" in text for text in summaries), summaries
    assert any("Non-Existent Domain" in text and "nobody.shop" in text for text in summaries), summaries
    answer = next(flow for flow in flows if flow["l7"]["type"] == "RESPONSE")
    assert answer["source"] | {"namespace": "kube-system", "pod_name": "dns"} == answer["source"]
    assert int(answer["l7"]["latency_ns"]) > 0


def test_flows_name_process_and_service(town: Town) -> None:
    town.ask(REQUESTS.replace("range(12)", "range(1)"))
    time.sleep(0.3)
    records = [
        json.loads(line)
        for line in town.agent.remora("monitor", "--last", "200", "--stored", "-o", "json").splitlines()
    ]
    ours = [one for one in records if one.get("service") and one.get("extra", {}).get("pid")]
    assert ours, records[-3:]
    assert {one["extra"]["comm"] for one in ours} <= {"python3", "python"}


def test_a_refused_connection_is_seen_as_reset(town: Town) -> None:
    backend = town.addresses("backend-0")[0]
    town.ask(f"""
import socket
s = socket.socket()
assert s.connect_ex(({backend!r}, 81)) == 111
""")
    agent = town.agent
    flows = agent.until(lambda: agent.flows("--last", "100", "--port", "81", "--tcp-flags", "RST"))
    assert flows[-1]["source"]["pod_name"] == "backend-0"


def test_a_killed_agent_fails_no_connection_and_comes_back_without_compiling(town: Town) -> None:
    load = town.client(f"""
import socket, time
start, done, failed = time.monotonic(), 0, 0
while (elapsed := time.monotonic() - start) < 8:
    if done > elapsed * 2000:
        time.sleep(0.001)
        continue
    try:
        with socket.create_connection(({VIP!r}, 80), timeout=3):
            pass
    except OSError as error:
        failed += 1
        print(error, flush=True)
    done += 1
print(done, failed)
""")
    time.sleep(2)
    town.agent.kill()
    killed = datetime.now(UTC)
    time.sleep(1)
    town.agent.start()
    started = time.time()
    out, error = load.communicate(timeout=30)
    done, failed = map(int, out.decode().split()[-2:])
    assert failed == 0, out.decode()
    assert done > 8_000, f"the load came to {done} connections in 8 s only; {error.decode()}"
    status = town.agent.status()
    assert status["origin"] == "reused"
    recent = town.agent.flows("--since", f"{max(1, int(time.time() - started))}s", "--port", str(PORT), "--last", "100")
    assert recent, "flows did not resume"
    gap = [moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for moment in (killed, killed + timedelta(seconds=0.1))]
    meanwhile = town.agent.flows("--since", gap[0], "--until", gap[1], "--port", str(PORT))
    assert meanwhile, "what happened while no agent ran waits in the ring buffer"
    lost = next(one for one in town.agent.status()["counters"] if one["name"] == "flow_lost")
    told = next(one for one in town.agent.status()["losses"] if one["where"] == "flow ring")
    assert int(lost.get("value", 0)) == int(told.get("count", 0))


def test_a_stopped_agent_leaves_services_working(town: Town) -> None:
    assert town.agent.terminate() == 0
    assert town.ask(REQUESTS.replace("range(12)", "range(3)")) == ""
    town.agent.remora("status", ok=(3,))


def test_a_broken_file_keeps_the_last_good_version_and_is_named_with_its_line(town: Town) -> None:
    file, agent = town.agent.manifests / "shop.yaml", town.agent
    good = file.read_text()
    try:
        file.write_text(good + "\n---\nkind: Service\n  metadata: [\n")
        status = agent.until(lambda: (found := agent.status())["sources"][0].get("problems") and found)
        problem = status["sources"][0]["problems"][0]
        assert problem["file"].endswith("/shop.yaml")
        assert problem["line"] > good.count("\n")
        assert status["health"] == "HEALTH_DEGRADED"
        assert town.ask(REQUESTS.replace("range(12)", "range(1)")) == ""
        assert "shop.yaml" in agent.remora("status", ok=(1,))
    finally:
        file.write_text(good)
    agent.until(lambda: agent.status()["health"] == "HEALTH_OK")


def test_odd_objects_are_noted_and_stop_nothing(town: Town) -> None:
    file, agent = town.agent.manifests / "odd.yaml", town.agent
    portless = manifests.service("portless", ["10.96.0.77"], 80, 80)
    portless["spec"]["ports"] = []
    stray = manifests.endpoint_slice("nowhere", ["10.244.1.99"], 80)
    file.write_text(manifests.dump(portless, stray, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}))
    try:
        notes = agent.until(lambda: agent.status()["sources"][0].get("notes"))
        text = json.dumps(notes)
        assert "portless" in text
        assert "nowhere" in text
        assert agent.status()["health"] == "HEALTH_OK"
        assert town.ask(REQUESTS.replace("range(12)", "range(1)")) == ""
    finally:
        file.unlink()


def test_services_follow_their_files(town: Town) -> None:
    file, agent = town.agent.manifests / "late.yaml", town.agent
    backend = town.addresses("backend-0")[0]
    code = """
import socket
s = socket.socket(); s.settimeout(1)
print(s.connect_ex(("10.96.0.88", 80)))
"""
    file.write_text(
        manifests.dump(
            manifests.service("late", ["10.96.0.88"], 80, PORT), manifests.endpoint_slice("late", [backend], PORT)
        )
    )
    agent.until(lambda: town.ask(code) == "0")
    listed = next(one for one in agent.json("service", "list")["services"] if one["name"] == "late")
    assert listed["backends"][0]["workload"] == "shop/backend-0"
    file.unlink()
    agent.until(lambda: "late" not in agent.remora("service", "list"))
    assert town.ask(code) != "0"


def test_a_workload_that_comes_later_is_watched_and_one_that_goes_is_forgotten(town: Town) -> None:
    space = town.node.add("late")
    agent = town.agent
    try:
        agent.until(lambda: space.device in agent.remora("endpoint", "list"))
        found = next(one for one in agent.json("endpoint", "list")["endpoints"] if one.get("device") == space.device)
        assert found["name"] == space.namespace
    finally:
        town.node.drop("late")
    agent.until(lambda: space.device not in agent.remora("endpoint", "list"))


def test_garbage_on_the_ports_of_dns_and_http_harms_nothing(town: Town) -> None:
    agent, backend, dns = town.agent, town.addresses("backend-0")[0], town.addresses("dns")[0]
    town.ask(f"""
import random, socket
random.seed(7)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(2000):
    udp.sendto(random.randbytes(random.randrange(1, 600)), ({dns!r}, 53))
for start in (b"GET ", b"HTTP/1.1 ", b"POST /\\x00\\xff", b"OPTIONS * HTTP/9.9\\r\\n"):
    for _ in range(50):
        with socket.create_connection(({backend!r}, {PORT})) as tcp:
            tcp.sendall(start + random.randbytes(random.randrange(1, 900)))
""")
    assert agent.alive
    assert "Traceback" not in agent.log
    assert town.ask(REQUESTS.replace("range(12)", "range(1)")) == ""
    assert agent.status()["health"] == "HEALTH_OK"


def test_a_real_prometheus_scrapes_and_finds_the_requests(town: Town, tmp_path: Path) -> None:
    town.ask(REQUESTS.replace("range(12)", "range(2)"))
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs: [{job_name: remora, static_configs: [{targets: ['127.0.0.1:9965']}]}]\n"
    )
    argv = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path}",
        "--web.listen-address=127.0.0.1:9090",
    ]
    try:
        town.node.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        pytest.skip("prometheus is not installed")

    def query(text: str) -> list[dict[str, object]]:
        code = f"""
import json, urllib.parse, urllib.request
url = "http://127.0.0.1:9090/api/v1/query?" + urllib.parse.urlencode({{"query": {text!r}}})
try:
    print(json.dumps(json.load(urllib.request.urlopen(url, timeout=3))["data"]["result"]))
except OSError:
    print("[]")
"""
        return list(json.loads(town.node.output([sys.executable, "-c", code])))

    up = town.agent.until(lambda: [one for one in query("up") if one["value"][1] == "1"], 30)  # type: ignore[index]
    assert up
    found = town.agent.until(lambda: query('hubble_http_requests_total{destination_namespace="shop",status="200"}'), 15)
    assert found
    assert query("remora_datapath_events_total")
    assert query("remora_kernel_drops_total")


def test_metrics_pass_promtool(town: Town) -> None:
    scraped = town.node.output(
        [
            sys.executable,
            "-c",
            "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9965/metrics').read().decode())",
        ]
    )
    try:
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=scraped, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("promtool is not installed")
    assert checked.returncode == 0, checked.stderr


def test_cleanup_while_the_agent_runs_is_refused(town: Town) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli.main", "cleanup", "--config", str(town.agent.folder / "config.yaml")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "another agent holds" in done.stderr
    assert town.agent.alive
