"""XDP beside others' programs, in a dispatcher of libxdp: ours joins, does its work, is replaced, leaves them alone."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from daemon.agent.wires import Wires, wired
from daemon.endpoints import Uplink
from daemon.settings import Settings, XdpMode
from ebpf import bpffs, build, dispatcher, extension, libbpf, testrun, xdp
from ebpf.addresses import pack
from ebpf.constants import FrontendFlag, NodeFlag, ShieldFlag, WireMode
from ebpf.datapath import Datapath, cleanup
from ebpf.errors import AttachError
from ebpf.xdp import Mode
from tests.support import netns
from tests.support.host import Host
from tests.support.netns import TestNode, unique
from tests.support.wire import PASS

MOVES = (
    bytes.fromhex("b702000000000000")  # r2 = 0
    + bytes.fromhex("850000002c000000")  # bpf_xdp_adjust_head(ctx, 0)
    + PASS
)
DROP, CONTINUE = 1, 2
_PINS = bpffs.BPFFS / "xdp"
LOOPBACK = 1
"""where test runs take place"""


@pytest.fixture(scope="module")
def pinned(root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host for all tests here, as compiling takes minutes where these are run in an emulated machine."""
    made = Host(Path("/sys/fs/bpf") / unique("disp"), tmp_path_factory.mktemp("state"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "_COMPILE_TIMEOUT", 900)
        yield made
    made.close()
    cleanup(made.pins, made.state)


@pytest.fixture
def datapath(pinned: Host, node: TestNode) -> Iterator[Datapath]:
    yield node.run(pinned.open)
    pinned.close()


@pytest.fixture
def index(node: TestNode) -> int:
    node.add("w")
    return node.run(socket.if_nametoindex, node.spaces["w"].device)


def loaded(name: str, instructions: bytes = PASS) -> int:
    """A program that passes everything, as an extension."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    return extension.load(name, ctypes.addressof(code), len(instructions))


@contextmanager
def joined(node: TestNode, index: int, *programs: int) -> Iterator[None]:
    """These programs in a dispatcher on a device, which is taken off it in the end."""
    try:
        for fd in programs:
            node.run(lambda fd=fd: dispatcher.join(index, fd, native=True))
            os.close(fd)
        yield
    finally:
        mode = node.run(xdp.attached, index)[0]
        if mode is not Mode.OFF:
            node.run(xdp._set, index, -1, xdp._FLAG[mode])
        unpin(index)


def unpin(index: int) -> None:
    """Remove the pins of a device's dispatcher, and libxdp's folder where nothing else is in it."""
    for folder in _PINS.glob(f"dispatch-{index}-*"):
        bpffs.remove_tree(folder)
    with suppress(OSError):
        _PINS.rmdir()


@pytest.fixture(scope="module")
def able(root: None) -> None:
    """Do kernel and libxdp let programs as ours into a dispatcher? Where only harmless ones may, tests are skipped."""
    if not libbpf.supports_program(libbpf.ProgramType.EXT):
        pytest.skip("this kernel has no program extensions; `make kernel-test` runs this with one that has")
    with netns.node() as made:
        made.add("w")
        device = made.run(socket.if_nametoindex, made.spaces["w"].device)
        with joined(made, device, loaded("harmless")):
            moves = loaded("moves", MOVES)
            try:
                made.run(lambda: dispatcher.join(device, moves, native=True))
            except AttachError as error:
                pytest.skip(f"with this kernel a dispatcher takes no program that moves packets: {error}")
            finally:
                os.close(moves)


@pytest.fixture
def others(able: None, node: TestNode, index: int) -> Iterator[list[str]]:
    """Two programs of others in a dispatcher on the device: one that comes before ours by its name, one behind it."""
    names = ["another", "somebody"]
    with joined(node, index, *map(loaded, names)):
        yield names


def members(node: TestNode, index: int) -> list[str]:
    return list(node.run(lambda: dispatcher.members(index, xdp.attached(index)[1])).values())


def verdict(node: TestNode, index: int, destination: str = "203.0.113.10", flags: str = "S") -> int:
    """What the whole dispatcher says of a segment, by default a SYN."""
    segment = IP(src="198.51.100.7", dst=destination) / TCP(dport=80, flags=flags)
    frame = bytes(Ether(dst="00:00:00:00:00:00") / segment)
    with libbpf.program(node.run(xdp.attached, index)[1]) as fd:
        return node.run(testrun.verdict, fd, frame)


def put(datapath: Datapath, name: str, key: dict[str, object], **value: object) -> None:
    table = datapath.maps[name]
    table.update(row(table.key_dtype, **key), row(table.value_dtype, **value))


def row(dtype: np.dtype, **fields: object) -> np.ndarray:
    made = np.zeros(1, dtype)
    for name, value in fields.items():
        made[name] = value
    return made


def address(text: str) -> np.ndarray:
    return np.frombuffer(pack(text), np.uint32)


def test_ours_joins_the_others_and_leaves_them(
    node: TestNode, datapath: Datapath, index: int, others: list[str]
) -> None:
    node.run(datapath.attach_uplink, index, "w")
    node.run(datapath.attach_wire, index, Mode.NATIVE)
    assert members(node, index) == ["another", xdp.PROGRAM, "somebody"]
    assert node.run(datapath.is_attached, index)
    assert node.run(wired, datapath) == ["w native beside another, somebody"]
    node.run(datapath.attach_wire, index, Mode.OFF)
    assert members(node, index) == others


def test_what_the_shield_keeps_out_is_dropped_there(
    node: TestNode, datapath: Datapath, index: int, others: list[str]
) -> None:
    node.run(datapath.attach_wire, index, Mode.NATIVE)
    assert verdict(node, index, flags="SF") == CONTINUE
    put(datapath, "shield_config", {}, flags=ShieldFlag.MALFORMED)
    assert (verdict(node, index, flags="SF"), verdict(node, index)) == (DROP, CONTINUE)
    put(datapath, "shield_config", {}, flags=0)


def test_services_are_sped_up_there(node: TestNode, datapath: Datapath, index: int, others: list[str]) -> None:
    node.run(datapath.attach_wire, index, Mode.NATIVE)
    key = {"addr": address("203.0.113.5"), "port": socket.htons(80), "proto": socket.IPPROTO_TCP}
    put(datapath, "services", key, service=1, flags=FrontendFlag.LOAD_BALANCER | FrontendFlag.DROP)
    uplinks = datapath.maps["uplinks"]
    uplinks.update(np.full(1, LOOPBACK, uplinks.key_dtype), row(uplinks.value_dtype, wire=WireMode.NATIVE))
    assert verdict(node, index, "203.0.113.5") == CONTINUE
    datapath.tell_flags(NodeFlag.ACCELERATE)
    assert verdict(node, index, "203.0.113.5") == DROP, "by the program behind the shield, which keeps it out"
    datapath.tell_flags(NodeFlag(0))


def test_it_stays_while_no_agent_runs_and_the_next_one_knows_it(
    node: TestNode, pinned: Host, datapath: Datapath, index: int, others: list[str]
) -> None:
    node.run(datapath.attach_wire, index, Mode.NATIVE)
    before = node.run(xdp.attached, index)
    pinned.close()
    assert members(node, index) == ["another", xdp.PROGRAM, "somebody"]
    again = node.run(pinned.open)
    node.run(again.attach_wire, index, Mode.NATIVE)
    assert node.run(xdp.attached, index) == before, "nothing was to be done"


def test_one_of_an_older_build_makes_room(node: TestNode, datapath: Datapath, index: int, others: list[str]) -> None:
    older = loaded(xdp.PROGRAM)
    node.run(lambda: dispatcher.join(index, older, native=True))
    os.close(older)
    node.run(datapath.attach_wire, index, Mode.NATIVE)
    assert members(node, index) == ["another", xdp.PROGRAM, "somebody"]
    assert node.run(xdp.runs, index, [libbpf.program_id(datapath.program(xdp.EXTENSION))]) is Mode.NATIVE


def test_the_mode_is_the_dispatchers_and_that_is_told(
    node: TestNode, datapath: Datapath, index: int, others: list[str]
) -> None:
    wires = Wires(datapath)
    node.run(wires.attach, Uplink(index, "w", ()), Settings(xdp=XdpMode.GENERIC))
    assert datapath.wires[index] is Mode.NATIVE
    assert wires.fallbacks["w"] == "XDP on w is native and not generic, as the dispatcher is that it joined"


def test_an_agent_that_was_put_out_comes_back(
    node: TestNode, datapath: Datapath, index: int, others: list[str]
) -> None:
    node.run(datapath.attach_uplink, index, "w")
    node.run(datapath.attach_wire, index, Mode.NATIVE)
    own = libbpf.program_id(datapath.program(xdp.EXTENSION))
    node.run(lambda: dispatcher.leave(index, own, native=True))
    assert not node.run(datapath.is_attached, index)
    node.run(datapath.attach_wire, index, Mode.NATIVE)
    assert node.run(datapath.is_attached, index)


def test_who_comes_and_goes_later_leaves_ours_where_it_is(
    node: TestNode, datapath: Datapath, index: int, others: list[str]
) -> None:
    node.run(datapath.attach_uplink, index, "w")
    node.run(datapath.attach_wire, index, Mode.NATIVE)
    late = loaded("late")
    node.run(lambda: dispatcher.join(index, late, native=True))
    assert members(node, index) == ["another", xdp.PROGRAM, "late", "somebody"]
    assert node.run(datapath.is_attached, index)
    node.run(lambda: dispatcher.leave(index, libbpf.program_id(late), native=True))
    os.close(late)
    assert members(node, index) == ["another", xdp.PROGRAM, "somebody"]
    assert node.run(datapath.is_attached, index)


def test_cleanup_takes_ours_out_and_leaves_the_others(
    node: TestNode, pinned: Host, datapath: Datapath, index: int, others: list[str]
) -> None:
    node.run(datapath.attach_wire, index, Mode.NATIVE)
    pinned.close()
    node.run(cleanup, pinned.pins, pinned.state)
    assert members(node, index) == others


def test_where_none_can_join_the_others_are_named(root: None, node: TestNode, index: int) -> None:
    """The pins of a dispatcher are all that is read of it, and can be made with programs of any kind."""
    code = ctypes.create_string_buffer(PASS, len(PASS))
    fds = [
        libbpf.load_program(libbpf.ProgramType.XDP, name, ctypes.addressof(code), len(PASS))
        for name in ("xdp_dispatcher", "another", "somebody")
    ]
    node.run(xdp._set, index, fds[0], xdp._FLAG[Mode.NATIVE])
    folder = _PINS / f"dispatch-{index}-{libbpf.program_id(fds[0])}"
    folder.mkdir(parents=True)
    for place, fd in enumerate(fds[1:]):
        libbpf.obj_pin(fd, folder / f"prog{place}-prog")
    try:
        with pytest.raises(AttachError, match=r"\(another, somebody\), which this kernel lets nobody join.*`off`"):
            node.run(xdp.attach, index, fds[0], Mode.NATIVE)
        assert node.run(xdp.attached, index)[1] == libbpf.program_id(fds[0])
        assert not node.run(xdp.detach, index)
    finally:
        unpin(index)
        for fd in fds:
            os.close(fd)
