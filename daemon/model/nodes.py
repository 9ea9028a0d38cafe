"""Node objects, reduced to the fields that the agent reads: its own node's zone and health, all nodes' addresses.

Source: the API reference of `v1` Node.
"""

from __future__ import annotations

from daemon.model.objects import KubeObject, ObjectRef, Part

ZONE_LABEL = "topology.kubernetes.io/zone"
AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"


class NodeAddress(Part, frozen=True):
    """An address or a name of a node; `type` is InternalIP, ExternalIP, Hostname …"""

    address: str
    type: str = ""


class Taint(Part, frozen=True):
    key: str


class NodeSpec(Part, frozen=True):
    taints: tuple[Taint, ...] = ()


class NodeStatus(Part, frozen=True):
    addresses: tuple[NodeAddress, ...] = ()


class NodeObject(KubeObject, frozen=True):
    """A Node; the word is `daemon.model.Node`'s, which is the host that the agent runs on."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef("Node", "", self.metadata.name)

    @property
    def zone(self) -> str:
        """Topology zone, "" where there is none."""
        return self.metadata.labels.get(ZONE_LABEL, "")

    @property
    def leaving(self) -> bool:
        """The node is being deleted or about to be: load balancers are to leave it."""
        tainted = any(taint.key == AUTOSCALER_TAINT for taint in self.spec.taints)
        return tainted or bool(self.metadata.deletion_timestamp)
