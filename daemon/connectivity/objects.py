"""The objects of the connectivity test, as the agent's manifests folder gets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

NAMESPACE = "remora-connectivity"
FILE = "remora-connectivity-test.yaml"
POLICY = "only-the-client"
PORT = 8080  # of the servers
CLOSED_PORT = 8099  # where nobody listens
DNS_NAME = "whoami.remora-connectivity.test"
BACKENDS = {"echo": 2, "sticky": 2, "names": 1}
"""endpoints of each Service that has any"""
PODS = ("client", "stranger", "echo-1", "echo-2", "vault", "names")

_HEAD = "# Of `remora connectivity test`, which removes it when it ends. Safe to delete.\n"
_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Plan:
    """Addresses of one test: a pod's and a Service's by name, IPv4 first, IPv6 where there is any."""

    node: str
    pods: Mapping[str, Sequence[str]]
    services: Mapping[str, Sequence[str]]
    node_port: int
    node_address: str

    def address(self, pod: str) -> str:
        """A pod's first address."""
        return self.pods[pod][0]

    def manifest(self) -> str:
        """All objects as one file."""
        return _HEAD + yaml.safe_dump_all(self._objects(), sort_keys=False)

    def _objects(self) -> list[dict[str, Any]]:
        echo, port = ["echo-1", "echo-2"], {"port": 80, "targetPort": PORT}
        sticky = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            *(self._pod(name) for name in PODS),
            *self._service("echo", echo, port | {"nodePort": self.node_port}, type="NodePort"),
            *self._service("sticky", echo, port, **sticky),
            *self._service("empty", [], port),
            *self._service("names", ["names"], {"port": 53, "targetPort": 53, "protocol": "UDP"}),
            self._policy(),
        ]

    def _pod(self, name: str) -> dict[str, Any]:
        addresses = self.pods[name]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name.split("-")[0]}},
            "spec": {"nodeName": self.node},
            "status": {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": one} for one in addresses]},
        }

    def _service(self, name: str, pods: Sequence[str], port: dict[str, Any], **spec: Any) -> list[dict[str, Any]]:
        """A Service with a slice for each family."""
        vips = list(self.services[name])
        families = ["IPv6" if ":" in vip else "IPv4" for vip in vips]
        own = {
            "clusterIP": vips[0],
            "clusterIPs": vips,
            "ipFamilies": families,
            "selector": {"app": name},
            "ports": [{"name": "main", "protocol": "TCP", **port}],
            **spec,
        }
        head = {"name": name, "namespace": NAMESPACE}
        made: list[dict[str, Any]] = [{"apiVersion": "v1", "kind": "Service", "metadata": head, "spec": own}]
        told = {"name": "main", "port": port["targetPort"], "protocol": port.get("protocol", "TCP")}
        for index, family in enumerate(families if pods else ()):
            endpoints = [{"addresses": [self.pods[pod][index]], "conditions": {"ready": True}} for pod in pods]
            labels = {"name": f"{name}-{family.lower()}", "namespace": NAMESPACE, "labels": {_LABEL: name}}
            made.append(
                {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": labels,
                    "addressType": family,
                    "endpoints": endpoints,
                    "ports": [told],
                }
            )
        return made

    def _policy(self) -> dict[str, Any]:
        allowed = {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": PORT}]}
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": POLICY, "namespace": NAMESPACE},
            "spec": {
                "podSelector": {"matchLabels": {"app": "vault"}},
                "policyTypes": ["Ingress"],
                "ingress": [allowed],
            },
        }
