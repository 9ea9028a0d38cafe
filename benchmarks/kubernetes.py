"""The agent beside an API server that holds a large cluster: first sync, memory, and what a change costs.

The tests' API server, a process of its own in the node's namespace, holds 10,000 pods on 100 nodes, 1,000 policies, and
2,000 and then 10,000 Services of five endpoints. The first sync is the time from exec to the first answer of `Status`,
which comes when everything is in the kernel; programs are compiled in it. Then 100 objects a second change: slices,
pods that move, Services, and heartbeats that mean nothing to remora. Processor time is that of the agent's process.
The latency is from before the change is handed to the server until a reader of the kernel's map finds the new backend.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Figure, at_most
from benchmarks.stand import STAGE, Agent, BenchmarkError, Stand
from ebpf.addresses import pack
from ebpf.maps import HashMap
from tests.support.apiserver_process import Remote
from tests.support.pinned import pinned

PODS, NODES, POLICIES, WIDTH = 10_000, 100, 1_000, 5
SIZES = (2_000, 10_000)  # Services
RATE, LASTING = 100, 20.0  # changes a second, s
SETTLE = 3.0  # s
BATCH = 1_000  # objects that are handed to the server at once
LOST = 2.0  # s after which a change counts as lost
LOOK = 0.0005  # s between two looks at the map

Object = dict[str, Any]


def measure() -> Iterator[Figure]:
    """The figures of both sizes."""
    with Stand() as stand:
        spawn = partial(stand.launch, namespace=stand.node.path, group="bare")
        server = Remote.start(spawn, STAGE.folder)
        stand.configure(source="kubernetes", kubeconfig=str(server.kubeconfig(STAGE.folder)))
        cluster = Cluster(server)
        for count in SIZES:
            cluster.grow(count)
            stand.detach()
            with stand.agent() as agent:
                yield from _one_size(agent, cluster, count)


def _one_size(agent: Agent, cluster: Cluster, count: int) -> Iterator[Figure]:
    name = f"kubernetes_{count}"
    yield Figure(f"{name}_first_sync", agent.started, "s", at_most(10.0), f"{PODS:,} pods, {POLICIES:,} policies")
    table = KernelBackends(STAGE.pins)
    if table.services < count:
        raise BenchmarkError(f"the kernel has {table.services} of {count} Services after the first sync")
    time.sleep(SETTLE)
    yield Figure(f"{name}_rss", agent.resident(), "MB", at_most(200))
    used, began = agent.processor_time(), time.monotonic()
    delays = np.array(list(cluster.change(table))) * 1000
    took = time.monotonic() - began
    load = (agent.processor_time() - used) / took * 100
    note = f"{RATE * LASTING / took:.0f} changes/s for {took:.0f} s"
    yield Figure(f"{name}_steady_cpu", load, "%", at_most(25), note)
    yield Figure(f"{name}_slice_p50", float(np.percentile(delays, 50)), "ms")
    yield Figure(f"{name}_slice_p99", float(np.percentile(delays, 99)), "ms", at_most(20), f"{len(delays)} slices")
    yield Figure(f"{name}_rss_after", agent.resident(), "MB", at_most(200))


class KernelBackends:
    """The agent's maps of Services, read beside it."""

    def __init__(self, pins: Path) -> None:
        self._services, self._backends = pinned(pins, "services"), pinned(pins, "backends")
        self._frontend = np.zeros(1, self._services.key_dtype)
        self._slots = np.zeros(WIDTH, self._backends.key_dtype)

    @property
    def services(self) -> int:
        """Frontends with a port; each Service has one here, and each address an entry of its own."""
        return int(np.count_nonzero(self._services.items()[0]["port"]))

    def wait_for(self, vip: str, backend: str, since: float) -> float:
        """Seconds from `since` until a Service has a backend."""
        number, wanted = self._number(vip), np.frombuffer(pack(backend), np.uint32)
        self._slots["service"], self._slots["slot"] = number, range(WIDTH)
        while not any(_holds(self._backends, self._slots[slot : slot + 1], wanted) for slot in range(WIDTH)):
            time.sleep(LOOK)
            if time.monotonic() > since + LOST:
                raise BenchmarkError(f"{backend} of {vip} did not reach the kernel in {LOST:g} s")
        return time.monotonic() - since

    def _number(self, vip: str) -> int:
        self._frontend["addr"], self._frontend["port"] = np.frombuffer(pack(vip), np.uint32), socket.htons(80)
        self._frontend["proto"] = socket.IPPROTO_TCP
        found = self._services.lookup(self._frontend)
        if found is None:
            raise BenchmarkError(f"{vip} is not in the kernel")
        return int(found["service"][0])


def _holds(table: HashMap, key: Any, wanted: Any) -> bool:
    found = table.lookup(key)
    return found is not None and bool((found["addr"][0] == wanted).all())


class Cluster:
    """What the server holds, and how it changes. Pods and Services have their number in their addresses."""

    def __init__(self, server: Remote) -> None:
        self._server = server
        self._count = 0
        self._dice = random.Random(1)
        self._put([_node(number) for number in range(NODES)])
        self._put([_policy(number) for number in range(POLICIES)])
        self._put([_pod(number) for number in range(PODS)])

    def grow(self, count: int) -> None:
        """Have so many Services."""
        new = range(self._count, count)
        self._put([one for number in new for one in (_service(number), _slice(number, _pods_of(number)))])
        self._count = count

    def change(self, kernel: KernelBackends) -> Iterator[float]:
        """Change objects at the rate; how long each slice took to the kernel (s)."""
        began = time.monotonic()
        for turn in range(int(RATE * LASTING)):
            time.sleep(max(0.0, began + turn / RATE - time.monotonic()))
            number = self._dice.randrange(self._count)
            match turn % 5:
                case 0 | 2:
                    yield self._move(number, turn, kernel)
                case 1:
                    self._put([_pod(self._dice.randrange(PODS), turn)])
                case 3:
                    self._put([_beat(self._dice.randrange(PODS), turn)])
                case _:
                    self._put([_service(number, 30_000 + turn)])

    def _move(self, number: int, turn: int, kernel: KernelBackends) -> float:
        """Exchange one endpoint of a Service."""
        fresh = f"10.99.{turn // 250}.{turn % 250 + 1}"
        written = time.monotonic()
        self._put([_slice(number, [fresh, *_pods_of(number)[1:]])])
        return kernel.wait_for(_vip(number), fresh, written)

    def _put(self, objects: list[Object]) -> None:
        for start in range(0, len(objects), BATCH):
            self._server.tell(put=objects[start : start + BATCH])


def _pods_of(number: int) -> list[str]:
    return [_address((number * WIDTH + index) % PODS) for index in range(WIDTH)]


def _address(number: int) -> str:
    return f"10.64.{number // 250}.{number % 250 + 1}"


def _vip(number: int) -> str:
    return f"10.112.{number // 250}.{number % 250 + 1}"


def _meta(name: str, **more: Any) -> Object:
    return {
        "name": name,
        "namespace": "fleet",
        "uid": f"00000000-0000-4000-8000-{abs(hash(name)) % 10**12:012}",
        **more,
    }


def _node(number: int) -> Object:
    labels = {"topology.kubernetes.io/zone": f"zone-{number % 3}", "kubernetes.io/os": "linux"}
    addresses = [{"type": "InternalIP", "address": f"10.2.0.{number + 1}"}]
    return {
        "kind": "Node",
        "metadata": {"name": f"node-{number}", "labels": labels},
        "status": {"addresses": addresses},
    }


def _policy(number: int) -> Object:
    peers = [{"podSelector": {"matchLabels": {"app": f"app-{(number + 1) % POLICIES}"}}}]
    spec = {"podSelector": {"matchLabels": {"app": f"app-{number}"}}, "ingress": [{"from": peers}]}
    return {"kind": "NetworkPolicy", "metadata": _meta(f"policy-{number}"), "spec": spec}


def _pod(number: int, version: int = 0) -> Object:
    labels = {"app": f"app-{number % POLICIES}", "pod-template-hash": f"{number % POLICIES:x}", "version": str(version)}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"app-{number % POLICIES}", "controller": True}
    container = {"name": "main", "image": "registry.example/app:1", "ports": [{"containerPort": 8080, "name": "http"}]}
    return {
        "kind": "Pod",
        "metadata": _meta(f"app-{number:05}", labels=labels, ownerReferences=[owner]),
        "spec": {"nodeName": f"node-{number % NODES}", "containers": [container], "serviceAccountName": "default"},
        "status": {"phase": "Running", "podIP": _address(number), "podIPs": [{"ip": _address(number)}]},
    }


def _beat(number: int, turn: int) -> Object:
    """A pod whose status changed in a way that is of no use here."""
    pod = _pod(number)
    condition = {"type": "Ready", "status": "True", "lastProbeTime": str(turn)}
    return {**pod, "status": {**pod["status"], "conditions": [condition]}}


def _service(number: int, second: int = 0) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]
    if second:
        ports.append({"name": "http", "port": second, "targetPort": "http", "protocol": "TCP"})
    vip = _vip(number)
    spec = {"type": "ClusterIP", "clusterIP": vip, "clusterIPs": [vip], "selector": {"app": "x"}, "ports": ports}
    return {"kind": "Service", "metadata": _meta(f"service-{number:05}"), "spec": spec}


def _slice(number: int, addresses: list[str]) -> Object:
    labels = {"kubernetes.io/service-name": f"service-{number:05}"}
    endpoints = [
        {"addresses": [one], "conditions": {"ready": True}, "nodeName": f"node-{number % NODES}", "zone": "zone-1"}
        for one in addresses
    ]
    return {
        "kind": "EndpointSlice",
        "metadata": _meta(f"service-{number:05}-x", labels=labels),
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }
