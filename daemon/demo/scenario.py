"""The cast: which pods there are, taken from the manifests, and which program each of them runs.

The manifests are the only place with names and addresses. The topology is built after them, the agent reads the same
files, and the name server answers with what they say.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).parent / "manifests"
DOMAIN = "svc.cluster.local"
SLOW = "backend-3"
SLOWNESS = 0.325  # s
HTTP_PORT = 8080
CLIENT = "frontend"

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Role:
    """A pod of the shop: its name, its addresses, and the command line of its program."""

    pod: str
    addresses: tuple[str, ...]
    argv: tuple[str, ...]


def documents(folder: Path = MANIFESTS) -> list[Manifest]:
    """All objects of the manifests."""
    return [found for path in sorted(folder.glob("*.yaml")) for found in yaml.safe_load_all(path.read_text())]


def roles(manifests: list[Manifest]) -> list[Role]:
    """The pods with what they run, the client last: it starts when all others serve."""
    programs = _programs(manifests)
    found = [
        Role(name, tuple(entry["ip"] for entry in pod["status"]["podIPs"]), programs[name])
        for pod in manifests
        if pod["kind"] == "Pod" and (name := pod["metadata"]["name"])
    ]
    return sorted(found, key=lambda role: role.pod == CLIENT)


def records(manifests: list[Manifest]) -> dict[str, list[str]]:
    """Names of the Services and the addresses they stand for: a headless one's are those of its pods."""
    names: dict[str, list[str]] = {}
    for service in manifests:
        if service["kind"] == "Service":
            meta, spec = service["metadata"], service["spec"]
            virtual = [] if spec["clusterIP"] == "None" else spec["clusterIPs"]
            name = f"{meta['name']}.{meta['namespace']}.{DOMAIN}"
            names[name] = virtual or _selected(manifests, spec["selector"])
    return names


def name_server(manifests: list[Manifest]) -> str:
    """Virtual address of the DNS Service."""
    return next(address for name, (address, *_) in records(manifests).items() if name.startswith("kube-dns."))


def _selected(manifests: list[Manifest], selector: Mapping[str, str]) -> list[str]:
    return [
        entry["ip"]
        for pod in manifests
        if pod["kind"] == "Pod" and selector.items() <= pod["metadata"]["labels"].items()
        for entry in pod["status"]["podIPs"]
    ]


def _programs(manifests: list[Manifest]) -> dict[str, tuple[str, ...]]:
    zone = [f"{name}={','.join(addresses)}" for name, addresses in records(manifests).items()]
    return {
        "dns": _workload("names", *zone),
        "payments": _workload("web", str(HTTP_PORT), "0.004"),
        "backend-1": _workload("web", str(HTTP_PORT), "0"),
        "backend-2": _workload("web", str(HTTP_PORT), "0.002"),
        SLOW: _workload("web", str(HTTP_PORT), str(SLOWNESS)),
        CLIENT: _workload("shopper", name_server(manifests)),
    }


def _workload(kind: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", f"daemon.demo.{kind}", *arguments)
