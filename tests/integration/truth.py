"""A node with a client and a server, where things happen on purpose and what the agent says of them is read back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration import shop as manifests
from tests.support.agent import ROOT, AgentProcess, agent_on
from tests.support.netns import TestNode, node

PYTHON = {"PYTHONPATH": str(ROOT)}
HEALTHY_SECONDS = float(os.environ.get("REMORA_HEALTHY_SECONDS", "10"))
PATIENCE = 30.0  # s; silence is told by the second sweep after the last SYN


@dataclass
class Range:
    """A node with a client and a server, where things go wrong on purpose."""

    node: TestNode
    agent: AgentProcess

    def address(self, workload: str, family: int = 4) -> str:
        if workload == "node":
            return next(str(gateway.ip) for gateway in self.node.gateways if gateway.version == family)
        return next(str(one.ip) for one in self.node.spaces[workload].addresses if one.version == family)

    def serve(self, code: str, workload: str) -> int:
        """Python that prints a line when it is ready; its pid."""
        server = self.node.popen(
            [sys.executable, "-c", code], workload, stdout=subprocess.PIPE, cgroup=self.node.cgroup, environment=PYTHON
        )
        assert server.stdout
        assert server.stdout.readline()
        return server.pid

    def run(self, code: str, workload: str = "client") -> str:
        """What Python prints, in a workload or, as one of the node's own processes, in the node."""
        return self.run_all(code, (workload,))[0]

    def run_all(self, code: str, workloads: Sequence[str]) -> list[str]:
        """The same in several at a time."""
        argv = [sys.executable, "-c", code]
        processes = [
            self.node.popen(
                argv,
                "" if workload == "node" else workload,
                cgroup=self.node.cgroup,
                environment=PYTHON,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for workload in workloads
        ]
        told = [process.communicate(timeout=PATIENCE + HEALTHY_SECONDS) for process in processes]
        assert not any(process.returncode for process in processes), [error.decode() for _, error in told]
        return [out.decode().strip() for out, _ in told]

    def nft(self, rules: str) -> None:
        self.node.popen(["nft", rules], "", stderr=subprocess.STDOUT).wait(10)

    def records(self) -> list[dict[str, Any]]:
        """All stored records, as `remora monitor` shows them."""
        lines = self.agent.remora("monitor", "--last", "100000", "--stored", "-o", "json").splitlines()
        return [json.loads(line) for line in lines]

    def failures(self, port: int, destination: str) -> list[tuple[str, str]]:
        """Failures to a place: word and detail."""
        return [
            (one["extra"]["failure"], one["extra"].get("failure_detail", ""))
            for one in self.records()
            if one.get("extra", {}).get("failure") and _responder(one) == (destination, port)
        ]

    def failed(self) -> Counter[str]:
        """How many connections failed since the start, by reason; unlike records, counters are never overwritten."""

        def scrape() -> str:
            with urllib.request.urlopen("http://127.0.0.1:9965/metrics", timeout=10) as answer:
                return str(answer.read().decode())

        counted: Counter[str] = Counter()
        for reason, count in re.findall(
            r'^remora_connections_failed_total{.*reason="([^"]*)".*} (\S+)$', self.node.run(scrape), re.M
        ):
            counted[reason] += int(float(count))
        return counted

    def told(self, port: int, destination: str, count: int) -> list[tuple[str, str]]:
        """Failures to a place, once as many are told as there were, and some time later still no more."""
        self.agent.until(lambda: len(self.failures(port, destination)) >= count, PATIENCE)
        time.sleep(6)
        return self.failures(port, destination)


def _responder(record: dict[str, Any]) -> tuple[str, int]:
    """The end that was asked, whichever of both sent the packet."""
    end = "source" if record.get("reply") else "destination"
    return record[end], record.get(f"{end}_port", 0)


@contextmanager
def shooting_range(folder: Path) -> Iterator[Range]:
    """A range with its agent running, both workloads known to it."""
    with node() as made, agent_on(made, folder) as agent:
        built = Range(made, agent)
        for workload in ("client", "server"):
            made.add(workload)
        pods = [manifests.pod(name, [str(a.ip) for a in made.spaces[name].addresses]) for name in made.spaces]
        agent.start()
        (agent.manifests / "pods.yaml").write_text(manifests.dump(*pods))
        agent.until(lambda: sum("ifindex" in e for e in agent.json("endpoint", "list")["endpoints"]) >= 2, PATIENCE)
        yield built
