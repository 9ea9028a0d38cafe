"""The checks themselves, each from a client's call to what the agent says of it.

A check returns what it saw in a few words, or raises FailedError with what to look at.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from daemon.connectivity.objects import BACKENDS, CLOSED_PORT, DNS_NAME, NAMESPACE, POLICY, PORT, Plan
from daemon.connectivity.results import FailedError, SkippedError
from daemon.demo.signals import Rest
from daemon.proto import flow_pb2, observer_pb2, remora_pb2, remora_pb2_grpc

REQUESTS = 12  # connections by which both backends are found: all to one happens once in two thousand times
PROMPT = 500.0  # ms within which a refusal has to come: nobody waited for a lost packet
PATIENCE = 8.0  # s until a flow that happened must be told
ALL = 2**31 - 1
_POLL = 0.1
_TIMEOUT = 5.0  # s for an answer of the agent

Test = Callable[["Stand"], str]


@dataclass(frozen=True, slots=True)
class Check:
    """`job` is steer, guard or watch; `what` is checked, as a line says it."""

    job: str
    what: str
    test: Test


class Place(Protocol):
    """Where the pods of a test are: namespaces of this host, or a cluster."""

    @property
    def plan(self) -> Plan:
        """Their addresses, and those of the Services."""

    @property
    def rest(self) -> Rest:
        """For waits that a signal ends."""

    def ask(self, pod: str, *arguments: str) -> list[dict[str, Any]]:
        """What a client in a pod tells; raises FailedError for one that does not end, Interrupted."""


@dataclass(frozen=True, slots=True)
class Stand:
    """What a check works with."""

    site: Place
    agent: remora_pb2_grpc.AgentStub

    def flow(self, fits: Callable[[remora_pb2.FlowItem], bool], what: str, since: int, hint: str) -> Any:
        """The first flow of the test's pods since then (ns since the epoch) that fits; raises FailedError."""
        filters = [
            flow_pb2.FlowFilter(source_pod=[f"{NAMESPACE}/"]),
            flow_pb2.FlowFilter(destination_pod=[f"{NAMESPACE}/"]),
        ]
        request = observer_pb2.GetFlowsRequest(number=ALL, whitelist=filters)
        request.since.FromNanoseconds(since)
        deadline = time.monotonic() + PATIENCE
        while True:
            for item in self._flows(request):
                if fits(item):
                    return item
            if time.monotonic() > deadline:
                raise FailedError(f"no flow told {what} within {PATIENCE:g} s", hint)
            self.site.rest.sleep(_POLL)

    def _flows(self, request: observer_pb2.GetFlowsRequest) -> list[remora_pb2.FlowItem]:
        try:
            batches = list(self.agent.GetFlowBatches(request, timeout=_TIMEOUT))
        except grpc.RpcError as error:
            raise FailedError(f"the agent does not tell flows: {error.details()}", "journalctl -u remora") from error
        return [item for batch in batches for item in batch.items]


def found(stand: Stand) -> str:
    """The agent knows pods and Services of the test."""
    deadline = time.monotonic() + PATIENCE
    while True:
        endpoints = stand.agent.ListEndpoints(remora_pb2.ListEndpointsRequest(), timeout=_TIMEOUT).endpoints
        services = stand.agent.ListServices(remora_pb2.ListServicesRequest(), timeout=_TIMEOUT).services
        pods = {one.name for one in endpoints if one.namespace == NAMESPACE and one.ifindex}
        names = {one.name for one in services if one.namespace == NAMESPACE}
        missing = [*sorted(set(stand.site.plan.pods) - pods), *sorted(set(stand.site.plan.services) - names)]
        missing += [f"backends of {name}" for name in names if _backends(services, name) < BACKENDS.get(name, 0)]
        if not missing:
            return f"{len(pods)} pods at their devices, {len(names)} Services"
        if time.monotonic() > deadline:
            raise FailedError(f"the agent does not know: {', '.join(missing)}", "remora status: endpoints, sources")
        stand.site.rest.sleep(_POLL)


def cluster_ip(stand: Stand) -> str:
    """Both backends answer under the ClusterIP."""
    return _both(stand, stand.site.plan.services["echo"][0], 80)


def cluster_ip6(stand: Stand) -> str:
    """The same over IPv6."""
    vips = stand.site.plan.services["echo"]
    if len(vips) < 2:
        raise SkippedError("Services have no IPv6 here")
    return _both(stand, vips[1], 80)


def node_port(stand: Stand) -> str:
    """Both backends answer under the node's address."""
    return _both(stand, stand.site.plan.node_address, stand.site.plan.node_port)


def affinity(stand: Stand) -> str:
    """One client stays with one backend."""
    address = stand.site.plan.services["sticky"][0]
    answers = _answers(stand, address, 80)
    if len(answers) > 1:
        raise FailedError(f"one client was sent to {_counted(answers)}", f"remora service explain {address}:80")
    return f"{REQUESTS} connections to {_counted(answers)}"


def empty(stand: Stand) -> str:
    """A Service without backends refuses at once."""
    address = stand.site.plan.services["empty"][0]
    (told,) = stand.site.ask("client", "http", address, "80", "1")
    if told["error"] != "ECONNREFUSED":
        raise FailedError(f"expected ECONNREFUSED, got {told['error'] or told['answer']}", "remora status: datapath")
    if told["ms"] > PROMPT:
        raise FailedError(f"refused after {told['ms']} ms only", f"remora service explain {address}:80")
    return f"ECONNREFUSED after {told['ms']:.1f} ms"


def allowed(stand: Stand) -> str:
    """The policy lets in whom it names."""
    (told,) = stand.site.ask("client", "http", stand.site.plan.address("vault"), str(PORT), "1")
    if told["error"]:
        raise FailedError(f"the policy allows it, got {told['error']}", "remora observe --verdict DROPPED --last 20")
    return f"{told['answer']} answered"


def denied(stand: Stand) -> str:
    """The policy keeps out whom it does not name, and the flow names the policy."""
    since = time.time_ns()
    (told,) = stand.site.ask("stranger", "http", stand.site.plan.address("vault"), str(PORT), "1")
    if not told["error"]:
        raise FailedError("the policy denies it, and it was answered", "remora status: policy, sources")
    item = stand.flow(
        lambda one: _between(one, "stranger", "vault") and one.response.flow.verdict == flow_pb2.DROPPED,
        "the denial",
        since,
        "remora observe --verdict DROPPED --last 20",
    )
    flow = item.response.flow
    names = [policy.name for policy in (*flow.ingress_denied_by, *flow.egress_denied_by)]
    if POLICY not in names:
        raise FailedError(
            f"dropped, and the flow does not name {POLICY}: {flow.drop_reason_desc}", "remora observe -o json"
        )
    return f"dropped by NetworkPolicy {POLICY}"


def flow(stand: Stand) -> str:
    """A connection is told with both ends, its process, and the time of its handshake."""
    since = time.time_ns()
    _one(stand, stand.site.plan.services["echo"][0], 80)
    item = stand.flow(
        lambda one: (
            one.response.flow.source.pod_name == "client"
            and _ports(one) == PORT
            and one.extra.pid > 0
            and one.extra.handshake_ns > 0
        ),
        "the connection with its process and handshake",
        since,
        "remora status: flows; remora observe --last 20",
    )
    told = item.response.flow
    ends = f"{told.source.pod_name} -> {told.destination.pod_name or told.IP.destination}"
    return f"{ends}, {item.extra.comm}({item.extra.pid}), handshake {item.extra.handshake_ns / 1e6:.2f} ms"


def dns_answer(stand: Stand) -> str:
    """A query and its answer are told, through the Service."""
    since = time.time_ns()
    address = stand.site.plan.services["names"][0]
    (told,) = stand.site.ask("client", "dns", address, DNS_NAME)
    if told["error"]:
        hint = f"remora service explain {address}:53/UDP, remora observe --protocol dns --last 20"
        raise FailedError(f"the query was not answered: {told['error']}", hint)
    item = stand.flow(
        lambda one: DNS_NAME in one.response.flow.l7.dns.query and bool(one.response.flow.l7.dns.ips),
        "the DNS answer",
        since,
        "remora observe --protocol dns --last 20",
    )
    seen = item.response.flow.l7
    return f"{seen.dns.query} is {', '.join(seen.dns.ips)}, {seen.latency_ns / 1e6:.2f} ms"


def http_request(stand: Stand) -> str:
    """A request and its answer are told, with the latency that the client measured."""
    since = time.time_ns()
    _one(stand, stand.site.plan.services["echo"][0], 80)
    item = stand.flow(
        lambda one: one.response.flow.l7.http.code == 200 and one.response.flow.l7.http.url.endswith("/whoami"),
        "the HTTP answer",
        since,
        "remora observe --protocol http --last 20",
    )
    seen = item.response.flow.l7
    return f"{seen.http.method} {seen.http.url} {seen.http.code}, {seen.latency_ns / 1e6:.2f} ms"


def failure(stand: Stand) -> str:
    """A connection to a port where nobody listens is told with its reason."""
    since = time.time_ns()
    (told,) = stand.site.ask("client", "http", stand.site.plan.address("echo-1"), str(CLOSED_PORT), "1")
    if told["error"] != "ECONNREFUSED":
        raise FailedError(f"expected ECONNREFUSED, got {told['error'] or told['answer']}", "remora observe --last 20")
    item = stand.flow(
        lambda one: bool(one.extra.failure) and _ports(one) == CLOSED_PORT,
        "the failed connection with its reason",
        since,
        "remora observe --failed --last 20",
    )
    return f"connection to port {CLOSED_PORT}: {item.extra.failure}"


CHECKS: Sequence[Check] = (
    Check("steer", "ClusterIP reaches both backends", cluster_ip),
    Check("steer", "ClusterIP over IPv6", cluster_ip6),
    Check("steer", "NodePort at the node's address", node_port),
    Check("steer", "session affinity", affinity),
    Check("steer", "an empty Service is refused at once", empty),
    Check("guard", "a policy allows whom it names", allowed),
    Check("guard", "a policy denies others, rule told", denied),
    Check("watch", "a flow with process and handshake", flow),
    Check("watch", "a DNS query and its answer", dns_answer),
    Check("watch", "an HTTP request with latency", http_request),
    Check("watch", "a failed connection with its reason", failure),
)


def _backends(services: Iterable[remora_pb2.Service], name: str) -> int:
    """The fewest that a frontend of the test's Service has."""
    return min(len(one.backends) for one in services if (one.namespace, one.name) == (NAMESPACE, name))


def _both(stand: Stand, address: str, port: int) -> str:
    answers = _answers(stand, address, port)
    missing = {"echo-1", "echo-2"} - answers.keys()
    if missing:
        hint = f"remora service explain {address}:{port}, remora verify"
        raise FailedError(f"{', '.join(sorted(missing))} never answered; {_counted(answers)}", hint)
    return f"{REQUESTS} connections: {_counted(answers)}"


def _answers(stand: Stand, address: str, port: int) -> Counter[str]:
    """How often each backend answered, errors among them in brackets."""
    told = stand.site.ask("client", "http", address, str(port), str(REQUESTS))
    answers = Counter(str(one["answer"]) or f"[{one['error']}]" for one in told)
    errors = [answer for answer in answers if answer.startswith("[")]
    if errors:
        hint = "remora service explain, remora verify; does a firewall of this host drop what its bridges forward?"
        raise FailedError(f"{address} port {port}: {_counted(answers)}", hint)
    return answers


def _one(stand: Stand, address: str, port: int) -> None:
    (told,) = stand.site.ask("client", "http", address, str(port), "1")
    if told["error"]:
        raise FailedError(f"{address} port {port}: {told['error']}", "the checks of steer, above")


def _counted(answers: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(answers.items())) or "nobody answered"


def _between(item: remora_pb2.FlowItem, source: str, destination: str) -> bool:
    flow = item.response.flow
    return flow.source.pod_name == source and flow.destination.pod_name == destination


def _ports(item: remora_pb2.FlowItem) -> int:
    """The port that a connection was opened to."""
    tcp, extra = item.response.flow.l4.TCP, item.response.flow
    return int(tcp.source_port if extra.is_reply.value else tcp.destination_port)
