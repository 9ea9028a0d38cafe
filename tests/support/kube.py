"""Kubernetes objects as a test's manifests say them: Services with their EndpointSlices, for both families at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.support.place import FAMILIES, Place, Target

Manifest = dict[str, Any]
NAMESPACE = "live"


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a Service; `target` is that of the endpoints, 8080 where every pod listens unless told otherwise."""

    port: int = 80
    target: int = 8080
    name: str = ""
    protocol: str = "TCP"
    node_port: int = 0

    def manifest(self) -> Manifest:
        body: Manifest = {"port": self.port, "targetPort": self.target, "protocol": self.protocol}
        return (
            body | ({"name": self.name} if self.name else {}) | ({"nodePort": self.node_port} if self.node_port else {})
        )

    def in_slice(self) -> Manifest:
        return {"name": self.name, "port": self.target, "protocol": self.protocol}


@dataclass(frozen=True, slots=True)
class At:
    """An endpoint: a place in a state, with the hints of a controller."""

    place: Place
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zones: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()

    def manifest(self, family: str) -> Manifest:
        hints: Manifest = {"forZones": [{"name": zone} for zone in self.zones]} if self.zones else {}
        if self.nodes:
            hints["forNodes"] = [{"name": node} for node in self.nodes]
        return {
            "addresses": [self.place.addresses[family]],
            "nodeName": self.place.node,
            "conditions": {"ready": self.ready, "serving": self.serving, "terminating": self.terminating},
            "hints": hints,
        }


def leaving(place: Place, serving: bool = True) -> At:
    """An endpoint that terminates."""
    return At(place, ready=False, serving=serving, terminating=True)


@dataclass(frozen=True)
class Svc:
    """A Service; `spec` and `ingress` as in the API. Frozen: a change is a new one, by `dataclasses.replace`."""

    name: str
    ips: dict[str, str]
    ports: tuple[Port, ...] = (Port(),)
    spec: Manifest = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ingress: tuple[Manifest, ...] = ()

    def manifest(self) -> Manifest:
        ips = list(self.ips.values())
        body = {
            "clusterIP": ips[0],
            "clusterIPs": ips,
            "ipFamilies": list(self.ips),
            "ports": [port.manifest() for port in self.ports],
        }
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name, "namespace": NAMESPACE, "labels": self.labels},
            "spec": body | self.spec,
            "status": {"loadBalancer": {"ingress": list(self.ingress)}},
        }

    def slices(
        self,
        endpoints: Iterable[At | Place],
        ports: Sequence[Port] | None = None,
        suffix: str = "",
        labels: dict[str, str] | None = None,
    ) -> list[Manifest]:
        """A slice for each family; `ports` where they are not those of the Service."""
        listed = [at if isinstance(at, At) else At(at) for at in endpoints]
        return [
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{self.name}-{family.lower()}{suffix}",
                    "namespace": NAMESPACE,
                    "labels": {"kubernetes.io/service-name": self.name, **(labels or {})},
                },
                "addressType": family,
                "endpoints": [at.manifest(family) for at in listed if family in at.place.addresses],
                "ports": [port.in_slice() for port in (self.ports if ports is None else ports)],
            }
            for family in self.ips
        ]

    def with_endpoints(self, *endpoints: At | Place) -> list[Manifest]:
        """The Service and its slices."""
        return [self.manifest(), *self.slices(endpoints)]

    def inside(self, family: str = FAMILIES[0], index: int = 0) -> Target:
        """A port under the ClusterIP."""
        return Target(self.ips[family], self.ports[index].port, self.ports[index].protocol)

    def on(self, place: Place, family: str = FAMILIES[0], index: int = 0) -> Target:
        """A port's node port under the address of a node."""
        return Target(place.addresses[family], self.ports[index].node_port, self.ports[index].protocol)

    def at(self, address: str, index: int = 0) -> Target:
        """A port under another address of the Service."""
        return Target(address, self.ports[index].port, self.ports[index].protocol)


def pod(place: Place, namespace: str = NAMESPACE, **spec: Any) -> Manifest:
    """The Pod of a place."""
    ips = list(place.addresses.values())
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": place.name, "namespace": namespace, "labels": {"app": place.name}},
        "spec": {"nodeName": place.node, **spec},
        "status": {"phase": "Running", "podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]},
    }


def dump(documents: Iterable[Manifest]) -> str:
    """Documents of one YAML file."""
    return yaml.dump_all(documents, Dumper=yaml.CSafeDumper, sort_keys=False)
