"""Who is who, and under which number: devices and pods joined, written by difference, stable over restarts."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import numpy as np
import pytest

from daemon.endpoints import Changes, Device, Devices, WorkloadRegistry
from daemon.endpoints.joining import join
from daemon.endpoints.labels import identity_labels, owners
from daemon.model.directory import HOST, Directory, packed
from daemon.model.objects import ObjectMeta, OwnerReference, Pod, PodIP, PodSpec, PodStatus
from daemon.model.workload import Owner
from ebpf.errors import MapFullError
from tests.support.layouts import dtype

NODE = frozenset({ip_address("10.0.0.1"), ip_address("fd00::1")})


class FakeMap:
    """A map in memory, with the calls counted and a size that can be too small."""

    name = "addresses"

    def __init__(self, max_entries: int = 1000) -> None:
        self.key_dtype, self.value_dtype = dtype("address_key"), dtype("address")
        self.max_entries = max_entries
        self.content: dict[bytes, np.ndarray] = {}
        self.writes: list[int] = []

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        keys = np.frombuffer(b"".join(self.content), self.key_dtype)
        return keys, np.array(list(self.content.values()), self.value_dtype)

    def update(self, keys: np.ndarray, values: np.ndarray) -> None:
        if len({key.tobytes() for key in keys} | self.content.keys()) > self.max_entries:
            raise MapFullError("map addresses is full")
        self.writes.append(len(keys))
        self.content.update((key.tobytes(), value.copy()) for key, value in zip(keys, values, strict=True))

    def delete(self, keys: np.ndarray) -> None:
        for key in keys:
            self.content.pop(key.tobytes(), None)

    def entry(self, address: str) -> tuple[int, int, int]:
        value = self.content[packed(ip_address(address))]
        return int(value["workload"]), int(value["identity"]), int(value["ifindex"])


def pod(name: str, *ips: str, namespace: str = "shop", labels: dict[str, str] | None = None, **more: Any) -> Pod:
    status = PodStatus(phase=more.get("phase", "Running"), pod_ips=tuple(map(PodIP, ips)))
    spec = PodSpec(host_network=more.get("host_network", False))
    meta = ObjectMeta(
        name,
        namespace,
        labels or {"app": name},
        more.get("owners", ()),
        deletion_timestamp=more.get("deleted", ""),
    )
    return Pod(meta, spec, status)


def device(index: int, *ips: str, netns: str = "", inode: int = 0) -> Device:
    return Device(index, f"veth{index}", netns, inode, tuple(map(ip_address, ips)), "02:00:00:00:00:01")


def devices(*found: Device) -> Devices:
    return Devices(found, NODE)


class Agent:
    """A registry with its directory, on a map that outlives it."""

    def __init__(self, kernel: FakeMap | None = None) -> None:
        self.kernel = kernel or FakeMap()
        self.directory = Directory()
        self.registry = WorkloadRegistry(self.directory, self.kernel)  # type: ignore[arg-type]

    def apply(self, found: Devices, *pods: Pod) -> Changes:
        return self.registry.apply(found, pods)

    def at(self, address: str) -> Any:
        return self.directory.by_address(packed(ip_address(address)))


def test_a_device_is_recognised_as_a_pod_by_its_address() -> None:
    agent = Agent()
    agent.apply(devices(device(7, "10.1.0.5", netns="cni-1")), pod("api", "10.1.0.5"))
    workload = agent.directory.local(7)
    assert workload is not None
    assert (workload.namespace, workload.name, workload.device) == ("shop", "api", "veth7")
    assert agent.kernel.entry("10.1.0.5") == (workload.id, workload.identity, 7)


def test_a_pod_elsewhere_is_known_without_a_device() -> None:
    agent = Agent()
    agent.apply(devices(), pod("api", "10.2.0.5", "fd00:2::5"))
    assert agent.at("fd00:2::5").name == "api"
    assert agent.kernel.entry("10.2.0.5")[2] == 0


def test_a_device_that_no_pod_claims_is_named_by_its_namespace() -> None:
    agent = Agent()
    agent.apply(devices(device(7, "10.1.0.5", netns="blue")))
    assert (agent.at("10.1.0.5").namespace, agent.at("10.1.0.5").name) == ("", "blue")


def test_a_device_in_a_namespace_without_name_is_named_by_itself() -> None:
    agent = Agent()
    agent.apply(devices(device(7, "10.1.0.5")))
    assert agent.at("10.1.0.5").name == "veth7"


def test_two_devices_into_one_namespace_are_one_workload_each_address_with_its_own_device() -> None:
    agent = Agent()
    found = devices(device(7, "10.1.0.5", inode=9), device(8, "10.9.0.5", inode=9))
    agent.apply(found, pod("api", "10.1.0.5"))
    assert agent.at("10.9.0.5").name == "api"
    assert (agent.kernel.entry("10.1.0.5")[2], agent.kernel.entry("10.9.0.5")[2]) == (7, 8)


def test_the_nodes_addresses_belong_to_the_host_even_when_a_pod_claims_them() -> None:
    agent = Agent()
    agent.apply(devices(), pod("proxy", "10.0.0.1", host_network=True), pod("rogue", "10.0.0.1"))
    assert agent.at("10.0.0.1").labels == HOST.labels
    assert agent.kernel.entry("10.0.0.1") == (HOST.id, HOST.identity, 0)


def test_a_finished_pods_address_goes_to_its_new_holder() -> None:
    agent = Agent()
    changes = agent.apply(devices(), pod("job", "10.1.0.5", phase="Succeeded"), pod("web", "10.1.0.5"))
    assert agent.at("10.1.0.5").name == "web"
    assert changes.contested == ()


def test_of_two_running_pods_with_one_address_the_first_gets_it_and_the_contest_is_told() -> None:
    agent = Agent()
    changes = agent.apply(devices(), pod("a", "10.1.0.5"), pod("b", "10.1.0.5", "10.1.0.6"))
    assert (agent.at("10.1.0.5").name, agent.at("10.1.0.6").name) == ("a", "b")
    assert changes.contested == (ip_address("10.1.0.5"),)


def test_a_pod_that_is_being_deleted_yields_its_address_to_the_next_one() -> None:
    agent = Agent()
    old, new = pod("a", "10.1.0.5", deleted="2026-01-01T00:00:00Z"), pod("b", "10.1.0.5")
    agent.apply(devices(device(7, "10.1.0.5", netns="x")), old)
    assert agent.at("10.1.0.5").name == "a"
    agent.apply(devices(device(7, "10.1.0.5", netns="x")), old, new)
    assert (agent.at("10.1.0.5").name, agent.at("10.1.0.5").device) == ("b", "veth7")


def test_an_address_that_is_none_is_skipped() -> None:
    agent = Agent()
    agent.apply(devices(), pod("a", "10.1.0.500", "10.1.0.5"))
    assert agent.at("10.1.0.5").name == "a"


def test_pods_with_equal_labels_share_an_identity_and_others_do_not() -> None:
    agent = Agent()
    web = {"app": "web"}
    agent.apply(
        devices(),
        pod("a", "10.1.0.1", labels=web | {"pod-template-hash": "abc"}),
        pod("b", "10.1.0.2", labels=web | {"pod-template-hash": "def"}),
        pod("c", "10.1.0.3", labels=web, namespace="other"),
    )
    assert agent.at("10.1.0.1").identity == agent.at("10.1.0.2").identity != agent.at("10.1.0.3").identity
    assert min(workload.identity for workload in agent.directory.workloads()[1:]) >= 256


def test_only_what_differs_is_written() -> None:
    agent = Agent()
    pods = [pod(f"p{n}", f"10.1.0.{n}") for n in range(1, 11)]
    assert agent.apply(devices(), *pods) == Changes(added=12)
    assert agent.apply(devices(), *pods) == Changes()
    moved = [*pods[:8], pod("p9", "10.1.0.99")]
    assert agent.apply(devices(), *moved) == Changes(added=1, removed=2)
    assert agent.apply(devices(device(3, "10.1.0.1")), *moved) == Changes(changed=1)
    assert agent.kernel.writes == [12, 0, 1, 1]


def test_numbers_survive_a_restart_of_the_agent() -> None:
    agent = Agent()
    found = devices(device(7, "10.1.0.1", netns="blue"))
    pods = [pod(f"p{n}", f"10.1.0.{n}") for n in range(2, 9)]
    agent.apply(found, *pods)
    before = {workload.name: (workload.id, workload.identity) for workload in agent.directory.workloads()}
    restarted = Agent(agent.kernel)
    assert restarted.apply(found, pod("aaa", "10.1.0.200"), *reversed(pods)) == Changes(added=1)
    after = {workload.name: (workload.id, workload.identity) for workload in restarted.directory.workloads()}
    assert {name: after[name] for name in before} == before
    assert after["aaa"][0] not in {number for number, _ in before.values()}


def test_a_number_is_not_given_to_a_second_workload() -> None:
    agent = Agent()
    numbers = set()
    for round_ in range(20):
        agent.apply(devices(), pod(f"p{round_}", "10.1.0.1"))
        numbers.add(agent.at("10.1.0.1").id)
    assert len(numbers) == 20


def test_a_workload_that_is_gone_can_still_be_named_by_its_number() -> None:
    agent = Agent()
    agent.apply(devices(), pod("old", "10.1.0.1"))
    number = agent.at("10.1.0.1").id
    agent.apply(devices())
    gone = agent.directory.by_id(number)
    assert gone is not None
    assert gone.name == "old"
    assert packed(ip_address("10.1.0.1")) not in agent.kernel.content


def test_a_pod_that_changes_its_address_keeps_its_number() -> None:
    agent = Agent()
    agent.apply(devices(), pod("a", "10.1.0.1"))
    number = agent.at("10.1.0.1").id
    agent.apply(devices(), pod("a", "10.1.0.2"))
    assert agent.at("10.1.0.2").id == number


def test_a_nameless_device_keeps_its_number_when_its_pod_becomes_known() -> None:
    agent = Agent()
    found = devices(device(7, "10.1.0.1", netns="cni-1"))
    agent.apply(found)
    number = agent.at("10.1.0.1").id
    agent.apply(found, pod("a", "10.1.0.1"))
    assert (agent.at("10.1.0.1").id, agent.at("10.1.0.1").name) == (number, "a")


def test_a_full_map_leaves_map_and_names_as_they_were_and_the_next_try_works() -> None:
    agent = Agent(FakeMap(max_entries=4))
    agent.apply(devices(), pod("a", "10.1.0.1"))
    before = dict(agent.kernel.content)
    crowd = [pod(f"p{n}", f"10.1.1.{n}") for n in range(5)]
    with pytest.raises(MapFullError):
        agent.apply(devices(), *crowd)
    assert agent.kernel.content == before
    assert agent.at("10.1.0.1").name == "a"
    assert agent.apply(devices(), pod("a", "10.1.0.1"), crowd[0]) == Changes(added=1)


def test_labels_say_where_they_come_from_and_leave_out_what_names_a_single_pod() -> None:
    noisy = pod("a", labels={"app": "web", "statefulset.kubernetes.io/pod-name": "a-0", "pod-template-hash": "x"})
    assert identity_labels(noisy) == ("k8s:app=web", "k8s:io.kubernetes.pod.namespace=shop")


@pytest.mark.parametrize(
    ("kind", "name", "labels", "expected"),
    [
        ("ReplicaSet", "api-6d4cf56db6", {"pod-template-hash": "6d4cf56db6"}, Owner("api", "Deployment")),
        ("ReplicaSet", "api-6d4cf56db6", {}, Owner("api", "Deployment")),
        ("ReplicaSet", "api", {}, Owner("api", "ReplicaSet")),
        ("Job", "backup-28473120", {}, Owner("backup", "CronJob")),
        ("Job", "migrate", {}, Owner("migrate", "Job")),
        ("StatefulSet", "db", {}, Owner("db", "StatefulSet")),
    ],
)
def test_the_owner_is_what_a_person_would_name(kind: str, name: str, labels: dict[str, str], expected: Owner) -> None:
    reference = OwnerReference(kind, name, controller=True)
    assert owners(pod("p", labels=labels | {"app": "x"}, owners=(reference,))) == (expected,)


def test_the_controller_is_the_owner_when_there_are_others() -> None:
    references = (OwnerReference("Node", "n1"), OwnerReference("DaemonSet", "logs", controller=True))
    assert owners(pod("p", owners=references)) == (Owner("logs", "DaemonSet"),)


def test_no_address_is_in_two_parties() -> None:
    found = devices(device(7, "10.1.0.1", netns="a"), device(8, "10.1.0.1", netns="b"))
    parties = join(found, [pod("p", "10.1.0.1"), pod("q", "10.1.0.1")]).parties
    addresses = [address for party in parties for address in party.addresses]
    assert addresses == [ip_address("10.1.0.1")]
    assert sorted(index.ifindex for party in parties for index in party.devices) == [7, 8]
