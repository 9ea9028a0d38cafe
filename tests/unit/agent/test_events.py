"""What the agent makes events of: the difference between two looks."""

from __future__ import annotations

from ipaddress import ip_address

from daemon.agent.events import Witness
from daemon.api import EventLog
from daemon.flows.clock import Clock
from daemon.model import Identity, Workload, WorkloadId
from daemon.proto import flow_pb2, observer_pb2


def workload(number: int, identity: int = 300, ifindex: int = 5, address: str = "10.0.0.9") -> Workload:
    labels = ("k8s:app=api",)
    return Workload(
        WorkloadId(number), Identity(identity), "shop", "api-1", labels, (), (ip_address(address),), ifindex, "veth5"
    )


class Told:
    """A witness and what it wrote since the last question."""

    def __init__(self) -> None:
        self.log = EventLog()
        self.witness = Witness(self.log, Clock(monotonic=lambda: 0, wall=lambda: 7))
        self._read = 0

    def new(self) -> list[flow_pb2.AgentEvent]:
        events = [one.event for one in self.log.chosen(observer_pb2.GetAgentEventsRequest())]
        self._read, before = len(events), self._read
        return events[before:]


def test_a_workload_that_comes_and_goes_is_told_with_its_addresses() -> None:
    told = Told()
    told.witness.look({16: workload(16)}, {}, {5: ""})
    assert [one.type for one in told.new()] == [
        flow_pb2.ENDPOINT_CREATED,
        flow_pb2.IPCACHE_UPSERTED,
        flow_pb2.ENDPOINT_REGENERATE_SUCCESS,
    ]
    told.witness.look({}, {}, {})
    gone = told.new()
    assert [one.type for one in gone] == [flow_pb2.ENDPOINT_DELETED, flow_pb2.IPCACHE_DELETED]
    assert (gone[0].endpoint_update.namespace, gone[0].endpoint_update.pod_name) == ("shop", "api-1")
    assert gone[1].ipcache_update.cidr == "10.0.0.9/32"


def test_what_stays_is_not_told_again() -> None:
    told = Told()
    told.witness.look({16: workload(16)}, {}, {5: ""})
    told.new()
    told.witness.look({16: workload(16)}, {}, {5: ""})
    assert told.new() == []


def test_an_address_with_another_identity_tells_the_old_one() -> None:
    told = Told()
    told.witness.look({16: workload(16)}, {}, {})
    told.new()
    told.witness.look({16: workload(16, identity=301)}, {}, {})
    (event,) = told.new()
    assert event.type == flow_pb2.IPCACHE_UPSERTED
    assert (event.ipcache_update.identity, event.ipcache_update.old_identity.value) == (301, 300)


def test_programs_that_could_not_be_attached_are_a_failure_with_its_reason() -> None:
    told = Told()
    told.witness.look({16: workload(16)}, {}, {5: "no such device"})
    failure = told.new()[-1]
    assert failure.type == flow_pb2.ENDPOINT_REGENERATE_FAILURE
    assert (failure.endpoint_regenerate.id, failure.endpoint_regenerate.error) == (16, "no such device")
    told.witness.look({16: workload(16)}, {}, {5: ""})
    assert [one.type for one in told.new()] == [flow_pb2.ENDPOINT_REGENERATE_SUCCESS]


def test_workloads_of_other_nodes_are_addresses_only() -> None:
    told = Told()
    told.witness.look({16: workload(16, ifindex=0)}, {}, {})
    assert [one.type for one in told.new()] == [flow_pb2.IPCACHE_UPSERTED]


def test_the_start_is_told() -> None:
    told = Told()
    told.witness.started()
    (event,) = told.new()
    assert (event.type, event.agent_start.time.nanos) == (flow_pb2.AGENT_STARTED, 7)
