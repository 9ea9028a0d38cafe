"""The XDP program on devices: each mode, beside strangers, over restarts, and the steps back that are told."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from daemon.agent.wires import Wires
from daemon.endpoints import Devices, Uplink
from daemon.settings import Settings, XdpMode
from ebpf import libbpf, xdp
from ebpf.datapath import cleanup
from ebpf.errors import AttachError
from ebpf.programs import Hook
from ebpf.xdp import Mode
from tests.conftest import SMALL
from tests.support.host import Host
from tests.support.netns import TestNode
from tests.support.wire import PASS

UNWIRED = replace(SMALL, xdp=0)


@pytest.fixture
def node(node: TestNode) -> TestNode:
    node.add("w")
    return node


@pytest.fixture
def index(node: TestNode) -> int:
    """A device of the kind that has a native mode."""
    return node.run(socket.if_nametoindex, node.spaces["w"].device)


@pytest.fixture
def bridge(node: TestNode) -> Uplink:
    """A device that has none."""
    node.output(["ip", "link", "add", "plain0", "type", "bridge"])
    return Uplink(node.run(socket.if_nametoindex, "plain0"), "plain0", ())


@pytest.fixture
def stranger() -> Iterator[int]:
    code = ctypes.create_string_buffer(PASS, len(PASS))
    fd = libbpf.load_program(libbpf.ProgramType.XDP, "somebody", ctypes.addressof(code), len(PASS), 0)
    yield fd
    os.close(fd)


def force(index: int, fd: int) -> None:
    """Attach as `ip link set dev … xdp` does."""
    libbpf.call("cannot attach", "bpf_xdp_attach", index, fd, 4, None)


@pytest.mark.parametrize("mode", [Mode.NATIVE, Mode.GENERIC])
def test_the_program_comes_in_either_mode_and_goes(host: Host, node: TestNode, index: int, mode: Mode) -> None:
    datapath = node.run(host.open, SMALL)
    node.run(datapath.attach_uplink, index, "w")
    node.run(datapath.attach_wire, index, mode)
    present, program = node.run(xdp.attached, index)
    assert (present, libbpf.program_name(program)) == (mode, xdp.PROGRAM)
    assert Hook.XDP in {one.hook for one in datapath.attachments()}
    assert node.run(datapath.is_attached, index)
    node.run(datapath.detach_device, index)
    assert node.run(xdp.attached, index) == (Mode.OFF, 0)


def test_a_device_whose_frames_take_several_buffers_has_the_program_too(host: Host, node: TestNode, index: int) -> None:
    node.output(["ip", "link", "set", node.spaces["w"].device, "mtu", "9000"])
    node.output(["ip", "link", "set", "eth0", "mtu", "9000"], "w")
    datapath = node.run(host.open, SMALL)
    node.run(datapath.attach_wire, index, Mode.NATIVE)
    assert node.run(xdp.attached, index)[0] is Mode.NATIVE


def test_the_mode_of_a_device_can_change(host: Host, node: TestNode, index: int) -> None:
    datapath = node.run(host.open, SMALL)
    for mode in (Mode.NATIVE, Mode.GENERIC, Mode.NATIVE):
        node.run(datapath.attach_wire, index, mode)
        assert node.run(xdp.attached, index)[0] is mode


def test_another_build_takes_the_place_of_the_one_before(host: Host, node: TestNode, index: int) -> None:
    first = node.run(host.open, SMALL)
    node.run(first.attach_wire, index, Mode.NATIVE)
    before = node.run(xdp.attached, index)
    host.close()
    assert node.run(xdp.attached, index) == before, "nobody runs, and it is still there"
    second = node.run(host.open, replace(SMALL, http_budget=7))
    node.run(second.attach_wire, index, Mode.NATIVE)
    mode, program = node.run(xdp.attached, index)
    assert (mode, program != before[1]) == (Mode.NATIVE, True)


def test_the_program_of_somebody_else_stays_and_is_named(host: Host, node: TestNode, index: int, stranger: int) -> None:
    datapath = node.run(host.open, SMALL)
    node.run(force, index, stranger)
    with pytest.raises(AttachError, match=r"XDP program \d+ \(somebody\) is on device .*`xdp_devices`"):
        node.run(datapath.attach_wire, index, Mode.NATIVE)
    node.run(datapath.detach_device, index)
    assert libbpf.program_name(node.run(xdp.attached, index)[1]) == "somebody"


def test_a_program_that_somebody_put_in_the_place_of_ours_is_noticed(
    host: Host, node: TestNode, index: int, stranger: int
) -> None:
    datapath = node.run(host.open, SMALL)
    node.run(datapath.attach_uplink, index, "w")
    node.run(datapath.attach_wire, index, Mode.NATIVE)
    node.run(force, index, stranger)
    assert not node.run(datapath.is_attached, index)


def test_cleanup_takes_it_off(host: Host, node: TestNode, index: int) -> None:
    datapath = node.run(host.open, SMALL)
    node.run(datapath.attach_wire, index, Mode.GENERIC)
    host.close()
    node.run(cleanup, host.pins, host.state)
    assert node.run(xdp.attached, index) == (Mode.OFF, 0)


def test_without_the_setting_no_program_is_made(host: Host) -> None:
    assert not host.open(UNWIRED).has_xdp


def test_auto_steps_back_to_generic_and_tells_why(host: Host, node: TestNode, bridge: Uplink) -> None:
    datapath = node.run(host.open, SMALL)
    wires, settings = Wires(datapath), Settings(xdp=XdpMode.AUTO)
    node.run(wires.attach, bridge, settings)
    assert node.run(xdp.attached, bridge.ifindex)[0] is Mode.GENERIC
    assert "plain0 is generic, which is slower: the driver cannot do native" in wires.fallbacks["plain0"]
    assert not wires.due(Devices(uplinks=(bridge,)), settings)
    wanted = Settings(xdp=XdpMode.AUTO, xdp_devices={"plain*": XdpMode.GENERIC})
    assert wires.due(Devices(uplinks=(bridge,)), wanted) == [bridge]
    node.run(wires.attach, bridge, wanted)
    assert not wires.fallbacks, "what was asked for is no step back"


def test_native_where_it_cannot_be_is_an_error_and_nothing_is_attached(
    host: Host, node: TestNode, bridge: Uplink
) -> None:
    datapath = node.run(host.open, SMALL)
    with pytest.raises(AttachError, match="ENOTSUP"):
        node.run(Wires(datapath).attach, bridge, Settings(xdp=XdpMode.NATIVE))
    assert node.run(xdp.attached, bridge.ifindex) == (Mode.OFF, 0)


def test_off_takes_away_what_an_earlier_agent_left(host: Host, node: TestNode, index: int) -> None:
    first = node.run(host.open, SMALL)
    node.run(first.attach_wire, index, Mode.NATIVE)
    host.close()
    wires, uplink = Wires(node.run(host.open)), Uplink(index, node.spaces["w"].device, ())
    assert wires.due(Devices(uplinks=(uplink,)), Settings()) == [uplink]
    node.run(wires.attach, uplink, Settings())
    assert node.run(xdp.attached, index) == (Mode.OFF, 0)


def test_a_device_without_a_program_for_it_is_told(host: Host, node: TestNode, bridge: Uplink) -> None:
    wires = Wires(node.run(host.open, UNWIRED))
    with pytest.raises(AttachError, match="no program for it was made; restart the agent"):
        wires.attach(bridge, Settings(xdp=XdpMode.AUTO))
