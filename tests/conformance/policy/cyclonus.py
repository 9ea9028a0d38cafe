"""The cases of cyclonus, read from a file of expected tables that is not part of this repository."""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from daemon.model.snapshot import Snapshot
from daemon.policy import Direction
from tests.support.policies import containers, namespace, pod, policy, snapshot_of

NAME = "cyclonus-cases.json.xz"
CELLS = 123_669
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
PORTS = (80, 81)
SIDES = {"i": Direction.INGRESS, "e": Direction.EGRESS}

_CONTAINERS = containers(
    *((f"serve-{port}-{name.lower()}", name, port) for name in PROTOCOLS for port in PORTS),
)


@dataclass(frozen=True)
class Step:
    """One state of the cluster and what is blocked in it: "x/a>y/b" → "TCP/80" → sides that deny, of "ie"."""

    name: str
    world: dict[str, Any]
    probe: object
    blocked: dict[str, dict[str, str]]

    def snapshot(self, v6: bool) -> Snapshot:
        """The cluster's objects; with `v6` every address and network is an IPv6 one."""
        text = json.dumps([self.world["policies"], [entry["ip"] for entry in self.world["pods"]]])
        policies, ips = json.loads(mapped(text) if v6 else text)
        pods = [
            pod(f"{entry['ns']}/{entry['name']}", ip, entry["labels"], containers=_CONTAINERS)
            for entry, ip in zip(self.world["pods"], ips, strict=True)
        ]
        spaces = [namespace(name, **labels) for name, labels in self.world["namespaces"].items()]
        rules = [
            policy(f"{found['metadata']['namespace']}/{found['metadata']['name']}", **found["spec"])
            for found in policies
        ]
        return snapshot_of([*pods, *spaces, *rules])

    def cells(self) -> Iterator[tuple[str, str, int, int, dict[Direction, bool]]]:
        """Source, destination, protocol, port, and which sides let it pass."""
        names = [f"{entry['ns']}/{entry['name']}" for entry in self.world["pods"]]
        for source in names:
            for destination in names:
                blocked = self.blocked.get(f"{source}>{destination}", {})
                for protocol, port in self._probed():
                    denied = blocked.get(f"{protocol}/{port}", "")
                    sides = {direction: letter not in denied for letter, direction in SIDES.items()}
                    yield source, destination, PROTOCOLS[protocol], port, sides

    def _probed(self) -> list[tuple[str, int]]:
        if self.probe == "all":
            return [(protocol, port) for protocol in PROTOCOLS for port in PORTS]
        assert isinstance(self.probe, dict)
        port = self.probe["Port"]
        return [(self.probe["Protocol"], int(port.split("-")[1]) if isinstance(port, str) else port)]


@cache
def cases() -> list[list[Step]]:
    """All cases with their steps; skips the test where the file is not there."""
    folder = os.environ.get("REMORA_TEST_DATA", str(Path(__file__).parents[4] / "shared" / "data"))
    file = Path(folder) / NAME
    if not file.exists():
        pytest.skip(f"{file} is not there; REMORA_TEST_DATA names the folder that has it")
    found = json.loads(lzma.decompress(file.read_bytes()))
    return [
        [
            Step(f"{case['n']} {case['description']}, step {place}", step, step["probe"], step["blocked"])
            for place, step in enumerate(case["steps"], 1)
        ]
        for case in found["cases"]
    ]


def mapped(text: str) -> str:
    """IPv4 addresses and networks in a text as those of fd00::/96 with the same last 32 bits."""
    import re

    def six(match: re.Match[str]) -> str:
        parts = [int(part) for part in match[1].split(".")]
        length = f"/{96 + int(match[3])}" if match[3] else ""
        return f"fd00::{parts[0] << 8 | parts[1]:x}:{parts[2] << 8 | parts[3]:x}{length}"

    return re.sub(r"\b(\d+(?:\.\d+){3})(/(\d+))?", six, text)
