"""Which devices lead outside: by name, or by where the default route goes. They are never a workload's."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from pyroute2 import IPRoute

from daemon.endpoints import scan
from tests.support.netns import TestNode
from tests.support.outside import NODE, UPLINK, attach, outside


@pytest.fixture
def hung(root: None, node: TestNode) -> TestNode:
    """A node with a workload and, while the test runs, an uplink that a default route leads to."""
    node.add("web")
    return node


def test_a_device_with_a_default_route_is_an_uplink_and_no_workload(hung: TestNode) -> None:
    with outside() as world:
        attach(hung, world)
        found = hung.run(scan)
    assert [(one.name, one.addresses) for one in found.uplinks] == [(UPLINK, tuple(map(ip_address, NODE)))]
    assert [one.name for one in found.devices] == ["veth-web"]


def test_all_devices_of_a_default_route_with_several_ways_are_uplinks(hung: TestNode) -> None:
    def two_ways() -> None:
        with IPRoute() as ipr:
            for name in ("one", "two"):
                ipr.link("add", ifname=name, kind="veth", peer={"ifname": f"{name}-end"})
                for end in (name, f"{name}-end"):
                    ipr.link("set", index=ipr.link_lookup(ifname=end)[0], state="up")
            hops = [{"oif": ipr.link_lookup(ifname=name)[0], "hops": 0} for name in ("one", "two")]
            ipr.route("add", dst="0.0.0.0/0", multipath=hops, scope="link")

    hung.run(two_ways)
    assert [one.name for one in hung.run(scan).uplinks] == ["one", "two"]


@pytest.mark.parametrize("patterns", [("upl*",), ("eth0", UPLINK)])
def test_names_decide_alone_where_some_are_given(hung: TestNode, patterns: tuple[str, ...]) -> None:
    with outside() as world:
        attach(hung, world)
        assert [one.name for one in hung.run(scan, patterns).uplinks] == [UPLINK]
        assert hung.run(scan, ("veth-web",)).uplinks[0].name == "veth-web"
        assert [one.name for one in hung.run(scan, ("veth-web",)).devices] == [UPLINK]
        assert hung.run(scan, ("nothing",)).uplinks == ()
