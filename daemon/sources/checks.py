"""What is well-formed but will have no effect, said before somebody wonders.

The API server refuses most of this; a folder has no API server. None of it stops anything: the object is taken over
and the part in question is simply not programmed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from daemon.model.addresses import address_of, network_of
from daemon.model.objects import (
    HEADLESS_IP,
    HEADLESS_LABEL,
    AddressType,
    EndpointSlice,
    KubeObject,
    Pod,
    Service,
    ServiceType,
)
from daemon.sources.policies import closed_rules

Path = tuple[str | int, ...]
Finding = tuple[Path, str]

_VERSIONS = {AddressType.IPV4: 4, AddressType.IPV6: 6}


def notes(found: KubeObject) -> Iterator[Finding]:
    """Findings of one object alone: the path of the field, and what about it."""
    if isinstance(found, Service):
        yield from _service(found)
    elif isinstance(found, EndpointSlice):
        yield from _slice(found)
    elif isinstance(found, Pod):
        yield from _pod(found)
    else:
        yield from closed_rules(found)


def _service(service: Service) -> Iterator[Finding]:
    spec = service.spec
    if spec.type is ServiceType.EXTERNAL_NAME or spec.cluster_ip == HEADLESS_IP:
        return
    if not spec.ports:
        yield ("spec",), "no ports, so it cannot be reached; add spec.ports"
    if not spec.cluster_ips:
        yield ("spec",), "no clusterIP, and a folder has nobody to allocate one; write spec.clusterIP"
    yield from _addresses(("spec", "clusterIPs" if len(spec.cluster_ips) > 1 else "clusterIP"), spec.cluster_ips, True)
    yield from _ports(service)
    yield from _outside(service)


def _ports(service: Service) -> Iterator[Finding]:
    spec = service.spec
    numbers = Counter((port.port, port.protocol) for port in spec.ports)
    names = Counter(port.name for port in spec.ports)
    for index, port in enumerate(spec.ports):
        if numbers[port.port, port.protocol] > 1:
            yield ("spec", "ports", index), f"port {port.port}/{port.protocol.value} twice; only the first is used"
        elif names[port.name] > 1:
            yield ("spec", "ports", index), f'port name "{port.name}" twice, so both get the same endpoints; rename one'
        if port.node_port and spec.type is ServiceType.CLUSTER_IP:
            text = f"nodePort {port.node_port} is not used with type ClusterIP; write type NodePort"
            yield ("spec", "ports", index, "nodePort"), text


def _outside(service: Service) -> Iterator[Finding]:
    """What the rest of the world reaches a Service by."""
    spec = service.spec
    yield from _addresses(("spec", "externalIPs"), spec.external_ips, True)
    for index, entry in enumerate(service.status.load_balancer.ingress):
        path = "status", "loadBalancer", "ingress", index
        yield from _addresses((*path, "ip"), [entry.ip] if entry.ip else [], True)
        if entry.ip and spec.type is not ServiceType.LOAD_BALANCER:
            yield path, f"{entry.ip} is not used with type {spec.type.value}; write type LoadBalancer"
    for index, text in enumerate(spec.load_balancer_source_ranges):
        if not _is_network(text.strip()):
            yield ("spec", "loadBalancerSourceRanges", index), f'"{text}" is not a network; it is passed over'


def _pod(pod: Pod) -> Iterator[Finding]:
    yield from _addresses(("status", "podIPs" if pod.status.pod_ips else "podIP"), pod.addresses)
    for place, container in enumerate(pod.spec.containers):
        for index, port in enumerate(container.ports):
            if not port.host_port or not port.host_ip:
                continue
            path = "spec", "containers", place, "ports", index, "hostIP"
            if not _version(port.host_ip):
                yield path, f'"{port.host_ip}" is not an IP address; the host port is not served'
            elif address_of(port.host_ip).is_loopback:
                yield path, "host ports on loopback alone are not served; leave hostIP out"


def _slice(slice_: EndpointSlice) -> Iterator[Finding]:
    if HEADLESS_LABEL in slice_.labels:
        return
    if not slice_.service:
        yield ("metadata", "labels"), "no label kubernetes.io/service-name, so it belongs to no Service; add it"
    if slice_.address_type is AddressType.FQDN:
        yield ("addressType",), "names instead of addresses are not used; write IPv4 or IPv6"
        return
    for index, port in enumerate(slice_.ports):
        if not port.port:
            yield ("ports", index), "no port number, so it is not used; write ports[].port"
    version = _VERSIONS[slice_.address_type]
    for index, endpoint in enumerate(slice_.endpoints):
        if _version(endpoint.addresses[0]) != version:
            text = f'"{endpoint.addresses[0]}" is not an {slice_.address_type.value} address; the endpoint is not used'
            yield ("endpoints", index, "addresses", 0), text


def _addresses(path: Path, addresses: Iterable[str], frontend: bool = False) -> Iterator[Finding]:
    """Addresses that are none; with `frontend`, also those that cannot stand for a Service."""
    for address in addresses:
        if address == HEADLESS_IP:
            continue
        if not _version(address):
            yield path, f'"{address}" is not an IP address; it is not used'
        elif frontend and _special(address):
            yield path, f"{address} cannot be a Service's: it is loopback, multicast or unspecified; it is not used"


def _special(address: str) -> bool:
    found = address_of(address)
    return found.is_loopback or found.is_multicast or found.is_unspecified


def _is_network(text: str) -> bool:
    try:
        network_of(text)
    except ValueError:
        return False
    return True


def _version(address: str) -> int:
    """4 or 6; 0 for what is no address."""
    try:
        return address_of(address).version
    except ValueError:
        return 0
