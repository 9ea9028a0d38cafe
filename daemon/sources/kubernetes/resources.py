"""What is asked of the API server: kube-proxy's selection, and the objects that give flows their names.

Services of other proxies and headless ones never come over the wire, nor do the slices of headless Services or pods
that have ended. A kind that the server may not have is asked for now and then.

Source: kube-proxy's informers (cmd/kube-proxy/app/server.go in Kubernetes 1.36).
"""

from __future__ import annotations

from dataclasses import dataclass

from daemon.model.nodes import NodeObject
from daemon.model.objects import (
    HEADLESS_LABEL,
    SERVICE_PROXY_LABEL,
    EndpointSlice,
    KubeObject,
    Namespace,
    Pod,
    Service,
)
from daemon.model.policies import ClusterNetworkPolicy, NetworkPolicy


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind: where it is served, and which of its objects are wanted."""

    kind: type[KubeObject]
    path: str
    labels: str = ""
    fields: str = ""
    optional: bool = False
    """the API may not have it"""
    needed: bool = True
    """nothing is programmed before it was listed; without one that is not, the rest goes on and tells what it lacks"""

    @property
    def name(self) -> str:
        """As users know it: the last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def group(self) -> str:
        """As rules of RBAC name it; "" is the core group."""
        return self.path.split("/")[2] if self.path.startswith("/apis/") else ""

    @property
    def version(self) -> str:
        """The version of the API in which it is read."""
        return self.path.split("/")[-2]

    @property
    def selection(self) -> dict[str, str]:
        """The query that chooses objects."""
        wanted = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {key: value for key, value in wanted.items() if value}


RESOURCES = (
    Resource(Service, "/api/v1/services", f"!{SERVICE_PROXY_LABEL}", "spec.clusterIP!=None"),
    Resource(EndpointSlice, "/apis/discovery.k8s.io/v1/endpointslices", f"!{HEADLESS_LABEL}"),
    Resource(Pod, "/api/v1/pods", fields="status.phase!=Succeeded,status.phase!=Failed"),
    Resource(Namespace, "/api/v1/namespaces"),
    Resource(NodeObject, "/api/v1/nodes"),
    Resource(NetworkPolicy, "/apis/networking.k8s.io/v1/networkpolicies", needed=False),
    Resource(
        ClusterNetworkPolicy,
        "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
        optional=True,
        needed=False,
    ),
)
