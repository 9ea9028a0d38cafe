"""The words that all parts of the agent share: frozen values that import nothing of ours.

What is wanted comes in as Kubernetes objects (`objects`, gathered in a `snapshot`); what runs here is told as
workloads (`workload`); and whoever holds a number or an address asks the `directory` for its name.
"""

from daemon.model.directory import (
    FIRST_IDENTITY,
    FIRST_WORKLOAD,
    HOST,
    WORLD,
    Directory,
    Frontend,
    ServiceName,
)
from daemon.model.objects import (
    AddressType,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Namespace,
    ObjectRef,
    Pod,
    Protocol,
    Service,
    ServicePort,
)
from daemon.model.snapshot import Problem, Severity, Snapshot
from daemon.model.workload import Identity, IPAddress, Node, Owner, Workload, WorkloadId

__all__ = [
    "FIRST_IDENTITY",
    "FIRST_WORKLOAD",
    "HOST",
    "WORLD",
    "AddressType",
    "Directory",
    "Endpoint",
    "EndpointPort",
    "EndpointSlice",
    "Frontend",
    "IPAddress",
    "Identity",
    "Namespace",
    "Node",
    "ObjectRef",
    "Owner",
    "Pod",
    "Problem",
    "Protocol",
    "Service",
    "ServiceName",
    "ServicePort",
    "Severity",
    "Snapshot",
    "Workload",
    "WorkloadId",
]
