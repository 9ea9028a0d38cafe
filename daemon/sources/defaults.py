"""What the API server would fill in before anyone sees an object.

A manifest in a folder never passes an API server. Defaults that concern one field stand at the field
(`daemon.model.objects`); here are those that look at another one. Addresses are not allocated: a Service in a folder
names its own clusterIP.
"""

from __future__ import annotations

from msgspec.structs import replace

from daemon.model.nodes import NodeObject
from daemon.model.objects import KubeObject, Namespace, Service, ServicePort


def with_defaults(found: KubeObject) -> KubeObject:
    """The object as the API server would store it: namespace "default", both spellings of clusterIP, targetPort."""
    namespace = "" if isinstance(found, Namespace | NodeObject) else found.namespace or "default"
    if namespace != found.namespace:
        found = replace(found, metadata=replace(found.metadata, namespace=namespace))
    return _service(found) if isinstance(found, Service) else found


def _service(service: Service) -> Service:
    spec = service.spec
    addresses = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    first = spec.cluster_ip or (addresses[0] if addresses else "")
    ports = tuple(_port(port) for port in spec.ports)
    return replace(service, spec=replace(spec, cluster_ip=first, cluster_ips=addresses, ports=ports))


def _port(port: ServicePort) -> ServicePort:
    return port if port.target_port is not None else replace(port, target_port=port.port)
