"""What an operator asks of a running agent: one Service closely, the way of an address, whether the maps are right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.cli import main
from ebpf import addresses
from ebpf.libbpf import MapType
from ebpf.maps import HashMap, MapSpec
from tests.integration import shop as manifests
from tests.support.agent import ROOT, AgentProcess, agent_on
from tests.support.layouts import dtype
from tests.support.netns import TestNode, node

PYTHON = {"PYTHONPATH": str(ROOT)}
VIP, LOCAL_VIP, EMPTY_VIP = "10.96.0.20", "10.96.0.30", "10.96.0.40"
PORT, NODE_PORT, CHECK_PORT = 8080, 30080, 31999


@dataclass
class Town:
    """A node with a client and two backends, and an agent on it."""

    node: TestNode
    agent: AgentProcess

    def address(self, workload: str) -> str:
        return str(self.node.spaces[workload].addresses[0].ip)

    def fetch(self, url: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of what the node itself answers."""
        code = f"""
import json, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen({url!r}, timeout=3)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, dict(answer.headers), answer.read().decode()]))
"""
        status, headers, body = json.loads(self.node.output([sys.executable, "-c", code]))
        return status, headers, body

    def table(self, name: str) -> HashMap:
        """A map of the agent, opened by somebody else."""
        key, value = {"services": ("frontend_key", "frontend"), "backends": ("backend_key", "backend")}[name]
        (path,) = self.agent.pins.glob(f"maps-*/{name}")
        return HashMap(MapSpec(name, MapType.HASH, dtype(key), dtype(value), 1024), path)


def objects(town: Town) -> str:
    """Services: backend (all kinds of frontends), pinned (policy Local, none here), empty."""
    first, second = town.address("backend-0"), town.address("backend-1")
    backend = manifests.service("backend", [VIP], 80, PORT)
    backend["spec"] |= {
        "type": "LoadBalancer",
        "externalIPs": ["192.0.2.9"],
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": CHECK_PORT,
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}},
    }
    backend["spec"]["ports"][0]["nodePort"] = NODE_PORT
    backend["status"] = {"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}}
    slice_ = manifests.endpoint_slice("backend", [first, second], PORT)
    slice_["endpoints"][0] |= {"nodeName": "node-1", "zone": "a"}
    slice_["endpoints"][1] |= {"nodeName": "node-2"}
    slice_["endpoints"] += [
        {"addresses": ["10.244.9.1"], "conditions": {"ready": False}, "nodeName": "node-3"},
        {
            "addresses": ["10.244.9.2"],
            "conditions": {"ready": False, "serving": True, "terminating": True},
            "nodeName": "node-3",
        },
    ]
    pinned = manifests.service("pinned", [LOCAL_VIP], 80, PORT)
    pinned["spec"]["internalTrafficPolicy"] = "Local"
    elsewhere = manifests.endpoint_slice("pinned", ["10.244.9.3"], PORT)
    elsewhere["endpoints"][0]["nodeName"] = "node-2"
    pods = [manifests.pod(name, [town.address(name)]) for name in ("client", "backend-0", "backend-1")]
    empty = manifests.service("empty", [EMPTY_VIP], 80, PORT)
    return manifests.dump(*pods, backend, slice_, pinned, elsewhere, empty)


@pytest.fixture(scope="module")
def town(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    addresses_ = {"healthz_address": "127.0.0.1:10256", "proxymode_address": "127.0.0.1:10249"}
    with node() as made, agent_on(made, tmp_path_factory.mktemp("agent"), **addresses_) as agent:
        built = Town(made, agent)
        for workload in ("client", "backend-0", "backend-1"):
            made.add(workload)
        for number in range(2):
            argv = [sys.executable, "-m", "daemon.demo.web", str(PORT), "0"]
            server = made.popen(argv, f"backend-{number}", stdout=subprocess.PIPE, environment=PYTHON)
            assert server.stdout
            assert server.stdout.readline()
        (agent.manifests / "shop.yaml").write_text(objects(built))
        agent.start()
        agent.until(lambda: len([e for e in agent.json("endpoint", "list")["endpoints"] if e.get("ifindex")]) >= 3)
        yield built


def test_the_list_names_every_frontend_by_its_kind(town: Town) -> None:
    listed = town.agent.json("service", "list")["services"]
    own = [one for one in listed if one["name"] == "backend"]
    outer = {
        "ExternalIP": ("192.0.2.9", 80),
        "LoadBalancer": ("198.51.100.7", 80),
        "NodePort": ("0.0.0.0", NODE_PORT),
    }
    assert {one["type"]: (one["address"], one["port"]) for one in own} == {
        "ClusterIP": (VIP, 80),
        **outer,
        **{f"{kind} from outside": place for kind, place in outer.items()},
    }
    backends = {one["type"]: [to.get("workload") for to in one["backends"]] for one in own}
    assert backends["NodePort"] == ["shop/backend-0", "shop/backend-1"]
    assert backends["NodePort from outside"] == ["shop/backend-0"], "the policy is Local, and the other is elsewhere"


def test_a_service_is_told_with_state_node_and_live_connections(town: Town) -> None:
    code = f"""
import socket, time
kept = [socket.create_connection(({VIP!r}, 80), timeout=3) for _ in range(5)]
print("ready", flush=True)
time.sleep(60)
"""
    holding = town.node.popen([sys.executable, "-c", code], "client", stdout=subprocess.PIPE)
    assert holding.stdout
    assert holding.stdout.readline() == b"ready\n"

    def told() -> Any:
        (one,) = town.agent.json("service", "get", "backend", "-n", "shop")["services"]
        return one

    one = town.agent.until(lambda: next((found for found in [told()] if _connections(found) == 5), None))
    assert (one["type"], one["algorithm"], one["affinity_seconds"]) == ("LoadBalancer", "random", 600)
    assert (one["internal_policy"], one["external_policy"]) == ("Cluster", "Local")
    balanced, from_outside = one["balanced"]
    assert [place["kind"] for place in from_outside["frontends"]] == [
        f"{kind} from outside" for kind in ("ExternalIP", "LoadBalancer", "NodePort")
    ]
    states = {each["workload"]: (each["state"], each["node"], each.get("zone")) for each in balanced["backends"]}
    assert states == {"shop/backend-0": ("ready", "node-1", "a"), "shop/backend-1": ("ready", "node-2", None)}
    reasons = {each["address"]: each["reasons"] for each in balanced["others"]}
    assert reasons == {
        "10.244.9.1": ["not ready"],
        "10.244.9.2": ["terminating: used only while none is ready"],
    }
    holding.kill()
    town.agent.until(lambda: _connections(told()) == 0)
    text = town.agent.remora("service", "get", "shop/backend")
    assert "NodePort" in text
    assert "600 s for a client" in text


def _connections(one: Any) -> int:
    return sum(int(each.get("connections", 0)) for balanced in one["balanced"] for each in balanced["backends"])


def test_a_service_that_does_not_exist_is_said_to(town: Town) -> None:
    assert town.agent.remora("service", "get", "nobody", ok=(1,)) == ""


@pytest.mark.parametrize(
    ("place", "rule", "verdict"),
    [
        (f"{VIP}:80", "exact", "balanced"),
        ("198.51.100.7:80/tcp", "exact", "balanced"),
        (f"{VIP}:81", "refused", "refused"),
        (f"{VIP}:80/UDP", "refused", "refused"),
        (f"{EMPTY_VIP}:80", "exact", "refused"),
        (f"{LOCAL_VIP}:80", "exact", "dropped"),
        ("127.0.0.1:30080", "node address", "balanced"),
        ("203.0.113.1:80", "none", "untouched"),
        ("[fd00::1]:80", "none", "untouched"),
    ],
)
def test_the_explanation_agrees_with_the_sockets(town: Town, place: str, rule: str, verdict: str) -> None:
    found = town.agent.json("service", "explain", place)
    assert (found["rule"], found["verdict"]) == (rule, verdict)


def test_node_ports_are_explained_under_the_nodes_own_addresses(town: Town) -> None:
    own = next(
        address
        for one in town.agent.json("endpoint", "list")["endpoints"]
        if one["name"] == "host"
        for address in one["addresses"]
        if ":" not in address
    )
    found = town.agent.json("service", "explain", f"{own}:{NODE_PORT}", "--from", "shop/client")
    assert (found["rule"], found["frontend"]["kind"]) == ("node address", "NodePort")
    assert {one["workload"] for one in found["eligible"]} == {"shop/backend-0", "shop/backend-1"}
    text = town.agent.remora("service", "explain", f"{own}:{NODE_PORT}")
    assert "a backend is drawn at random from 2 of 4 endpoints" in text
    assert "until 600 s after its last connection" in text


def test_the_backend_that_a_client_stays_with_is_explained(town: Town) -> None:
    fresh = town.agent.json("service", "explain", f"{VIP}:80", "--from", "host")["notes"]
    assert "host stays with none: a backend will be drawn" in fresh
    code = f"import socket; print(socket.create_connection(({VIP!r}, 80), 5).getpeername()[0])"
    assert town.node.output([sys.executable, "-c", code], "client").strip() == VIP
    notes = town.agent.json("service", "explain", f"{VIP}:80", "--from", "shop/client")["notes"]
    (own,) = (note for note in notes if note.startswith("shop/client stays with"))
    backend, seconds = re.fullmatch(r"shop/client stays with (\S+) for another (\d+) s", own).groups()
    assert 590 <= int(seconds) <= 600
    assert any(note.startswith("clients that stay with a backend now: ") and backend in note for note in notes)


def test_a_workloads_loopback_has_no_node_ports(town: Town) -> None:
    found = town.agent.json("service", "explain", f"127.0.0.1:{NODE_PORT}", "--from", "client")
    assert found["verdict"] == "untouched"


def test_a_dropping_service_says_where_its_endpoints_are(town: Town) -> None:
    (other,) = town.agent.json("service", "explain", f"{LOCAL_VIP}:80")["others"]
    assert other["reasons"] == ["on node node-2: policy Local takes those of node-1 only"]


def test_verify_agrees_with_a_kernel_that_nobody_touched(town: Town) -> None:
    assert "the kernel agrees with the objects" in town.agent.remora("verify")


def test_verify_shows_what_somebody_changed_in_the_maps_and_the_exit_code_says_so(town: Town) -> None:
    services, backends = town.table("services"), town.table("backends")
    keys, values = services.items()
    slots, held = backends.items()
    vip = (keys["addr"] == np.frombuffer(addresses.pack(VIP), np.uint32)).all(axis=1) & (keys["port"] != 0)
    number = int(values["service"][vip][0])
    slot = slots["service"] == number
    stranger = np.zeros(1, services.key_dtype)
    stranger["addr"], stranger["port"], stranger["proto"] = np.frombuffer(addresses.pack("1.2.3.4"), np.uint32), 80, 6
    try:
        services.delete(keys[vip])
        services.update(stranger, values[vip])
        changed = held[slot].copy()
        changed["addr"][0] = np.frombuffer(addresses.pack("10.9.9.9"), np.uint32)
        backends.update(slots[slot], changed)
        backends.delete(slots[slot][1:])
        answer = town.agent.json("verify", ok=(1,))
        seen = {(one["map"], one["kind"], one["place"]) for one in answer["differences"]}
        assert ("services", "missing", f"{VIP}:80/TCP") in seen
        assert ("services", "extra", f"1.2.3.4:{int.from_bytes((80).to_bytes(2, sys.byteorder))}/TCP") in seen
        slots_told = {one["kind"]: one for one in answer["differences"] if one["map"] == "backends"}
        assert slots_told["different"]["found"] == f"10.9.9.9:{PORT}"
        assert slots_told["missing"]["service"] == "shop/backend:main"
        text = town.agent.remora("verify", ok=(1,))
        assert "the kernel differs from the objects in 4 places" in text
    finally:
        services.delete(stranger)
        services.update(keys[vip], values[vip])
        backends.update(slots[slot], held[slot])
    assert "agrees" in town.agent.remora("verify")


def test_health_is_answered_as_kube_proxy_does(town: Town) -> None:
    status, _, body = town.fetch("http://127.0.0.1:10256/healthz")
    told = json.loads(body)
    assert (status, told["nodeEligible"], told["healthy"]) == (200, True, True)
    assert {"lastUpdated", "currentTime"} <= told.keys()
    assert town.fetch("http://127.0.0.1:10256/livez?verbose")[0] == 200
    assert town.fetch("http://127.0.0.1:10256/other")[0] == 404
    assert town.fetch("http://127.0.0.1:10249/proxyMode")[2] == "ebpf"


def test_the_health_check_port_follows_the_service(town: Town) -> None:
    url = f"http://127.0.0.1:{CHECK_PORT}/any/path"
    status, headers, body = town.fetch(url)
    assert (status, headers["X-Load-Balancing-Endpoint-Weight"]) == (200, "1")
    assert json.loads(body) == {
        "service": {"namespace": "shop", "name": "backend"},
        "localEndpoints": 1,
        "serviceProxyHealthy": True,
    }
    file = town.agent.manifests / "shop.yaml"
    good = file.read_text()
    try:
        file.write_text(good.replace("nodeName: node-1", "nodeName: node-9"))
        town.agent.until(lambda: town.fetch(url)[0] == 503)
        file.write_text(good.replace("externalTrafficPolicy: Local", "externalTrafficPolicy: Cluster"))
        town.agent.until(lambda: _refused(town, url))
    finally:
        file.write_text(good)
    town.agent.until(lambda: not _refused(town, url) and town.fetch(url)[0] == 200)


def _refused(town: Town, url: str) -> bool:
    port = urllib.parse.urlsplit(url).port
    code = f"import socket; s = socket.socket(); print(s.connect_ex(('127.0.0.1', {port})))"
    return town.node.output([sys.executable, "-c", code]).strip() == "111"


def test_metrics_have_the_names_that_dashboards_know_and_pass_the_linter(town: Town) -> None:
    scraped = town.fetch("http://127.0.0.1:9965/metrics")[2]
    for name in (
        "kubeproxy_sync_proxy_rules_duration_seconds_bucket",
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0.0",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total",
        "kubeproxy_sync_proxy_rules_service_changes_total",
        'kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="internal"} 1.0',
        'kubeproxy_proxy_healthz_total{code="200"}',
    ):
        assert name in scraped, name
    try:
        argv = ["promtool", "check", "metrics"]
        checked = subprocess.run(argv, input=scraped, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("promtool is not installed")
    assert checked.returncode == 0, checked.stderr


def test_preflight_needs_no_agent(root: None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main.run(["preflight", "-o", "json"])
    told = json.loads(capsys.readouterr().out)
    assert code == (0 if told["ready"] else 1)
    assert {"BCC", "cgroup v2", "bpffs", "kube-proxy rules", "rp_filter", "NodePort range"} <= {
        one["what"] for one in told["findings"]
    }
    assert all(one["todo"] for one in told["findings"] if one["level"] != "ok")
