"""The manifests of the test shop: a client, three backends, a name server, and what it takes to reach them."""

from __future__ import annotations

from typing import Any

import yaml

VIP, DNS_VIP = "10.96.0.20", "10.96.0.10"
VIP6 = "fd00:10:96::20"
PORT = 8080


def pod(name: str, addresses: list[str], namespace: str = "shop", **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name.split("-")[0], **labels}},
        "spec": {"nodeName": "node-1"},
        "status": {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]},
    }


def service(
    name: str, vips: list[str], port: int, target: int, namespace: str = "shop", protocol: str = "TCP"
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": vips[0],
            "clusterIPs": vips,
            "ipFamilies": ["IPv6" if ":" in vip else "IPv4" for vip in vips],
            "selector": {"app": name},
            "ports": [{"name": "main", "port": port, "targetPort": target, "protocol": protocol}],
        },
    }


def endpoint_slice(
    name: str, addresses: list[str], port: int, namespace: str = "shop", protocol: str = "TCP"
) -> dict[str, Any]:
    family = "IPv6" if ":" in addresses[0] else "IPv4"
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{family.lower()}",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": family,
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": [{"name": "main", "port": port, "protocol": protocol}],
    }


def dump(*documents: dict[str, Any]) -> str:
    return yaml.safe_dump_all(documents, sort_keys=False)
