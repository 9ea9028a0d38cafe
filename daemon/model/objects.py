"""Kubernetes objects, reduced to the fields that the agent reads.

The client libraries' models cost kilobytes an object and seconds for ten thousand pods. msgspec decodes the same
YAML or JSON straight into these small structs and refuses values of the wrong type with the path of the field.
Unknown fields are skipped. Field names are those of the API, in Python's spelling.

Sources: the API reference of `v1` Service, Pod, Namespace and of `discovery.k8s.io/v1` EndpointSlice.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct, field

PortNumber = Annotated[int, Meta(ge=1, le=65535)]
OptionalPort = Annotated[int, Meta(ge=0, le=65535)]  # 0: none

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
SERVICE_PROXY_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
HEADLESS_IP = "None"


class Protocol(Enum):
    """Transport of a port, by the API's word; `number` is the IP protocol's."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"

    @property
    def number(self) -> int:
        return _PROTOCOL_NUMBERS[self]


_PROTOCOL_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}


class AddressType(Enum):
    """What a slice's addresses are."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"
    FQDN = "FQDN"


class ServiceType(Enum):
    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_NAME = "ExternalName"


class TrafficPolicy(Enum):
    """Whether all endpoints may be used, or only those of the node that the traffic arrives at."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class SessionAffinity(Enum):
    """Whether a client comes back to the backend that it had before."""

    NONE = "None"
    CLIENT_IP = "ClientIP"


class IpMode(Enum):
    """Whether a load balancer's address is translated by the node (VIP) or left to the balancer (Proxy)."""

    VIP = "VIP"
    PROXY = "Proxy"


class ObjectRef(NamedTuple):
    """The name of one object; `namespace` is "" for what is not in one."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Part(Struct, frozen=True, rename="camel", gc=False):
    """Base of everything decoded: immutable, camelCase on the wire, never part of a reference cycle."""


class OwnerReference(Part, frozen=True):
    kind: str
    name: str
    controller: bool = False


class Annotations(Part, frozen=True):
    """Those that mean something here; others can be long, and are not kept.

    `changed_at` is what the EndpointSlice controller writes: when the pod or Service changed that made it write.
    `service_path`: `packet` or `socket`, where a pod's Services are translated. `mode` of a policy is `audit` where its
    denials are only counted and told. `algorithm` of a Service, `maglev` or `random`: how clients outside are spread.
    """

    changed_at: str = field(name="endpoints.kubernetes.io/last-change-trigger-time", default="")
    service_path: str = field(name="remora.io/service-path", default="")
    mode: str = field(name="remora.io/mode", default="")
    algorithm: str = field(name="remora.io/algorithm", default="")


class ObjectMeta(Part, frozen=True):
    name: Annotated[str, Meta(min_length=1)]
    namespace: str = ""
    labels: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    annotations: Annotations = Annotations()
    deletion_timestamp: str = ""


class KubeObject(Part, frozen=True):
    """What every object has. `kind` is spelled by the class, since a list's items may leave it out."""

    metadata: ObjectMeta

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def labels(self) -> dict[str, str]:
        return self.metadata.labels

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(type(self).__name__, self.metadata.namespace, self.metadata.name)


class ServicePort(Part, frozen=True):
    """One port of a Service. `target_port` is a number or the name of a container's port; None: same as `port`."""

    port: PortNumber
    name: str = ""
    protocol: Protocol = Protocol.TCP
    target_port: int | str | None = None
    node_port: OptionalPort = 0


class ClientIPConfig(Part, frozen=True):
    """How long a client stays with its backend after its last connection (seconds)."""

    timeout_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 10_800


class SessionAffinityConfig(Part, frozen=True):
    client_ip: ClientIPConfig = field(default=ClientIPConfig(), name="clientIP")


class ServiceSpec(Part, frozen=True):
    type: ServiceType = ServiceType.CLUSTER_IP
    cluster_ip: str = field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = field(default=(), name="clusterIPs")
    external_ips: tuple[str, ...] = field(default=(), name="externalIPs")
    ports: tuple[ServicePort, ...] = ()
    internal_traffic_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    external_traffic_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    session_affinity: SessionAffinity = SessionAffinity.NONE
    session_affinity_config: SessionAffinityConfig = SessionAffinityConfig()
    health_check_node_port: OptionalPort = 0
    load_balancer_source_ranges: tuple[str, ...] = ()


class LoadBalancerIngress(Part, frozen=True):
    ip: str = ""
    ip_mode: IpMode = IpMode.VIP


class LoadBalancerStatus(Part, frozen=True):
    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(Part, frozen=True):
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(KubeObject, frozen=True):
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class EndpointConditions(Part, frozen=True):
    """As the API writes them; None is unknown and reads as in `Endpoint`."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Part, frozen=True):
    name: str


class ForNode(Part, frozen=True):
    name: str


class EndpointHints(Part, frozen=True):
    for_zones: tuple[ForZone, ...] = ()
    for_nodes: tuple[ForNode, ...] = ()


class Endpoint(Part, frozen=True):
    """One endpoint of a slice. All addresses are one and the same endpoint; only the first is used."""

    addresses: Annotated[tuple[str, ...], Meta(min_length=1)]
    conditions: EndpointConditions = EndpointConditions()
    hints: EndpointHints = EndpointHints()
    node_name: str = ""
    zone: str = ""

    @property
    def ready(self) -> bool:
        return self.conditions.ready is not False

    @property
    def serving(self) -> bool:
        return self.conditions.serving is not False

    @property
    def terminating(self) -> bool:
        return self.conditions.terminating is True


class EndpointPort(Part, frozen=True):
    """A port of all endpoints of a slice; 0 means that the slice did not restrict it, and is not used."""

    port: OptionalPort = 0
    name: str = ""
    protocol: Protocol = Protocol.TCP


class EndpointSlice(KubeObject, frozen=True):
    address_type: AddressType
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()

    @property
    def service(self) -> str:
        """Name of the Service that the slice belongs to, "" when the slice does not say."""
        return self.metadata.labels.get(SERVICE_NAME_LABEL, "")


class PodIP(Part, frozen=True):
    ip: str


class ContainerPort(Part, frozen=True):
    """A port of a container; with `host_port`, the node's own port that leads there. `host_ip` "" is any address."""

    container_port: PortNumber
    name: str = ""
    host_port: OptionalPort = 0
    host_ip: str = field(default="", name="hostIP")
    protocol: Protocol = Protocol.TCP


class Container(Part, frozen=True):
    ports: tuple[ContainerPort, ...] = ()


class InitContainer(Container, frozen=True):
    """One that runs before the others, or, where it is restarted Always, beside them."""

    restart_policy: str = ""


class PodSpec(Part, frozen=True):
    node_name: str = ""
    host_network: bool = False
    runtime_class_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[InitContainer, ...] = ()


class PodStatus(Part, frozen=True):
    """`phase` is Pending, Running, Succeeded, Failed or Unknown; the addresses of a finished pod are not its own."""

    phase: str = ""
    pod_ip: str = field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = field(default=(), name="podIPs")


class Pod(KubeObject, frozen=True):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def leaving(self) -> bool:
        """It is being deleted: what it claims may be another's already, while its end is not told yet."""
        return bool(self.metadata.deletion_timestamp)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The pod's addresses as text: `podIPs`, or `podIP` where a manifest gives only that."""
        listed = tuple(entry.ip for entry in self.status.pod_ips)
        return listed or ((self.status.pod_ip,) if self.status.pod_ip else ())

    @property
    def ports(self) -> tuple[ContainerPort, ...]:
        """The ports of all containers that run, those beside the others last."""
        beside = [one for one in self.spec.init_containers if one.restart_policy == "Always"]
        return tuple(port for one in (*self.spec.containers, *beside) for port in one.ports)

    @property
    def host_ports(self) -> tuple[ContainerPort, ...]:
        """The ports by which the pod is reached under its node's address."""
        return tuple(port for port in self.ports if port.host_port)


class Namespace(KubeObject, frozen=True):
    pass
