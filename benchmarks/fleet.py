"""Many Services that mean the same to remora, to iptables and to nftables.

A fleet has a number of Services with one TCP port and some backends each. A few of them, spread evenly, are answered:
their backends are real. All others only take up room, as most Services of a node do that a client never asks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

PORT, TARGET = 80, 8080
NAMESPACE = "fleet"
ANSWERED = 5  # Services with real backends: one in the middle of each fifth


@dataclass(frozen=True, slots=True)
class Member:
    """One Service: its ClusterIP, and the addresses of its backends."""

    name: str
    address: str
    backends: tuple[str, ...]

    @property
    def port_name(self) -> str:
        """As kube-proxy names a Service port in comments and hashes."""
        return f"{NAMESPACE}/{self.name}:http"


@dataclass(frozen=True, slots=True)
class Fleet:
    """`count` Services of `width` backends; `real` are the addresses behind those that are answered."""

    count: int
    width: int
    real: tuple[str, ...] = ()

    @property
    def answered(self) -> list[Member]:
        """The Services that a client may ask."""
        return [self.member(self.count * (2 * part + 1) // (2 * ANSWERED)) for part in range(ANSWERED)]

    def members(self) -> Iterator[Member]:
        """All Services."""
        return map(self.member, range(self.count))

    def member(self, index: int) -> Member:
        """One of them."""
        tail = f"{index // 250}.{index % 250 + 1}"
        made_up = tuple(f"10.{100 + number}.{tail}" for number in range(self.width))
        answered = any(index == self.count * (2 * part + 1) // (2 * ANSWERED) for part in range(ANSWERED))
        return Member(f"service-{index:05}", f"10.112.{tail}", self.real if self.real and answered else made_up)

    def manifests(self) -> str:
        """As a folder of manifests holds them; JSON is read as the YAML that it is."""
        documents = (document for member in self.members() for document in (_service(member), _slice(member)))
        return "\n---\n".join(map(json.dumps, documents))


def _service(member: Member) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": member.name, "namespace": NAMESPACE},
        "spec": {"clusterIP": member.address, "ports": [{"name": "http", "port": PORT, "targetPort": TARGET}]},
    }


def _slice(member: Member) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{member.name}-a",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": member.name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": TARGET, "protocol": "TCP"}],
        "endpoints": _endpoints(member.backends),
    }


def _endpoints(addresses: Sequence[str]) -> list[dict[str, Any]]:
    return [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
