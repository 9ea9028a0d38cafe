"""Every case of the upstream suites that define a service proxy, and what becomes of it here.

The classes say what a case takes: N network namespaces, N+C the same with slices that a controller would write (here
they are written by hand), 2N and 3N several nodes, LB a load balancer (here a router with a way to the nodes). A is
about the API alone, K about kubelet, n/a about something that a proxy in the kernel does not have: those are not run,
and the reason stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a suite: `section` as the suites are divided (services, conntrack, slices, ...), `checks` what of."""

    name: str
    section: str
    kind: str
    checks: str


@dataclass(frozen=True, slots=True)
class Left:
    """A case that is not run, and why."""

    section: str
    kind: str
    checks: str
    reason: str


def _table(section: str, text: str) -> list[Case]:
    rows = (line.split("|") for line in text.strip().splitlines())
    return [Case(name.strip(), section, kind.strip(), checks.strip()) for name, kind, checks in rows]


_SERVICES = """
basic              | N+C | endpoints come and go with their pods, and the Service answers from those that are there
multiport          | N+C | two ports, each with endpoints of its own
ports-change       | N   | ports are added to and taken from a Service that is in use
source-kept        | 2N  | a pod is seen under its own address behind a ClusterIP, on its own and on another node
hairpin            | N   | a pod reaches itself through its Service, by ClusterIP and by node port
up-and-down        | N   | of three Services one goes and a new one comes; the others do not notice
recreated          | N   | a Service of the same name under another ClusterIP
agent-restart      | N   | the agent is killed and started: answers before, after and all the while
source-restart     | N   | the source of objects goes away and comes back: nothing is lost, what is new is taken up
node-port          | 2N  | a node port answers at the addresses of every node, to pods, nodes and the outside
external-ip        | N   | an externalIP that no node has answers to a pod
two-protocols      | N   | a ClusterIP becomes a NodePort with TCP and UDP on one port
external-to-ip     | N   | type ExternalName to ClusterIP
external-to-port   | N   | type ExternalName to NodePort
ip-to-external     | N   | type ClusterIP to ExternalName
port-to-external   | N   | type NodePort to ExternalName
unready-published  | N+C | endpoints that are published although not ready, also while they terminate
terminating-published | 2N | terminating endpoints are reached where publishNotReadyAddresses made them ready
terminating-unpublished | 2N | terminating and unready endpoints are not reached otherwise
affinity-ip        | N   | ClientIP affinity of a ClusterIP: 15 answers in a row from one endpoint
affinity-port      | N   | ClientIP affinity of a node port
affinity-ip-timeout | N  | it ends after its timeout (ClusterIP)
affinity-port-timeout | N | it ends after its timeout (node port)
affinity-ip-switch | N   | affinity is switched on, off and on again (ClusterIP)
affinity-port-switch | N | affinity is switched on, off and on again (node port)
proxy-name         | N   | the label service-proxy-name takes a Service away and gives it back
headless           | N   | the label headless on a slice takes its endpoints away
rejected           | N   | a Service without endpoints refuses, at once
rejected-evicted   | N+C | so does one whose only pods have failed
internal-local     | 2N  | internalTrafficPolicy Local: pod to pod
internal-local-host | 2N | internalTrafficPolicy Local: pod in the node's network to pod
internal-local-to-host | 2N | internalTrafficPolicy Local: pod and node to a pod in the node's network
external-local     | 2N  | externalTrafficPolicy Local: the client's address is kept at the endpoint's node
health-terminating | N   | the health check node port fails with only terminating endpoints, which still serve
fallback-internal-cluster | 2N | terminating endpoints serve when none is ready: internalTrafficPolicy Cluster
fallback-internal-local | 2N | the node's own terminating endpoints: internalTrafficPolicy Local
fallback-external-cluster | 2N | terminating endpoints serve when none is ready: externalTrafficPolicy Cluster
fallback-external-local | 2N | the node's own terminating endpoints: externalTrafficPolicy Local
same-port          | N   | TCP and UDP on one port number, swapped in place
same-port-balancer | N   | the same inside a Service of type LoadBalancer
sctp-objects       | N   | an SCTP Service is taken up without loading the kernel's SCTP
policy-changes     | 3N  | node port and health check node port while externalTrafficPolicy changes to and fro
sidecar-port       | N+C | a port of a restartable init container
sidecar-named-port | N+C | the same by the port's name
named-targets      | N   | a named port with another number at each endpoint
"""
_CONNTRACK = """
udp-node-port      | 2N  | a UDP flow of one source port moves to the new backend: node port
udp-cluster-ip     | 2N  | the same under a ClusterIP
udp-internal-local | 2N  | the same with internalTrafficPolicy Local
udp-host-client    | 2N  | the same from the node's network
udp-draining       | N   | a connected UDP socket stays while its backend terminates and serves, and moves after that
udp-shared-backend | N   | it moves when its Service loses the backend, though another Service keeps it
udp-first-endpoint | N   | a UDP flow that began without endpoints is answered once there is one
stray-segment      | 2N  | a segment outside of any window does not reset the connection
udp-target-port    | N   | a UDP flow follows a changed targetPort of a node port
"""
_SLICES = """
slice-ports        | N   | several ports in several slices
slice-addresses    | N   | several endpoint addresses in several slices
mirrored           | N+C | mirrored Endpoints: several subsets with the same address
"""
_GRANULAR = """
proxy-urls         | N   | /healthz and /livez with lastUpdated, /proxyMode
pod-http           | 2N  | from a pod, TCP: every endpoint is seen by ClusterIP and node port
pod-udp            | 2N  | the same, UDP
pod-sctp           | 2N  | the same, SCTP
node-http          | 2N  | from a node, TCP
node-udp           | 2N  | from a node, UDP
node-sctp          | 2N  | from a node, SCTP
endpoint-http      | 2N  | from an endpoint of the Service, TCP
endpoint-udp       | 2N  | from an endpoint of the Service, UDP
endpoint-sctp      | 2N  | from an endpoint of the Service, SCTP
shared-selector    | N   | several Services with the same endpoints
update-endpoints   | N   | an endpoint that goes is not seen again, TCP and UDP
update-node-port   | N   | a node port that goes does not answer any more, TCP and UDP
node-port-udp      | N   | UDP through a node port
affinity           | N   | ClientIP affinity holds for a client, TCP and UDP
large              | N   | 2,000 bytes in one request, TCP, and in one datagram, UDP (fragments)
host-endpoints     | 2N  | endpoints in the nodes' own network
repair             | N   | our programs are taken off a device: the agent puts them back
"""
_OTHER = """
distribution-zone  | 3N  | hints for zones: clients reach the endpoints of their own zone
distribution-nodes | 3N  | the same where a zone has several nodes
distribution-all   | 3N  | one endpoint without hints: hints do not apply
distribution-node  | 3N  | hints for nodes win over those for zones
distribution-node-zone | 3N | a node without an endpoint of its own falls back to its zone
distribution-returns | 3N | a node's endpoint becomes unavailable and returns
host-ports         | N   | the same hostPort with other protocols and hostIPs
pods-untouched     | 2N  | pods and nodes reach pods by their own addresses, unseen by Services
rolling-ready      | 2N  | a rollout from one set of pods to another without a failed request
draining           | 2N  | an open connection to a terminating endpoint goes on, new ones go elsewhere
blue-green         | 2N  | a Service is switched from one set of pods to another
service-cidr       | N   | ClusterIPs of another range
throughput         | 2N  | several parallel streams through a ClusterIP and back are complete
"""
_BALANCERS = """
lb-tcp             | LB  | a TCP Service becomes a LoadBalancer and back; its port changes
lb-udp             | LB  | the same, UDP
lb-source-ranges   | LB  | loadBalancerSourceRanges admit some clients, outside and inside, and change live
lb-affinity-cluster | LB | ClientIP affinity under a balancer's address, externalTrafficPolicy Cluster, and its switch
lb-affinity-local  | LB  | the same with externalTrafficPolicy Local
lb-no-node-port    | LB  | a balancer's address without node ports, and with them later
lb-udp-other-node  | LB  | a UDP flow moves when its backend goes: new backend on another node
lb-udp-same-node   | LB  | the same: new backend on the same node
lb-rolling-cluster | LB  | no failed request during a rolling update, externalTrafficPolicy Cluster
lb-rolling-local   | LB  | the same, externalTrafficPolicy Local
lb-local           | LB  | externalTrafficPolicy Local: the client's address is kept
lb-local-nodes     | LB  | only nodes with endpoints pass the balancer's check
lb-local-all-nodes | LB  | endpoints on all nodes: all of them answer under the balancer's address
lb-local-pods      | LB  | pods reach the balancer's address and are seen under their own
lb-proxy-mode      | LB  | ipMode Proxy: the traffic of pods leaves for the balancer
"""
_MATRIX = """
table              | 3N  | who answers, and whom the endpoint sees, for each client, address and policy
"""

CASES = {
    case.name: case
    for case in [
        *_table("services", _SERVICES),
        *_table("conntrack", _CONNTRACK),
        *_table("slices", _SLICES),
        *_table("granular", _GRANULAR),
        *_table("other", _OTHER),
        *_table("balancers", _BALANCERS),
        *_table("table", _MATRIX),
    ]
}

NOT_RUN = [
    Left("services", "A", "node port collisions, range and release", "the API server's allocator decides"),
    Left("services", "A", "finding Services in all namespaces; status life cycle; deleting a collection", "API alone"),
    Left("slices", "A", "Endpoints and EndpointSlices for matching Pods, for none, and their API", "API alone"),
    Left(
        "slices", "A", "life cycle of mirrored Endpoints; Endpoints life cycle (3)", "controllers in the control plane"
    ),
    Left("granular", "n/a", "iptables rules are made again when deleted", "there are none; see `repair`"),
    Left("granular", "A", "a Pod with an SCTP HostPort can be made", "API alone"),
    Left(
        "granular", "A", "single- and dual-stack Services get their families (5)", "the API server's allocator decides"
    ),
    Left("other", "n/a", "metric of localhost node ports (KubeProxyNFAcct)", "counts iptables rules"),
    Left(
        "other",
        "n/a",
        "TCP CLOSE_WAIT timeout of the kernel's connection tracking",
        "Services do not go through the kernel's connection tracking, so there is no entry with a timeout",
    ),
    Left(
        "other", "A", "latency of endpoints below 20 s (median) and 50 s", "of the controllers; ours is in benchmarks"
    ),
    Left("other", "A", "API server proxy (3)", "no service proxy has a part in it"),
    Left(
        "other",
        "3N",
        "topology hints are distributed evenly",
        "the controller's work; what follows is `distribution-*`",
    ),
]


def case(name: str) -> pytest.MarkDecorator:
    """Marks a test as one of this case; with parameters it is several."""
    assert name in CASES, name
    return pytest.mark.conformance(name)


def each(name: str, value: Any) -> Any:
    """A parameter of a test that several cases share."""
    return pytest.param(value, marks=case(name), id=name)
