"""The settings of metrics, as an operator meets them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.agent import ROOT, agent_on
from tests.support.netns import node

ASK = """
import socket, sys
import dns.message
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.settimeout(3)
    for number in range(8):
        asking.sendto(dns.message.make_query(f"name-{number}.example", "A").to_wire(), (sys.argv[1], 53))
"""
FETCH = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9965/metrics').read().decode())"


@pytest.mark.usefixtures("root")
def test_a_metric_that_is_full_says_so_in_status_and_metrics(tmp_path: Path) -> None:
    with node() as made, agent_on(made, tmp_path, metrics=["dns:query"], metric_series=3) as agent:
        for workload in ("client", "dns"):
            made.add(workload)
        agent.start()
        agent.until(lambda: sum(bool(one.get("ifindex")) for one in agent.json("endpoint", "list")["endpoints"]) >= 2)
        server = str(made.spaces["dns"].addresses[0].ip)
        process = made.popen([sys.executable, "-c", ASK, server], "client", environment={"PYTHONPATH": str(ROOT)})
        assert process.wait(20) == 0
        where = "metric hubble_dns_queries_total, which has all the series it may"
        found = agent.until(lambda: [one for one in agent.status()["losses"] if one["where"] == where])
        assert int(found[0]["count"]) == 5
        assert f"5 lost in the {where}" in agent.remora("status", ok=(0, 1))
        told = made.output([sys.executable, "-c", FETCH])
        assert 'remora_metric_series_dropped_total{metric="hubble_dns_queries_total"} 5' in told
        assert "hubble_flows_processed_total" not in told


@pytest.mark.usefixtures("root")
def test_a_mistake_in_the_setting_ends_the_start_with_what_would_be_right(tmp_path: Path) -> None:
    with node() as made, agent_on(made, tmp_path, metrics=["drop:sourceContext=pods"]) as agent:
        agent.launch()
        assert agent.process
        assert agent.process.wait(20) != 0
        assert "no such sourceContext: 'pods'" in agent.log
        assert "reserved-identity" in agent.log
        assert "Traceback" not in agent.log
