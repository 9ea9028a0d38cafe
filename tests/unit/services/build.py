"""Short ways to write snapshots in tests."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import convert

from daemon.model.objects import EndpointSlice, Pod, Service
from daemon.model.snapshot import Snapshot
from daemon.model.workload import Node
from daemon.services.compile import compile_services
from daemon.services.table import ServiceTable
from ebpf.addresses import text

Object = Service | EndpointSlice | Pod

HERE = Node("here", "zone-a")


def service(name: str, ip: str = "10.96.0.1", *ports: dict[str, object], **spec: object) -> Service:
    """A Service of namespace shop; `ip` may name several addresses; `ingress` goes to the status."""
    ips = ip.split()
    body = {"clusterIP": ips[0] if ips else "", "clusterIPs": ips, "ports": list(ports) or [{"port": 80}], **spec}
    ingress = {"loadBalancer": {"ingress": body.pop("ingress", [])}}
    return convert({"metadata": {"name": name, "namespace": "shop"}, "spec": body, "status": ingress}, Service)


def slice_(owner: str, addresses: str, name: str = "", **fields: object) -> EndpointSlice:
    """A slice of namespace shop with one unnamed port 8080; the family follows from the first address."""
    listed = addresses.split()
    labels = {"kubernetes.io/service-name": owner} if owner else {}
    body = {
        "metadata": {"name": name or f"{owner}-a", "namespace": "shop", "labels": labels},
        "addressType": "IPv6" if listed and ":" in listed[0] else "IPv4",
        "ports": [{"port": 8080}],
        "endpoints": [{"addresses": [address]} for address in listed],
        **fields,
    }
    return convert(body, EndpointSlice)


def pod(name: str, ips: str, *ports: dict[str, object], node: str = "here", **fields: object) -> Pod:
    """A running pod of namespace shop with one container."""
    body = {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"nodeName": node, "containers": [{"ports": list(ports)}]},
        "status": {"phase": "Running", "podIPs": [{"ip": ip} for ip in ips.split()]},
        **fields,
    }
    return convert(body, Pod)


def snapshot_of(objects: Iterable[Object]) -> Snapshot:
    found = list(objects)
    return Snapshot(
        services=tuple(one for one in found if isinstance(one, Service)),
        slices=tuple(one for one in found if isinstance(one, EndpointSlice)),
        pods=tuple(one for one in found if isinstance(one, Pod)),
    )


def compiled(*objects: Object, before: ServiceTable | None = None) -> ServiceTable:
    return compile_services(snapshot_of(objects), HERE, before)


def told(table: ServiceTable) -> dict[str, list[str]]:
    """Frontends and backends as people write them: {"10.96.0.1:80/6": ["10.0.0.1:8080"]}."""
    return {
        f"{text(place.address)}:{place.port}/{place.protocol}": [f"{ip}:{port}" for ip, port in entry.targets()]
        for place, entry in table.frontends.items()
    }
