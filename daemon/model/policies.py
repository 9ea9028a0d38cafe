"""Policies and what they select on, reduced to the fields that decide something.

Two kinds: NetworkPolicy (`networking.k8s.io/v1`), which isolates and allows, and ClusterNetworkPolicy
(`policy.networking.k8s.io/v1alpha2`), which accepts, denies and passes on in two tiers around it. What is absent and
what is empty mean different things here, so an absent field is None wherever that matters. Nodes are here because
only policies ask for their labels and addresses.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType, field

from daemon.model.objects import KubeObject, Part, PortNumber, Protocol

RULES_MAX = 25  # of a ClusterNetworkPolicy, in each direction; also of peers, networks, protocols and names
NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"

Labels = dict[str, str]


class Operator(Enum):
    """How an expression compares a label; NotIn and DoesNotExist also hold where the key is absent."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class PolicyType(Enum):
    INGRESS = "Ingress"
    EGRESS = "Egress"


class Tier(Enum):
    """Admin policies come before every NetworkPolicy, Baseline ones after."""

    ADMIN = "Admin"
    BASELINE = "Baseline"


class RuleAction(Enum):
    ACCEPT = "Accept"
    DENY = "Deny"
    PASS = "Pass"


class Requirement(Part, frozen=True):
    key: Annotated[str, Meta(min_length=1)]
    operator: Operator
    values: tuple[str, ...] = ()


class LabelSelector(Part, frozen=True):
    """Both parts must hold; an empty selector matches everything."""

    match_labels: Labels = field(default_factory=dict)
    match_expressions: tuple[Requirement, ...] = ()


class Policy(KubeObject, frozen=True):
    """What both kinds of policies have."""


class IPBlock(Part, frozen=True):
    cidr: str
    except_: tuple[str, ...] = field(default=(), name="except")


class NetworkPolicyPeer(Part, frozen=True):
    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class NetworkPolicyPort(Part, frozen=True):
    """`port` is a number or the name of a container's port; None is every port of the protocol."""

    port: int | str | None = None
    protocol: Protocol = Protocol.TCP
    end_port: PortNumber | None = None


class IngressRule(Part, frozen=True):
    from_: tuple[NetworkPolicyPeer, ...] = field(default=(), name="from")
    ports: tuple[NetworkPolicyPort, ...] = ()

    @property
    def peers(self) -> tuple[NetworkPolicyPeer, ...]:
        return self.from_


class EgressRule(Part, frozen=True):
    to: tuple[NetworkPolicyPeer, ...] = ()
    ports: tuple[NetworkPolicyPort, ...] = ()

    @property
    def peers(self) -> tuple[NetworkPolicyPeer, ...]:
        return self.to


class NetworkPolicySpec(Part, frozen=True):
    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[PolicyType, ...] = ()
    ingress: tuple[IngressRule, ...] = ()
    egress: tuple[EgressRule, ...] = ()

    @property
    def types(self) -> tuple[PolicyType, ...]:
        """The directions that the policy isolates, also where nobody filled in `policyTypes`."""
        filled = (PolicyType.INGRESS, PolicyType.EGRESS) if self.egress else (PolicyType.INGRESS,)
        return self.policy_types or filled


class NetworkPolicy(Policy, frozen=True):
    spec: NetworkPolicySpec = NetworkPolicySpec()


class NamespacedPods(Part, frozen=True):
    namespace_selector: LabelSelector = LabelSelector()
    pod_selector: LabelSelector = LabelSelector()


class Subject(Part, frozen=True):
    """Exactly one is set."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None


class ClusterPeer(Part, frozen=True):
    """Exactly one is set; none means that the object knows a field that we do not, and the rule fails closed.

    The last three are of egress alone.
    """

    namespaces: LabelSelector | None = None
    pods: NamespacedPods | None = None
    nodes: LabelSelector | None = None
    networks: tuple[str, ...] | UnsetType = UNSET
    domain_names: tuple[str, ...] | UnsetType = UNSET


class PortRange(Part, frozen=True):
    start: PortNumber
    end: PortNumber


class ClusterPort(Part, frozen=True):
    """Exactly one is set."""

    number: PortNumber | None = None
    range: PortRange | None = None


class Transport(Part, frozen=True):
    destination_port: ClusterPort | None = None


class ClusterProtocol(Part, frozen=True):
    """Exactly one is set."""

    tcp: Transport | None = None
    udp: Transport | None = None
    sctp: Transport | None = None
    destination_named_port: str = ""


class ClusterIngressRule(Part, frozen=True):
    action: RuleAction
    from_: Annotated[tuple[ClusterPeer, ...], Meta(min_length=1, max_length=RULES_MAX)] = field(name="from")
    name: Annotated[str, Meta(max_length=100)] = ""
    protocols: Annotated[tuple[ClusterProtocol, ...], Meta(max_length=RULES_MAX)] | None = None

    @property
    def peers(self) -> tuple[ClusterPeer, ...]:
        return self.from_


class ClusterEgressRule(Part, frozen=True):
    action: RuleAction
    to: Annotated[tuple[ClusterPeer, ...], Meta(min_length=1, max_length=RULES_MAX)]
    name: Annotated[str, Meta(max_length=100)] = ""
    protocols: Annotated[tuple[ClusterProtocol, ...], Meta(max_length=RULES_MAX)] | None = None

    @property
    def peers(self) -> tuple[ClusterPeer, ...]:
        return self.to


class ClusterNetworkPolicySpec(Part, frozen=True):
    tier: Tier
    priority: Annotated[int, Meta(ge=0, le=1000)]
    subject: Subject
    ingress: Annotated[tuple[ClusterIngressRule, ...], Meta(max_length=RULES_MAX)] = ()
    egress: Annotated[tuple[ClusterEgressRule, ...], Meta(max_length=RULES_MAX)] = ()


class ClusterNetworkPolicy(Policy, frozen=True):
    spec: ClusterNetworkPolicySpec = field()
