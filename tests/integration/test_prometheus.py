"""Dashboards, alerts and rules against a real Prometheus that scrapes a real agent with real traffic."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.demo.cgroups import Cgroup
from ebpf import libbpf
from tests.integration import shop as manifests
from tests.integration.shop import DNS_VIP, PORT, VIP
from tests.support import bustle
from tests.support.agent import ROOT, AgentProcess, agent_on
from tests.support.netns import TestNode, node, unique

DEPLOY = ROOT / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
RULES = sorted((DEPLOY / "prometheus").glob("*.y*ml"))
EMPTY_VIP = "10.96.0.30"
METRICS, PROMETHEUS = "http://127.0.0.1:9965/metrics", "http://127.0.0.1:9090"
PATIENCE = 40.0  # s until rates have two samples and all traffic has come round
WINDOW = "10s"
LOSSY = (  # one of ten answers is lost on its way, so that servers send again
    "add table inet lossy",
    "add chain inet lossy input { type filter hook input priority 0; }",
    f"add rule inet lossy input tcp sport {PORT} tcp flags & (syn | fin | rst) == 0 numgen inc mod 10 0 drop",
)

# What Hubble's own dashboards ask for, in our wording: metric, selection, labels that it is summed by.
STOCK = [
    ("hubble_flows_processed_total", "", "pod, type"),
    ("hubble_flows_processed_total", 'type="L7"', "pod, subtype"),
    ("hubble_flows_processed_total", 'type="Trace"', "pod, subtype"),
    ("hubble_flows_processed_total", "", "pod, verdict"),
    ("hubble_flows_processed_total", 'cluster=~".+",source_namespace="shop"', "source"),
    ("hubble_flows_processed_total", 'destination_namespace="shop"', "destination"),
    ("hubble_drop_total", "", "pod, reason"),
    ("hubble_drop_total", 'source_namespace="shop"', "source, reason"),
    ("hubble_drop_total", "", "pod, destination"),
    ("hubble_port_distribution_total", "", "pod, protocol"),
    ("hubble_port_distribution_total", 'port!="0"', "pod, port, protocol"),
    ("hubble_tcp_flags_total", 'family="IPv4"', "pod, flag"),
    ("hubble_tcp_flags_total", 'family="IPv6"', "pod, flag"),
    ("hubble_icmp_total", 'family="IPv4",type="EchoRequest"', "pod, type"),
    ("hubble_icmp_total", 'family="IPv4",type="EchoReply"', "pod, type"),
    ("hubble_icmp_total", 'family="IPv6",type="EchoRequest"', "pod, type"),
    ("hubble_http_requests_total", "", "pod, method"),
    ("hubble_http_requests_total", "", "pod, protocol"),
    ("hubble_http_requests_total", 'reporter="client",destination_workload=~"backend.*"', "source_workload"),
    ("hubble_http_requests_total", 'status!~"5.*"', "cluster, destination_namespace"),
    ("hubble_http_responses_total", "", "pod, status"),
    ("hubble_http_request_duration_seconds_bucket", 'destination_namespace="shop"', "le, destination_workload"),
    ("hubble_dns_queries_total", "", "pod, qtypes"),
    ("hubble_dns_queries_total", 'source_namespace="shop"', "query, qtypes"),
    ("hubble_dns_responses_total", 'rcode="No Error"', "pod, ips_returned"),
    ("hubble_dns_responses_total", 'rcode!="No Error"', "pod, qtypes, rcode"),
    ("hubble_dns_responses_total", 'rcode!="No Error"', "pod, destination"),
    ("hubble_dns_response_types_total", "", "pod, type"),
    ("hubble_policy_verdicts_total", 'source_namespace="shop"', "direction, match, action"),
]


@dataclass
class Watched:
    """An agent with traffic, and a Prometheus that scrapes it, on one node."""

    node: TestNode
    agent: AgentProcess

    def get(self, url: str, **headers: str) -> tuple[str, bytes]:
        """Content type and body of what the node answers."""

        def ask() -> tuple[str, bytes]:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
                return answer.headers.get("Content-Type", ""), answer.read()

        return self.node.run(ask)

    def api(self, path: str, **arguments: str) -> Any:
        """The data of an answer of Prometheus' API; fails with its words where it refuses."""
        try:
            answer = json.loads(self.get(f"{PROMETHEUS}/api/v1/{path}?{urllib.parse.urlencode(arguments)}")[1])
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        assert answer["status"] == "success"
        return answer["data"]

    def query(self, text: str) -> list[dict[str, Any]]:
        return list(self.api("query", query=text)["result"])

    def missing(self, queries: list[str]) -> list[str]:
        """Those that have no data, after as long as it may take."""
        deadline = time.monotonic() + PATIENCE
        while (without := [text for text in queries if not self.query(text)]) and time.monotonic() < deadline:
            time.sleep(1)
        return without


@pytest.fixture(scope="module")
def watched(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed: tools/setup dev brings it")
    folder = tmp_path_factory.mktemp("agent")
    with ExitStack() as stack:
        made = stack.enter_context(node())
        agent = stack.enter_context(agent_on(made, folder, report_interval=1))
        stranger = stack.enter_context(Cgroup(unique("stranger")))
        stack.callback(os.close, libbpf.enable_statistics())
        built = Watched(made, agent)
        for workload in ("client", "backend-0", "dns"):
            made.add(workload)
        for command in LOSSY:
            made.output(["nft", command], "client")
        _write(built)
        agent.start()
        agent.until(lambda: sum(bool(one.get("ifindex")) for one in agent.json("endpoint", "list")["endpoints"]) >= 3)
        _start(built, stranger)
        _start_prometheus(built, tmp_path_factory.mktemp("prometheus"))
        yield built


def _addresses(built: Watched, workload: str) -> list[str]:
    return [str(address.ip) for address in built.node.spaces[workload].addresses]


def _write(built: Watched) -> None:
    backend, dns = _addresses(built, "backend-0"), _addresses(built, "dns")
    objects = (
        manifests.pod("client", _addresses(built, "client")),
        manifests.pod("backend-0", backend),
        manifests.pod("dns", dns, "kube-system"),
        manifests.service("backend", [VIP], 80, PORT),
        manifests.endpoint_slice("backend", backend[:1], PORT),
        manifests.service("empty", [EMPTY_VIP], 9, 9, protocol="UDP"),
        manifests.service("kube-dns", [DNS_VIP], 53, 53, "kube-system", "UDP"),
        manifests.endpoint_slice("kube-dns", dns[:1], 53, "kube-system", "UDP"),
    )
    (built.agent.manifests / "shop.yaml").write_text(manifests.dump(*objects))


def _start(built: Watched, stranger: Cgroup) -> None:
    """Servers, a client through the socket programs and, for what is dropped per packet, one beside them."""
    python = {"PYTHONPATH": str(ROOT)}
    servers = ("backend-0", "web", str(PORT), "0.01"), ("dns", "names", f"backend.shop.svc={VIP},fd00::1")
    for workload, module, *arguments in servers:
        argv = [sys.executable, "-m", f"daemon.demo.{module}", *arguments]
        server = built.node.popen(argv, workload, stdout=subprocess.PIPE, environment=python)
        assert server.stdout
        assert server.stdout.readline()
    client = [sys.executable, bustle.__file__, VIP, EMPTY_VIP, DNS_VIP, *_addresses(built, "backend-0")]
    for cgroup in (None, stranger.path):
        built.node.popen(client, "client", cgroup=cgroup, environment=python)


def _start_prometheus(built: Watched, folder: Path) -> None:
    target = {"targets": ["127.0.0.1:9965"], "labels": {"pod": "remora-1", "cluster": "test"}}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in RULES if path.name != "tests.yaml"],
        "scrape_configs": [{"job_name": "remora", "static_configs": [target]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    argv = [
        "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}",
        "--web.listen-address=127.0.0.1:9090", "--enable-feature=exemplar-storage",
    ]  # fmt: skip
    log = (folder / "log").open("w")
    built.node.popen(argv, stdout=log, stderr=log)
    built.agent.until(lambda: _up(built), 30)


def _up(built: Watched) -> bool:
    try:
        built.get(f"{PROMETHEUS}/-/ready")
    except OSError:
        return False
    return any(one["value"][1] == "1" for one in built.query("up"))


def expressions(path: Path) -> list[str]:
    """The queries of a dashboard, as Grafana would send them with everything selected."""
    panels = json.loads(path.read_text())["panels"]
    texts = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [re.sub(r"\$\w+", ".*", text.replace("$__rate_interval", WINDOW).replace("$1", "${1}")) for text in texts]


def variables(path: Path) -> list[str]:
    """The metric and label that each drop-down of a dashboard is filled from."""
    listed = json.loads(path.read_text())["templating"]["list"]
    return [one["definition"] for one in listed if one["type"] == "query"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_of_our_dashboards_has_data(watched: Watched, path: Path) -> None:
    queries = expressions(path)
    assert len(queries) >= 10
    for text in queries:
        watched.query(text)  # also where there is no data, the words must be right
    assert watched.missing(queries) == []


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_drop_down_of_our_dashboards_is_filled(watched: Watched, path: Path) -> None:
    for definition in variables(path):
        metric, label = re.findall(r"\w+", definition.removeprefix("label_values"))
        assert watched.missing([f'{metric}{{{label}!=""}}']) == []


def test_every_query_of_hubbles_dashboards_has_data(watched: Watched) -> None:
    queries = [f"sum by ({by}) (rate({name}{{{labels}}}[{WINDOW}]))" for name, labels, by in STOCK]
    assert watched.missing([*queries, 'cilium_version{cluster="test"}']) == []


def test_answers_pair_with_requests_as_hubbles_dashboards_pair_them(watched: Watched) -> None:
    for asked, answered in (
        ('hubble_tcp_flags_total{flag="SYN",destination="shop/backend-0"}', 'hubble_tcp_flags_total{flag="SYN-ACK"}'),
        ('hubble_icmp_total{type="EchoRequest"}', 'hubble_icmp_total{type="EchoReply"}'),
        ("hubble_dns_queries_total", "hubble_dns_responses_total"),
    ):
        by_source = f"sum by (source) ({asked})"
        turned = f'label_replace(sum by (destination) ({answered}), "source", "$1", "destination", "(.+)")'
        assert watched.missing([f"{by_source} - on (source) sum by (source) ({turned})"]) == []


def test_every_map_that_can_be_counted_and_every_ring_has_a_fill(watched: Watched) -> None:
    kinds = {one["name"]: one["type"] for one in watched.agent.status()["maps"]}
    counted = [name for name, kind in kinds.items() if kind in ("hash", "lru_hash")]
    assert {"owners", "detours", "connections", "services"} <= set(counted)
    queries = [f'remora_map_entries{{map="{name}"}} <= on (map) remora_map_max_entries' for name in counted]
    assert watched.missing([*queries, 'remora_map_entries{map="owners"} > 0']) == []
    rings = [f'remora_ring_bytes{{ring="{name}"}}' for name, kind in kinds.items() if kind == "ringbuf"]
    assert len(rings) == 2
    assert watched.missing(rings) == []


def test_alerts_and_rules_are_loaded_and_evaluated_without_an_error(watched: Watched) -> None:
    groups = watched.agent.until(lambda: _evaluated(watched.api("rules")["groups"]))
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 25
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert firing <= set(), "nothing is wrong here"


def _evaluated(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    done = all(rule["health"] != "unknown" for group in groups for rule in group["rules"])
    return groups if groups and done else []


def test_a_traced_request_leaves_an_exemplar(watched: Watched) -> None:
    def found() -> Any:
        end = time.time()
        arguments = {"start": str(end - 600), "end": str(end + 1)}
        return watched.api("query_exemplars", query="hubble_http_request_duration_seconds_bucket", **arguments)

    traces = {one["labels"]["traceID"] for series in watched.agent.until(found, 30) for one in series["exemplars"]}
    assert traces == {bustle.TRACE}


def test_both_formats_are_told_and_the_linter_is_content(watched: Watched) -> None:
    kind, plain = watched.get(METRICS)
    assert kind.startswith("text/plain")
    checked = subprocess.run(["promtool", "check", "metrics"], input=plain, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
    kind, text = watched.get(METRICS, Accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
    assert text.count(b"# EOF") == 1


def test_every_metric_that_the_agent_tells_is_in_the_document_and_none_else(watched: Watched) -> None:
    told = dict(re.findall(r"^# TYPE (\S+) (\w+)$", watched.get(METRICS)[1].decode(), re.MULTILINE))
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a metric stands there twice"
    assert dict(rows) == told


def test_the_rules_pass_their_unit_tests() -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed: tools/setup dev brings it")
    files = [str(path) for path in RULES if path.name != "tests.yaml"]
    for argv in (["check", "rules", *files], ["test", "rules", str(DEPLOY / "prometheus" / "tests.yaml")]):
        done = subprocess.run(["promtool", *argv], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
