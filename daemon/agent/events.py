"""What the agent did, as events: what is in force now compared with what was before.

Reconcilers say little of what they changed, and should: each has its own notion of a change. After every one the
results are compared here, whatever led to them, so nothing that clients can see is left untold. What both share is
passed over without a look, since a hundred changes a second must not cost a hundred walks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from daemon.agent.services_view import POLICIES
from daemon.agent.wording import kind
from daemon.api import EventLog
from daemon.api.events import CAPACITY
from daemon.flows.clock import Clock
from daemon.model import Frontend, Workload
from daemon.model.objects import ObjectRef
from daemon.model.shelves import Shelves, differing
from daemon.policy.parsed import ParsedPolicy
from daemon.proto import flow_pb2 as pb
from daemon.services import Applied, PortsInForce
from ebpf import addresses

ServiceKey = tuple[int, Frontend]


class Witness:
    """Writes the agent's event log. Belongs to the event loop."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._workloads: Mapping[int, Workload] = Shelves()
        self._services: PortsInForce = Shelves()
        self._watched: dict[int, str] = {}
        self._policies: Mapping[ObjectRef, ParsedPolicy] = {}
        self._revision = 0

    def started(self) -> None:
        """The agent serves."""
        event = pb.AgentEvent(type=pb.AGENT_STARTED)
        event.agent_start.time.FromNanoseconds(self._clock.now_ns())
        self._add([event])

    def look(self, workloads: Mapping[int, Workload], services: PortsInForce, watched: Mapping[int, str]) -> None:
        """Note what has changed. `watched`: devices with our programs, "" each, or why they could not be attached."""
        before, after = (dict(sorted(side.items())) for side in differing(self._workloads, workloads))
        self._add(
            [
                *_endpoints(before, after),
                *_addresses(before, after),
                *_regenerated(self._watched, watched, workloads.values()),
                *_services(*(_by_frontend(side) for side in differing(self._services, services))),
            ]
        )
        self._workloads, self._services, self._watched = workloads, services, dict(watched)

    def look_at_policies(self, revision: int, policies: Mapping[ObjectRef, ParsedPolicy]) -> None:
        """Note which policies came into force, changed or went, where their revision is another one."""
        if revision == self._revision:
            return
        before, self._policies, self._revision = self._policies, policies, revision
        if before is policies:
            return
        told = [_policy(pb.POLICY_DELETED, one, revision) for ref, one in before.items() if ref not in policies]
        changed = [one for ref, one in policies.items() if before.get(ref) != one]
        self._add([*told, *(_policy(pb.POLICY_UPDATED, one, revision) for one in changed)])

    def _add(self, events: list[pb.AgentEvent]) -> None:
        now = self._clock.now_ns()
        for event in events[-CAPACITY:]:
            self._log.add(event, now)


def _policy(kind: pb.AgentEventType, one: ParsedPolicy, revision: int) -> pb.AgentEvent:
    """As Cilium labels the policies that it takes from Kubernetes."""
    labels = {"derived-from": one.ref.kind, "name": one.ref.name, "namespace": one.ref.namespace}
    update = pb.PolicyUpdateNotification(
        labels=[f"k8s:io.cilium.k8s.policy.{key}={value}" for key, value in labels.items() if value],
        revision=revision,
        rule_count=sum(map(len, one.rules.values())),
    )
    return pb.AgentEvent(type=kind, policy_update=update)


def _by_frontend(services: PortsInForce) -> dict[ServiceKey, Applied]:
    ports = (one for origin in sorted(services) for one in services[origin])
    return {(one.number, frontend): one for one in ports for frontend in one.entry.frontends}


def _endpoints(before: Mapping[int, Workload], now: Mapping[int, Workload]) -> Iterator[pb.AgentEvent]:
    """Workloads of this node that came and went."""
    for number, one in before.items():
        if one.ifindex and not (number in now and now[number].ifindex):
            yield pb.AgentEvent(type=pb.ENDPOINT_DELETED, endpoint_update=_endpoint(one))
    for number, one in now.items():
        if one.ifindex and not (number in before and before[number].ifindex):
            yield pb.AgentEvent(type=pb.ENDPOINT_CREATED, endpoint_update=_endpoint(one))


def _endpoint(one: Workload) -> pb.EndpointUpdateNotification:
    return pb.EndpointUpdateNotification(id=one.id, labels=one.labels, pod_name=one.name, namespace=one.namespace)


def _addresses(before: Mapping[int, Workload], now: Mapping[int, Workload]) -> Iterator[pb.AgentEvent]:
    """Addresses that got an identity, another one, or none any more."""
    old, new = _holders(before), _holders(now)
    for cidr, one in old.items():
        if cidr not in new:
            yield pb.AgentEvent(type=pb.IPCACHE_DELETED, ipcache_update=_address(cidr, one))
    for cidr, one in new.items():
        known = old.get(cidr)
        if known is not None and (known.identity, known.name) == (one.identity, one.name):
            continue
        event = pb.AgentEvent(type=pb.IPCACHE_UPSERTED, ipcache_update=_address(cidr, one))
        if known is not None:
            event.ipcache_update.old_identity.value = known.identity
        yield event


def _holders(workloads: Mapping[int, Workload]) -> dict[str, Workload]:
    return {f"{address}/{address.max_prefixlen}": one for one in workloads.values() for address in one.addresses}


def _address(cidr: str, one: Workload) -> pb.IPCacheNotification:
    return pb.IPCacheNotification(cidr=cidr, identity=one.identity, namespace=one.namespace, pod_name=one.name)


def _regenerated(
    before: Mapping[int, str], now: Mapping[int, str], workloads: Iterable[Workload]
) -> Iterator[pb.AgentEvent]:
    """Devices that our programs were attached to, or could not be."""
    if before == now:
        return
    behind = {one.ifindex: one for one in workloads}
    for ifindex, failure in now.items():
        one = behind.get(ifindex)
        if one is None or before.get(ifindex) == failure:
            continue
        told = pb.EndpointRegenNotification(id=one.id, labels=one.labels, error=failure)
        result = pb.ENDPOINT_REGENERATE_FAILURE if failure else pb.ENDPOINT_REGENERATE_SUCCESS
        yield pb.AgentEvent(type=result, endpoint_regenerate=told)


def _services(before: Mapping[ServiceKey, Applied], now: Mapping[ServiceKey, Applied]) -> Iterator[pb.AgentEvent]:
    """Frontends that are balanced anew or no more."""
    for number in {number for number, _ in before} - {number for number, _ in now}:
        yield pb.AgentEvent(type=pb.SERVICE_DELETED, service_delete=pb.ServiceDeleteNotification(id=number))
    for key, one in now.items():
        known = before.get(key)
        if known is None or (known is not one and known.entry != one.entry):
            yield pb.AgentEvent(type=pb.SERVICE_UPSERTED, service_upsert=_service(key[1], one))


def _service(frontend: Frontend, one: Applied) -> pb.ServiceUpsertNotification:
    name = one.entry.key.name
    policy = POLICIES[one.entry.key.scope]
    return pb.ServiceUpsertNotification(
        id=one.number,
        frontend_address=_place(addresses.text(frontend.address), frontend.port),
        backend_addresses=[_place(str(address), port) for address, port in one.entry.targets()],
        type=kind(one.entry.frontends[frontend]),
        ext_traffic_policy=policy,
        int_traffic_policy=policy,
        name=name.name,
        namespace=name.namespace,
    )


def _place(address: str, port: int) -> pb.ServiceUpsertNotificationAddr:
    return pb.ServiceUpsertNotificationAddr(ip=address, port=port)
