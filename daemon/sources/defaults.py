"""What the API server would fill in before anyone sees an object.

A manifest in a folder never passes an API server. Defaults that concern one field stand at the field
(`daemon.model.objects`); here are those that look at another one. Addresses are not allocated: a Service in a folder
names its own clusterIP.
"""

from __future__ import annotations

from msgspec.structs import replace

from daemon.model.nodes import NodeObject
from daemon.model.objects import KubeObject, Namespace, Service, ServicePort
from daemon.model.policies import NAMESPACE_NAME_LABEL, ClusterNetworkPolicy, NetworkPolicy
from daemon.model.shields import Shield

CLUSTER_WIDE = Namespace | NodeObject | ClusterNetworkPolicy | Shield


def with_defaults(found: KubeObject) -> KubeObject:
    """The object as the API server would store it: with its namespace, and all that follows from another field."""
    namespace = "" if isinstance(found, CLUSTER_WIDE) else found.namespace or "default"
    if namespace != found.namespace:
        found = replace(found, metadata=replace(found.metadata, namespace=namespace))
    if isinstance(found, Service):
        return _service(found)
    if isinstance(found, NetworkPolicy):
        return replace(found, spec=replace(found.spec, policy_types=found.spec.types))
    return _namespace(found) if isinstance(found, Namespace) else found


def _namespace(found: Namespace) -> Namespace:
    """Its name is one of its labels."""
    labels = {**found.labels, NAMESPACE_NAME_LABEL: found.name}
    return replace(found, metadata=replace(found.metadata, labels=labels))


def _service(service: Service) -> Service:
    spec = service.spec
    addresses = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    first = spec.cluster_ip or (addresses[0] if addresses else "")
    ports = tuple(_port(port) for port in spec.ports)
    return replace(service, spec=replace(spec, cluster_ip=first, cluster_ips=addresses, ports=ports))


def _port(port: ServicePort) -> ServicePort:
    return port if port.target_port is not None else replace(port, target_port=port.port)
