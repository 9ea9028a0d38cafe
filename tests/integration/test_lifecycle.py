"""What survives: maps over restarts, other people's filters beside ours, the old state when something is broken."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bpf_programs
from ebpf import addresses, features, libbpf
from ebpf.datapath import Datapath
from ebpf.errors import AttachError, CompileError, KernelError, MapFullError, PinError, UnsupportedError, VerifierError
from ebpf.maps import HashMap, MapSpec
from ebpf.programs import Hook
from tests.conftest import SMALL
from tests.support.host import Host
from tests.support.netns import TestNode

_DEVMAP_HASH = 25


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A copy of the C sources that a test may change."""
    return Path(shutil.copytree(bpf_programs.ROOT, tmp_path / "programs"))


def an_address(datapath: Datapath) -> tuple[np.ndarray, np.ndarray]:
    table = datapath.maps["addresses"]
    key, value = np.zeros(1, table.key_dtype), np.zeros(1, table.value_dtype)
    key["addr"] = np.frombuffer(addresses.pack("10.1.2.3"), np.uint32)
    value["workload"] = 77
    return key, value


def test_a_second_start_compiles_nothing_and_finds_the_maps_as_they_were(host: Host) -> None:
    first = host.open()
    key, value = an_address(first)
    first.maps["addresses"].update(key, value)
    host.close()
    second = host.open()
    assert first.build.compiled
    assert not second.build.compiled
    assert second.maps["addresses"].lookup(key) == value


def test_changed_programs_are_compiled_and_keep_the_maps(host: Host, programs: Path) -> None:
    first = host.open()
    key, value = an_address(first)
    first.maps["addresses"].update(key, value)
    host.close()
    with (programs / "endpoint.c").open("a") as file:
        file.write("/* a new release */\n")
    second = host.open(programs=programs)
    assert second.build.compiled
    assert second.build.id != first.build.id
    assert second.maps["addresses"].lookup(key) == value
    second.remove_old()
    assert not first.build.pins.exists()


def test_another_layout_gets_new_maps_and_the_old_ones_go_when_told(host: Host) -> None:
    first = host.open()
    key, value = an_address(first)
    first.maps["addresses"].update(key, value)
    host.close()
    second = host.open(replace(SMALL, addresses_max=2048))
    assert second.maps["addresses"].lookup(key) is None
    assert first.build.map_pins.exists()
    second.remove_old()
    assert not first.build.map_pins.exists()


def test_a_second_agent_on_the_same_folder_is_refused(host: Host) -> None:
    host.open()
    with pytest.raises(PinError, match=r"another agent holds .*; stop it"):
        Datapath(host.pins, host.state, SMALL, features.probe())


def test_a_refused_program_is_told_with_the_verifiers_words_and_our_file(host: Host, programs: Path) -> None:
    endpoint = (programs / "endpoint.c").read_text()
    (programs / "endpoint.c").write_text(
        endpoint.replace("return watch(skb, true);", "return *(u32 *)(long)skb->mark;")
    )
    with pytest.raises(VerifierError, match=r"(?s)kernel refused.*from_endpoint") as caught:
        host.open(programs=programs)
    assert "endpoint.c" in caught.value.log
    assert not any(path.name.startswith("build-") for path in host.pins.iterdir())


def test_an_optional_program_that_is_refused_is_left_out_with_the_reason(host: Host, programs: Path) -> None:
    source = (programs / "trace.c").read_text()
    (programs / "trace.c").write_text(source.replace("*value += 1;", "*(u64 *)(long)reason = 1;"))
    opened = host.open(programs=programs)
    assert list(opened.build.missing) == ["kfree_skb"]
    with pytest.raises(KeyError):
        opened.program("kfree_skb")


def test_what_would_take_every_connect_for_failed_is_left_out_with_what_sees_them_open(
    host: Host, programs: Path
) -> None:
    """Before Linux 5.15 `watch_sockets` is refused: it may not ask for the network namespace."""
    source = (programs / "tcp.c").read_text()
    (programs / "tcp.c").write_text(source.replace("own = in_node", "*(u64 *)(long)op = 1;\n\town = in_node", 1))
    opened = host.open(programs=programs)
    assert list(opened.build.missing) == ["watch_sockets"]
    with pytest.raises(KeyError):
        opened.program("note_release")


def test_all_that_is_not_needed_may_be_missing_from_the_kernel(host: Host) -> None:
    probed = features.probe()
    items = tuple(replace(one, present=one.required) for one in probed.items)
    host.opened.append(Datapath(host.pins, host.state, SMALL, replace(probed, items=items, facts={})))
    assert host.opened[0].build.missing == {}
    with pytest.raises(KeyError):
        host.opened[0].program("kfree_skb")


def test_a_compile_error_names_our_file_and_line(host: Host, programs: Path) -> None:
    lines = (programs / "include" / "packet.h").read_text().splitlines()
    number = next(index for index, line in enumerate(lines) if "struct ipv4_head ip;" in line)
    lines[number] = "\tnonsense here;"
    (programs / "include" / "packet.h").write_text("\n".join(lines))
    with pytest.raises(CompileError) as caught:
        host.open(programs=programs)
    assert f"packet.h:{number + 1}:" in str(caught.value)


def test_a_batch_that_does_not_fit_changes_nothing(host: Host) -> None:
    table = host.open().maps["addresses"]
    keys, values = np.zeros(1500, table.key_dtype), np.zeros(1500, table.value_dtype)
    keys["addr"][:, 3] = np.arange(1500)
    table.update(keys[:600], values[:600])
    with pytest.raises(MapFullError, match=r"holds at most 1024 entries; 600 are there and 900 more do not fit"):
        table.update(keys, values)
    assert len(table.items()[0]) == 600
    table.update(keys[:1024], values[:1024])
    table.delete(keys)
    assert len(table.items()[0]) == 0


def test_a_kind_of_map_without_batches_is_read_and_written_one_by_one(root: None, host: Host) -> None:
    """As tries are before Linux 5.13; here a table of devices is such a kind."""
    host.pins.mkdir()
    fd = libbpf.call("cannot make a map", "bpf_map_create", _DEVMAP_HASH, b"devices", 4, 4, 4, None)
    libbpf.obj_pin(fd, host.pins / "devices")
    os.close(fd)
    number = np.dtype(np.uint32)
    table = HashMap(MapSpec("devices", libbpf.MapType.HASH, number, number, 4), host.pins / "devices")
    keys, values = np.array([7, 8, 9], np.uint32), np.ones(3, np.uint32)
    try:
        assert len(table.items()[0]) == 0
        table.update(keys, values)
        assert (sorted(table.items()[0]), list(table.items()[1])) == ([7, 8, 9], [1, 1, 1])
        with pytest.raises(MapFullError):
            table.update(np.array([1, 2], np.uint32), values[:2])
        with pytest.raises(KernelError, match="cannot write to map devices"):
            table.update(np.array([1], np.uint32), np.array([1 << 30], np.uint32))
        table.delete(np.array([7, 6, 9], np.uint32))
        assert (list(table.items()[0]), table.fill, table.count()) == ([8], 1, 1)
    finally:
        table.close()


def test_pins_outside_of_a_bpf_file_system_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="not on a BPF file system; name a folder below /sys/fs/bpf"):
        Datapath(tmp_path / "pins", tmp_path / "state", SMALL, features.probe())


class TestDevices:
    """TC on a workload's device, beside somebody else's filter."""

    @pytest.fixture
    def device(self, node: TestNode) -> tuple[TestNode, int]:
        space = node.add("w")
        return node, node.run(socket.if_nametoindex, space.device)

    def test_our_filters_come_and_go_and_theirs_stay(self, host: Host, device: tuple[TestNode, int]) -> None:
        node, index = device
        name = node.spaces["w"].device
        node.output(["tc", "qdisc", "add", "dev", name, "clsact"])
        theirs = ["bpf", "bytecode", "1,6 0 0 4294967295,"]
        node.output(["tc", "filter", "add", "dev", name, "ingress", "prio", "7", *theirs])
        datapath = node.run(host.open)
        node.run(datapath.attach_device, index, name)
        shown = node.output(["tc", "filter", "show", "dev", name, "ingress"])
        assert "from_endpoint" in shown
        assert "pref 7 bpf" in shown
        assert node.run(datapath.is_attached, index)
        node.run(datapath.detach_device, index)
        shown = node.output(["tc", "filter", "show", "dev", name, "ingress"])
        assert "from_endpoint" not in shown
        assert "pref 7 bpf" in shown

    def test_the_last_filter_takes_the_qdisc_along(self, host: Host, device: tuple[TestNode, int]) -> None:
        node, index = device
        datapath = node.run(host.open)
        node.run(datapath.attach_device, index, "w")
        node.run(datapath.detach_device, index)
        assert "clsact" not in node.output(["tc", "qdisc", "show"])

    def test_attaching_twice_replaces_in_place(self, host: Host, device: tuple[TestNode, int]) -> None:
        node, index = device
        name = node.spaces["w"].device
        datapath = node.run(host.open)
        for _ in range(3):
            node.run(datapath.attach_device, index, name)
        assert node.output(["tc", "filter", "show", "dev", name, "egress"]).count("handle 0x7265") == 1

    def test_a_filter_that_somebody_removed_is_noticed(self, host: Host, device: tuple[TestNode, int]) -> None:
        node, index = device
        name = node.spaces["w"].device
        datapath = node.run(host.open)
        node.run(datapath.attach_device, index, name)
        node.output(["tc", "qdisc", "del", "dev", name, "clsact"])
        assert not node.run(datapath.is_attached, index)

    def test_a_device_that_is_gone_is_an_error_to_attach_and_none_to_detach(
        self, host: Host, device: tuple[TestNode, int]
    ) -> None:
        node, index = device
        datapath = node.run(host.open)
        node.run(datapath.attach_device, index, "w")
        node.drop("w")
        node.run(datapath.detach_device, index)
        with pytest.raises(AttachError, match="ENODEV"):
            node.run(datapath.attach_device, index, "w")


def test_cgroup_links_are_swapped_in_place_and_live_on(host: Host, node: TestNode, programs: Path) -> None:
    first = host.open()
    first.attach_cgroup(node.cgroup)
    link = (host.pins / "links" / "connect4").stat().st_ino
    host.close()
    with (programs / "socket.c").open("a") as file:
        file.write("/* a new release */\n")
    second = host.open(programs=programs)
    second.attach_cgroup(node.cgroup)
    assert (host.pins / "links" / "connect4").stat().st_ino == link
    assert Hook.CGROUP in {one.hook for one in second.attachments()}


def test_a_cgroup_that_does_not_exist_is_named(host: Host) -> None:
    with pytest.raises(AttachError, match=r"cgroup /sys/fs/cgroup/nowhere: ENOENT.*name an existing cgroup"):
        host.open().attach_cgroup(Path("/sys/fs/cgroup/nowhere"))


def test_a_process_that_dies_leaves_everything_in_place(host: Host, node: TestNode) -> None:
    code = f"""
import os
from pathlib import Path
from ebpf import features
from ebpf.datapath import Datapath
from tests.conftest import SMALL
d = Datapath(Path({str(host.pins)!r}), Path({str(host.state)!r}), SMALL, features.probe())
d.attach_cgroup(Path({str(node.cgroup)!r}))
os.kill(os.getpid(), 9)
"""
    root = Path(__file__).parents[2]
    died = subprocess.run([sys.executable, "-c", code], cwd=root, check=False, capture_output=True)
    assert died.returncode == -9, died.stderr.decode()
    assert (host.pins / "links" / "connect4").exists()
    assert not host.open().build.compiled
