"""Who sends and receives: a pod, a network namespace or a host, under the number that the kernel knows it by.

The datapath stores only numbers, because a name does not fit a map's value. These types carry what the numbers
stand for, so that a flow can be told in words long after the packet has gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NewType

WorkloadId = NewType("WorkloadId", int)
Identity = NewType("Identity", int)
IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Node:
    """The host that the agent runs on: its name as endpoints write it, and its zone ("" when unknown)."""

    name: str
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """What created a workload, in the words of its owner references: name "api", kind "Deployment"."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Workload:
    """One sender and receiver of traffic.

    `namespace` is "" for what is not a pod. `labels` are sorted and carry their source: "k8s:app=x",
    "k8s:io.kubernetes.pod.namespace=shop", "reserved:world". `ifindex` and `device` name the host-side device when
    the workload runs on this node; they are 0 and "" when it runs elsewhere.
    """

    id: WorkloadId
    identity: Identity
    namespace: str
    name: str
    labels: tuple[str, ...]
    owners: tuple[Owner, ...]
    addresses: tuple[IPAddress, ...]
    ifindex: int = 0
    device: str = ""
