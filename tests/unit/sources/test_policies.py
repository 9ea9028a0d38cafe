"""Policies from manifests: defaulted as the API server would, and refused where it would, with the line."""

from __future__ import annotations

from textwrap import dedent

import pytest

from daemon.model.nodes import NodeObject
from daemon.model.objects import Namespace
from daemon.model.policies import ClusterNetworkPolicy, NetworkPolicy, PolicyType
from daemon.policy.parse import parse
from daemon.sources.decode import Manifest, read_manifest
from daemon.sources.manifest import ManifestError

NETWORK = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n"
CLUSTER = (
    "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: c}\n"
    "spec:\n  tier: Admin\n  priority: 1\n"
)
SUBJECT = "  subject: {namespaces: {}}\n"


def read(text: str) -> Manifest:
    return read_manifest(dedent(text))


def network(spec: str) -> NetworkPolicy:
    (found,) = read(NETWORK + spec).objects
    assert isinstance(found.object, NetworkPolicy)
    return found.object


def refusal(text: str) -> tuple[int, str]:
    with pytest.raises(ManifestError) as caught:
        read(text)
    return caught.value.line, str(caught.value)


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ("  podSelector: {}\n", "I"),
        ("  ingress: [{}]\n", "I"),
        ("  egress: []\n", "I"),
        ("  policyTypes: []\n  egress: [{}]\n", "IE"),
        ("  policyTypes: [Egress]\n", "E"),
    ],
)
def test_policy_types_are_filled_in(spec: str, types: str) -> None:
    letters = {"I": PolicyType.INGRESS, "E": PolicyType.EGRESS}
    assert network(spec).spec.policy_types == tuple(letters[one] for one in types)


def test_namespace_protocol_and_pod_selector_are_filled_in() -> None:
    found = network("  ingress: [{ports: [{port: 80}, {port: web}]}]\n")
    assert found.ref.namespace == "default"
    assert [(port.port, port.protocol.value) for port in found.spec.ingress[0].ports] == [(80, "TCP"), ("web", "TCP")]
    assert found.spec.pod_selector.match_labels == {}


def test_null_is_as_good_as_absent() -> None:
    null = network("  podSelector: null\n  ingress: null\n  egress: null\n  policyTypes: null\n")
    assert null == network("  podSelector: {}\n")


def test_an_absent_and_an_empty_peer_selector_are_not_the_same() -> None:
    found = network("  ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}]}]\n")
    first, second = found.spec.ingress[0].from_
    assert first.namespace_selector is None
    assert second.pod_selector is None
    assert second.namespace_selector is not None


def test_a_namespaces_name_is_one_of_its_labels_whatever_is_written() -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {a: b, kubernetes.io/metadata.name: y}}\n"
    (found,) = read(text).objects
    assert isinstance(found.object, Namespace)
    assert found.object.labels == {"a": "b", "kubernetes.io/metadata.name": "x"}


def test_nodes_and_cluster_policies_are_in_no_namespace() -> None:
    status = "status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}"
    text = f"apiVersion: v1\nkind: Node\nmetadata: {{name: n}}\n{status}\n---\n{CLUSTER}{SUBJECT}"
    node, policy = (found.object for found in read(text).objects)
    assert isinstance(node, NodeObject)
    assert node.status.addresses[0].address == "10.0.0.1"
    assert isinstance(policy, ClusterNetworkPolicy)
    assert (node.namespace, policy.namespace) == ("", "")


@pytest.mark.parametrize(
    ("spec", "line", "words"),
    [
        ("  ingress:\n  - from:\n    - {}\n", 7, "spec.ingress[0].from[0]: neither podSelector"),
        (
            "  ingress:\n  - from:\n    - podSelector: {}\n      ipBlock: {cidr: 10.0.0.0/8}\n",
            7,
            "ipBlock stands alone",
        ),
        ("  egress:\n  - to:\n    - ipBlock:\n        cidr: 10.0.0.0\n", 8, "spec.egress[0].to[0].ipBlock.cidr"),
        ("  egress:\n  - to:\n    - ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}\n", 7, "not strictly inside"),
        ("  egress:\n  - to:\n    - ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/9]}\n", 7, "not strictly inside"),
        ("  egress:\n  - to:\n    - ipBlock: {cidr: 10.0.0.0/8, except: ['fd00::/9']}\n", 7, "not strictly inside"),
        ("  ingress:\n  - ports:\n    - {port: 0}\n", 7, "0 is not between 1 and 65535"),
        ("  ingress:\n  - ports:\n    - {port: 80, endPort: 79}\n", 7, "79 is less than port 80"),
        ("  ingress:\n  - ports:\n    - {port: web, endPort: 90}\n", 7, "needs a numeric port"),
        ("  ingress:\n  - ports:\n    - {endPort: 90}\n", 7, "needs a numeric port"),
        ("  ingress:\n  - ports:\n    - {port: a-name-that-is-too-long}\n", 7, "is no port name"),
        ("  ingress:\n  - ports:\n    - {port: '80'}\n", 7, "is no port name"),
        ("  ingress:\n  - ports:\n    - {protocol: ICMP}\n", 7, "Invalid enum value"),
        ("  policyTypes: [Both]\n", 5, "Invalid enum value"),
        ("  podSelector: {matchExpressions: [{key: a, operator: In}]}\n", 5, "In needs values"),
        ("  podSelector: {matchExpressions: [{key: a, operator: Exists, values: [x]}]}\n", 5, "takes no values"),
        ("  podSelector: {matchExpressions: [{key: a, operator: Like}]}\n", 5, "Invalid enum value"),
        ("  podSelector: {matchLabels: {'a b': c}}\n", 5, "is no label key"),
        ("  podSelector: {matchLabels: {a: 'b c'}}\n", 5, "is no label value"),
    ],
)
def test_a_network_policy_that_the_api_server_would_refuse(spec: str, line: int, words: str) -> None:
    where, what = refusal(NETWORK + spec)
    assert words in what
    assert where == line
    assert "default/p" in what


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "subject"),
        ("  subject: {}\n", "exactly one of namespaces and pods"),
        ("  subject: {namespaces: {}, pods: {podSelector: {}}}\n", "exactly one of namespaces and pods"),
        (f"{SUBJECT}  egress: [{{action: Deny, to: []}}]\n", "spec.egress[0].to"),
        (f"{SUBJECT}  egress: [{{action: Allow, to: [{{namespaces: {{}}}}]}}]\n", "Invalid enum value"),
        (f"{SUBJECT}  egress: [{{action: Deny, to: [{{namespaces: {{}}, nodes: {{}}}}]}}]\n", "make two elements"),
        (f"{SUBJECT}  egress: [{{action: Deny, to: [{{networks: []}}]}}]\n", "write 1 to 25"),
        (f"{SUBJECT}  egress: [{{action: Deny, to: [{{networks: [10.0.0.1]}}]}}]\n", "is not a network"),
        (f"{SUBJECT}  egress: [{{action: Accept, to: [{{domainNames: ['*.*.com']}}]}}]\n", "is no name such as"),
        (f"{SUBJECT}  egress: [{{action: Accept, to: [{{domainNames: [a.b, a.b]}}]}}]\n", "there twice"),
        (f"{SUBJECT}  ingress: [{{action: Deny, from: [{{networks: [10.0.0.0/8]}}]}}]\n", "egress alone"),
        (f"{SUBJECT}  ingress: [{{action: Deny, from: [{{namespaces: {{}}}}], protocols: []}}]\n", "leave it out"),
        (
            f"{SUBJECT}  ingress: [{{action: Deny, from: [{{namespaces: {{}}}}], protocols: [{{}}]}}]\n",
            "exactly one of",
        ),
        (
            f"{SUBJECT}  ingress: [{{action: Deny, from: [{{namespaces: {{}}}}], protocols: [{{tcp: {{}}}}]}}]\n",
            "no destinationPort",
        ),
        (
            f"{SUBJECT}  egress:\n  - action: Deny\n    to: [{{nodes: {{}}}}]\n"
            "    protocols: [{destinationNamedPort: web}]\n",
            "no named ports",
        ),
        (
            f"{SUBJECT}  egress:\n  - action: Deny\n    to: [{{namespaces: {{}}}}]\n    protocols:\n"
            "    - tcp: {destinationPort: {range: {start: 80, end: 80}}}\n",
            "start 80 is not less than end 80",
        ),
    ],
)
def test_a_cluster_policy_that_the_api_server_would_refuse(spec: str, words: str) -> None:
    assert words in refusal(CLUSTER + spec)[1]


@pytest.mark.parametrize("value", ["-1", "1001"])
def test_a_priority_beyond_its_limits_is_refused(value: str) -> None:
    assert "priority" in refusal((CLUSTER + SUBJECT).replace("priority: 1", f"priority: {value}"))[1]


@pytest.mark.parametrize(
    ("rule", "effect"),
    [
        ("{action: Accept, to: [{newer: {}}]}", "matches nothing"),
        ("{action: Pass, to: [{newer: {}}]}", "denies everything"),
        ("{action: Deny, to: [{domainNames: [a.example.com]}]}", "denies everything"),
    ],
)
def test_a_rule_that_fails_closed_is_noted(rule: str, effect: str) -> None:
    (note,) = read(CLUSTER + SUBJECT + f"  egress:\n  - {rule}\n").notes
    assert effect in note.message
    assert note.line == 9


def test_leading_zeros_are_decimal() -> None:
    padded, plain = (
        parse(network(f"  egress: [{{to: [{{ipBlock: {{cidr: {cidr}}}}}]}}]\n"))
        for cidr in ("010.000.0.0/8", "10.0.0.0/8")
    )
    assert padded == plain
