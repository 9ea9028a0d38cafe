"""Under which addresses a Service or a pod is reached.

A Service has an inside, its clusterIPs, and an outside: node ports, addresses of load balancers and external ones. The
two have traffic policies of their own, so they are told apart here. An address of one family never leads to backends
of the other, and a Service without clusterIP in a family has no outside in it either, as with kube-proxy.

A type may have changed while the fields of the old one were left in the manifest. The API server clears them; here they
are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network

from daemon.model.addresses import address_of, network_of
from daemon.model.directory import Frontend
from daemon.model.objects import (
    SERVICE_PROXY_LABEL,
    ContainerPort,
    IpMode,
    Pod,
    Service,
    ServicePort,
    ServiceType,
)
from ebpf.addresses import MAPPED, pack, unpack
from ebpf.constants import FrontendFlag
from ebpf.constants import Scope as Audience

ANY_ADDRESS = {4: pack("0.0.0.0"), 6: pack("::")}
"""Stands for all addresses of the node in the keys of frontends, by family."""

OUTSIDE = int(Audience.OUTSIDE)
"""Scope of the frontends that only clients outside get."""

_WITH_NODE_PORTS = frozenset({ServiceType.NODE_PORT, ServiceType.LOAD_BALANCER})


def is_ours(service: Service) -> bool:
    """Whether this proxy serves it: ExternalNames and Services of other proxies are somebody else's."""
    return service.spec.type is not ServiceType.EXTERNAL_NAME and SERVICE_PROXY_LABEL not in service.labels


def node_port(service: Service, port: ServicePort) -> int:
    """The port on every node, 0 for none."""
    return port.node_port if service.spec.type in _WITH_NODE_PORTS else 0


def balancer_addresses(service: Service) -> Iterator[str]:
    """The load balancer's addresses that the node translates; those in mode Proxy go their own way."""
    if service.spec.type is ServiceType.LOAD_BALANCER:
        for entry in service.status.load_balancer.ingress:
            if entry.ip and entry.ip_mode is IpMode.VIP:
                yield entry.ip


def reached_from_outside(service: Service, port: ServicePort) -> bool:
    """Whether the external traffic policy has a say in this port."""
    return bool(node_port(service, port) or service.spec.external_ips or any(balancer_addresses(service)))


def cluster_addresses(service: Service) -> dict[int, bytes]:
    """The first clusterIP of each family (4 or 6); what is no address is passed over."""
    found: dict[int, bytes] = {}
    for raw in _unicast(service.spec.cluster_ips):
        found.setdefault(family_of(raw), raw)
    return found


def inside(address: bytes, ports: Iterable[ServicePort]) -> Iterator[tuple[Frontend, FrontendFlag]]:
    """The frontends under a clusterIP."""
    for port in ports:
        yield Frontend(address, port.port, port.protocol.number), FrontendFlag.CLUSTER_IP


def outside(service: Service, ports: Iterable[ServicePort], family: int) -> Iterator[tuple[Frontend, FrontendFlag]]:
    """The frontends that the rest of the world may use, in one family."""
    external = list(_unicast(service.spec.external_ips, family))
    balancers = list(_unicast(balancer_addresses(service), family))
    for port in ports:
        number = port.protocol.number
        for address in external:
            yield Frontend(address, port.port, number), FrontendFlag.EXTERNAL_IP
        for address in balancers:
            yield Frontend(address, port.port, number), FrontendFlag.LOAD_BALANCER
        if node_port(service, port):
            yield Frontend(ANY_ADDRESS[family], node_port(service, port), number), FrontendFlag.NODE_PORT


def source_ranges(service: Service, family: int) -> tuple[bytes, ...]:
    """Who of a family may reach the load balancer's addresses, as RANGE_SIZE bytes each; none where everybody may.

    A range of length 0 means everybody, whatever else is listed. What is no range is passed over, as are those of the
    other family: where nothing else is listed, everybody of this one may come.
    """
    networks = [network for text in service.spec.load_balancer_source_ranges if (network := _network(text.strip()))]
    own = {network for network in networks if network.version == family}
    if not all(network.prefixlen for network in own):
        return ()
    mapped = 96 if family == 4 else 0
    return tuple(sorted(bytes([network.prefixlen + mapped]) + pack(network.network_address) for network in own))


def pod_addresses(pod: Pod) -> dict[int, bytes]:
    """The pod's first address of each family."""
    found: dict[int, bytes] = {}
    for raw in _unicast(pod.addresses):
        found.setdefault(family_of(raw), raw)
    return found


def host_frontend(port: ContainerPort, family: int) -> Frontend | None:
    """Where a host port is reached in one family; None where its hostIP is of the other one, or is no address.

    Loopback is not served: an entry for it would catch what other workloads send to themselves.
    """
    raw = packed(port.host_ip) if port.host_ip else ANY_ADDRESS[family]
    if raw is None or family_of(raw) != family or not (raw in ANY_ADDRESS.values() or is_unicast(raw)):
        return None
    return Frontend(raw, port.host_port, port.protocol.number)


def family_of(raw: bytes) -> int:
    """4 or 6."""
    return 4 if raw.startswith(MAPPED) else 6


def packed(text: str) -> bytes | None:
    """The 16 bytes of an address; None for text that is none."""
    try:
        return pack(address_of(text))
    except ValueError:
        return None


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return network_of(text)
    except ValueError:
        return None


def is_unicast(raw: bytes) -> bool:
    """Whether an address can be a frontend: not unspecified (it has a meaning of its own), loopback or multicast."""
    address = unpack(raw)
    return not (address.is_unspecified or address.is_loopback or address.is_multicast)


def _unicast(texts: Iterable[str], family: int = 0) -> Iterator[bytes]:
    """The usable addresses, of one family or of both."""
    for text in texts:
        raw = packed(text)
        if raw is not None and is_unicast(raw) and family in (0, family_of(raw)):
            yield raw
