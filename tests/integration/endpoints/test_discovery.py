"""Discovery against real namespaces: whatever the order in which a workload comes to be, it is found."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute, netns

from daemon.endpoints import Device, Devices, Discovery, scan
from daemon.endpoints.netlink import Netlink
from tests.support.netns import TestNode, node_fixture, unique  # noqa: F401

V4 = ip_address("10.244.1.77")


class Watch:
    """A discovery that runs in a node, and what it has told so far."""

    def __init__(self) -> None:
        self.told: list[Devices] = []
        self._changed = threading.Condition()

    def tell(self, devices: Devices) -> None:
        with self._changed:
            self.told.append(devices)
            self._changed.notify_all()

    def device(self, name: str, **fields: Any) -> Device:
        """Wait until a device of this name with these fields was told last."""

        def matches(device: Device) -> bool:
            return device.name == name and all(getattr(device, key) == value for key, value in fields.items())

        self.until(lambda devices: any(map(matches, devices.devices)))
        return next(filter(matches, self.told[-1].devices))

    def until(self, condition: Callable[[Devices], bool]) -> None:
        with self._changed:
            ended = self._changed.wait_for(lambda: bool(self.told) and condition(self.told[-1]), 3.0)
        assert ended, f"not seen in 3 s; told last: {self.told[-1:]}"


@contextmanager
def watching(node: TestNode) -> Iterator[Watch]:
    watch = Watch()
    stop: list[Callable[[], object]] = []
    ready = threading.Event()

    async def body() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(Discovery(watch.tell, resync=60.0).run())
        stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
        ready.set()
        await asyncio.gather(task, return_exceptions=True)

    thread = threading.Thread(target=lambda: node.run(asyncio.run, body()))
    thread.start()
    try:
        assert ready.wait(3.0)
        watch.until(lambda devices: True)
        yield watch
    finally:
        stop[0]()
        thread.join()


@pytest.fixture
def watch(node: TestNode) -> Iterator[Watch]:
    with watching(node) as found:
        yield found


@pytest.fixture
def bare(node: TestNode) -> Iterator[str]:
    """A namespace that nothing is linked to yet; its name begins with the node's, so it goes with it."""
    name = f"{node.name}-bare"
    netns.create(name)
    return name


def in_node(node: TestNode, *calls: tuple[str, str, dict[str, Any]]) -> None:
    def body() -> None:
        with IPRoute() as ipr:
            for method, action, options in calls:
                if "device" in options:
                    options["index"] = ipr.link_lookup(ifname=options.pop("device"))[0]
                getattr(ipr, method)(action, **options)

    node.run(body)


def add_pair(node: TestNode) -> None:
    in_node(node, ("link", "add", {"ifname": "host0", "kind": "veth", "peer": "peer0"}))


def test_a_scan_tells_device_namespace_addresses_and_mac_of_a_workload(node: TestNode) -> None:
    space = node.add("web", ["10.244.1.9", "fd00:10:244:1::9"])

    def mac() -> str:
        with Netlink() as netlink:
            return next(link.mac for link in netlink.links() if link.name == "eth0")

    [device] = node.run(scan).devices
    assert (device.name, device.netns_name) == ("veth-web", space.namespace)
    assert device.netns_inode == space.path.stat().st_ino
    assert device.addresses == (ip_address("10.244.1.9"), ip_address("fd00:10:244:1::9"))
    assert device.mac == node.run(mac, workload="web")


def test_the_nodes_own_addresses_are_told_without_loopback_and_link_local(node: TestNode) -> None:
    assert node.run(scan).node_addresses == {ip_address("10.244.1.1"), ip_address("fd00:10:244:1::1")}


def test_a_pair_within_the_node_is_no_workload(node: TestNode) -> None:
    add_pair(node)
    assert node.run(scan).devices == ()


def test_a_namespace_without_a_name_is_found_through_its_processes(node: TestNode) -> None:
    holder = subprocess.Popen(["unshare", "--net", "sleep", "30"])
    try:
        wait_for_exec(holder, "sleep")
        add_pair(node)
        in_node(node, ("link", "set", {"device": "peer0", "net_ns_pid": holder.pid}))
        [device] = node.run(scan).devices
        assert device.netns_name == ""
        assert device.netns_inode > 0
    finally:
        holder.kill()
        holder.wait()


def wait_for_exec(process: subprocess.Popen[bytes], name: str) -> None:
    deadline = time.monotonic() + 3.0
    while time.monotonic() < deadline:
        if Path(f"/proc/{process.pid}/comm").read_text().strip() == name:
            return
        time.sleep(0.01)
    raise AssertionError(f"{name} did not start")


def test_a_veth_that_gets_its_address_after_the_move_is_told_with_it(node: TestNode, watch: Watch, bare: str) -> None:
    add_pair(node)
    in_node(node, ("link", "set", {"device": "peer0", "net_ns_fd": bare}))
    watch.device("host0", netns_name=bare, addresses=())
    with IPRoute(netns=bare) as inside:
        index = inside.link_lookup(ifname="peer0")[0]
        inside.addr("add", index=index, address=str(V4), prefixlen=24)
    watch.device("host0", addresses=(V4,))


def test_a_veth_created_straight_into_the_namespace_is_told(node: TestNode, watch: Watch) -> None:
    node.add("web", [str(V4)])
    watch.device("veth-web", netns_name=f"{node.name}-web", addresses=(V4,))


def test_an_address_that_is_removed_inside_is_told(node: TestNode, watch: Watch) -> None:
    node.add("web", [str(V4)])
    watch.device("veth-web", addresses=(V4,))
    with IPRoute(netns=f"{node.name}-web") as inside:
        inside.flush_addr(index=inside.link_lookup(ifname="eth0")[0])
    watch.device("veth-web", addresses=())


def test_a_deleted_link_is_told(node: TestNode, watch: Watch) -> None:
    node.add("web", [str(V4)])
    watch.device("veth-web")
    in_node(node, ("link", "del", {"device": "veth-web"}))
    watch.until(lambda devices: not devices.devices)


def test_a_deleted_namespace_is_told(node: TestNode, watch: Watch) -> None:
    space = node.add("web", [str(V4)])
    watch.device("veth-web")
    netns.remove(space.namespace)
    watch.until(lambda devices: not devices.devices)


def test_a_renamed_device_is_told(node: TestNode, watch: Watch) -> None:
    node.add("web", [str(V4)])
    watch.device("veth-web")
    in_node(
        node,
        ("link", "set", {"device": "veth-web", "state": "down"}),
        ("link", "set", {"device": "veth-web", "ifname": "renamed"}),
    )
    watch.device("renamed", addresses=(V4,))


def test_it_ends_when_it_is_cancelled_in_the_moment_of_a_change(node: TestNode) -> None:
    async def body() -> bool:
        told = asyncio.Event()
        discovery = Discovery(lambda devices: told.set(), resync=60.0)
        task = asyncio.create_task(discovery.run())
        await told.wait()
        await asyncio.sleep(0.1)  # now it waits for a change
        discovery._woken.set()
        task.cancel()
        ended, _ = await asyncio.wait({task}, timeout=2)
        task.cancel()
        return bool(ended)

    assert node.run(asyncio.run, body())


def test_nothing_is_told_twice(node: TestNode, watch: Watch) -> None:
    node.add("web", [str(V4)])
    watch.device("veth-web", addresses=(V4,))
    in_node(node, ("link", "set", {"device": "veth-web", "mtu": 1400}))
    node.add("api")
    watch.device("veth-api", addresses=node_addresses(node, "api"))
    time.sleep(0.3)
    assert all(before != after for before, after in zip(watch.told, watch.told[1:], strict=False))


def node_addresses(node: TestNode, workload: str) -> tuple[Any, ...]:
    return tuple(address.ip for address in node.spaces[workload].addresses)


def test_two_nodes_with_the_same_addresses_do_not_see_each_others_workloads(node: TestNode) -> None:
    node.add("web")
    with TestNode(unique()) as other:
        other.add("api")
        assert [device.name for device in node.run(scan).devices] == ["veth-web"]
        assert [device.name for device in other.run(scan).devices] == ["veth-api"]


def test_two_hundred_devices_are_scanned(node: TestNode) -> None:
    for number in range(200):
        node.add(f"w{number}", [f"10.244.1.{number + 2}"])
    found = node.run(scan)
    assert len(found.devices) == 200
    assert all(len(device.addresses) == 1 and device.netns_name for device in found.devices)


def test_links_that_come_and_go_during_scans_never_make_one_fail(node: TestNode) -> None:
    running = threading.Event()
    running.set()

    def churn() -> None:
        number = 0
        while running.is_set():
            number += 1
            node.add(f"c{number}")
            node.drop(f"c{number}")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        counts = [len(node.run(scan).devices) for _ in range(300)]
    finally:
        running.clear()
        thread.join()
    assert set(counts) <= {0, 1}
