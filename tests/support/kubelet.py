"""A kubelet as small as the tests need it: each pod of its node is a network namespace with the command that it names.

It looks at the API server, starts what is new, tells addresses and readiness, and ends what is gone; it also keeps the
EndpointSlices of Services, as the controller does. Images are not pulled: a container's interpreter is the tests' own,
and its packages are this tree.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from daemon.demo.processes import stop
from tests.support.apiserver_process import Remote
from tests.support.apiserver_store import PATHS
from tests.support.netns import TestNode

ROOT = str(Path(__file__).parents[2])
_LOOK = 0.1  # s

Object = dict[str, Any]
Name = tuple[str, str]


class Kubelet:
    """Of the node `node_name`; stops with its context."""

    def __init__(self, node: TestNode, api: Remote, node_name: str = "node-1") -> None:
        self._node, self._api, self._name = node, api, node_name
        self._running: dict[Name, subprocess.Popen[bytes]] = {}
        self._slices: dict[Name, Object] = {}
        self._stop = threading.Event()

    @property
    def pods(self) -> set[str]:
        """The names of those that run."""
        return {name for _, name in self._running}

    def work(self) -> None:
        """Follow the API server until stopped."""
        while not self._stop.is_set():
            wanted = {_name(pod): pod for pod in self._listed("Pod") if self._ours(pod)}
            for name in self._running.keys() - wanted.keys():
                stop(self._running.pop(name))
                self._node.drop(name[1])
            for name in wanted.keys() - self._running.keys():
                self._start(name, wanted[name])
            self._tell_endpoints()
            time.sleep(_LOOK)

    def end(self) -> None:
        self._stop.set()

    def _ours(self, pod: Object) -> bool:
        """Also with a command: other pods are names for tests."""
        spec = pod["spec"]
        return spec.get("nodeName") == self._name and any(one.get("command") for one in spec.get("containers", ()))

    def _start(self, name: Name, pod: Object) -> None:
        space = self._node.add(name[1])
        (container,) = pod["spec"]["containers"]
        argv = [sys.executable, *container["command"][1:]]
        process = self._node.popen(argv, name[1], stdout=subprocess.PIPE, environment={"PYTHONPATH": ROOT})
        self._running[name] = process
        assert process.stdout
        assert process.stdout.readline(), f"{argv} did not start"
        addresses = [str(one.ip) for one in space.addresses]
        status = {
            "phase": "Running",
            "podIP": addresses[0],
            "podIPs": [{"ip": one} for one in addresses],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        self._api.tell(status={**pod, "status": status})

    def _tell_endpoints(self) -> None:
        pods = [pod for pod in self._listed("Pod") if pod.get("status", {}).get("conditions")]
        for service in self._listed("Service"):
            if not service["spec"].get("selector"):
                continue
            for made in _slices(service, pods):
                if self._slices.get(_name(made)) != made:
                    self._api.tell(slice=made)
                    self._slices[_name(made)] = made
        held = {_name(one) for one in self._listed("EndpointSlice")}
        self._slices = {name: one for name, one in self._slices.items() if name in held}

    def _listed(self, kind: str) -> list[Object]:
        found: list[Object] = self._node.run(_fetch, f"{self._api.url}{PATHS[kind]}")
        return [{"kind": kind, **one} for one in found]


def _fetch(url: str) -> list[Object]:
    with urlopen(url, timeout=5) as answer:
        items: list[Object] = json.load(answer)["items"]
        return items


def _name(found: Object) -> Name:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def _slices(service: Object, pods: list[Object]) -> Iterator[Object]:
    """A slice for each family, empty where no pod is selected."""
    namespace, name = _name(service)
    selector = service["spec"]["selector"].items()
    chosen = [
        pod
        for pod in pods
        if pod["metadata"]["namespace"] == namespace and selector <= pod["metadata"].get("labels", {}).items()
    ]
    for index, family in enumerate(service["spec"]["ipFamilies"]):
        endpoints = [
            {"addresses": [pod["status"]["podIPs"][index]["ip"]], "conditions": {"ready": True}} for pod in chosen
        ]
        ports = [
            {"name": port.get("name", ""), "port": port["targetPort"], "protocol": port["protocol"]}
            for port in service["spec"]["ports"]
        ]
        labels = {"kubernetes.io/service-name": name}
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"namespace": namespace, "name": f"{name}-{family.lower()}", "labels": labels},
            "addressType": family,
            "endpoints": endpoints,
            "ports": ports,
        }


@contextmanager
def kubelet(node: TestNode, api: Remote) -> Iterator[Kubelet]:
    """A kubelet at work."""
    made = Kubelet(node, api)
    thread = threading.Thread(target=made.work, name="kubelet", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.end()
        thread.join(30)
