"""A flood of SYNs from made-up sources, and a client that is really there: Linux's own, through the proof."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pyroute2 import IPRoute

from daemon.demo.topology import NAMESPACES, in_namespace
from ebpf import libbpf
from ebpf.constants import Counter
from ebpf.datapath import Datapath
from ebpf.xdp import Mode
from tests.support.netns import TestNode
from tests.support.outside import CLIENT, NODE, UPLINK, Outside, attach, outside

SPOOFER = Path(__file__).parents[1] / "support" / "spoofer.py"
WHOAMI = Path(__file__).parents[1] / "support" / "whoami.py"
FLOODER = ("198.18.0.66", "2001:db8:18::66")
PORT, RATE = 8080, 20
PASS = bytes.fromhex("b700000002000000" + "9500000000000000")  # r0 = XDP_PASS; exit
FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
SYN_RECV = "03"


@dataclass
class Front:
    """A node with a listener behind its shield, and who is outside."""

    node: TestNode
    world: Outside
    datapath: Datapath

    def settings(self, **fields: int) -> None:
        table = self.datapath.maps["shield_config"]
        row = np.zeros(1, table.value_dtype)
        for name, value in fields.items():
            row[name] = value
        table.update(np.zeros(1, table.key_dtype), row)

    def forget(self) -> None:
        """The shield knows of no flood, and knows nobody."""
        for name in ("shield_syns", "shield_proven"):
            table = self.datapath.maps[name]
            table.delete(table.items()[0])

    def flood(self, family: int) -> None:
        """SYNs from made-up sources, from now on."""
        mac = self.node.run(_mac, UPLINK)
        argv = [sys.executable, str(SPOOFER), "eth0", mac, NODE[family], str(PORT)]
        process = self.world.popen(argv, "flooder")
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"

    def ask(self, family: int, times: int) -> list[str]:
        """So many connections of the client's, one after another; whom the listener saw."""
        code = (
            "import socket\n"
            f"for _ in range({times}):\n"
            f"    with socket.create_connection(({NODE[family]!r}, {PORT}), timeout=30) as one:\n"
            "        print(one.recv(200).decode().split()[-1])\n"
        )
        return self.world.python(code).splitlines()

    def half_open(self) -> int:
        """Connections for which the node has answered a SYN and waits."""
        lines = [line for name in ("tcp", "tcp6") for line in self.node.run(_lines, f"/proc/thread-self/net/{name}")]
        return sum(line.split()[3] == SYN_RECV for line in lines)

    def counter(self, which: Counter) -> int:
        return int(self.datapath.counters.sums()[which])


def _mac(device: str) -> str:
    with IPRoute() as ipr:
        return str(ipr.get_links(ifname=device)[0].get_attr("IFLA_ADDRESS"))


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()[1:]


def _let_in(device: str) -> None:
    """A program on the device: native XDP sends through a veth only where the other end has one."""
    code = ctypes.create_string_buffer(PASS, len(PASS))
    fd = libbpf.load_program(libbpf.ProgramType.XDP, "let_in", ctypes.addressof(code), len(PASS), libbpf.XDP_HAS_FRAGS)
    libbpf.call("cannot attach", "bpf_xdp_attach", socket.if_nametoindex(device), fd, 4, None)
    os.close(fd)


@pytest.fixture(name="front", params=[Mode.NATIVE, Mode.GENERIC])
def front_fixture(datapath: Datapath, node: TestNode, request: pytest.FixtureRequest) -> Iterator[Front]:
    with outside() as world:
        attach(node, world)
        world.machine("flooder", FLOODER)
        if request.param is Mode.NATIVE:
            in_namespace(NAMESPACES / world.name, _let_in, f"to-{node.name}")
        index = node.run(socket.if_nametoindex, UPLINK)
        node.run(datapath.attach_wire, index, request.param)
        server = node.popen([sys.executable, str(WHOAMI), "node", str(PORT)], stdout=-1)
        assert server.stdout
        assert server.stdout.readline() == b"ready\n"
        front = Front(node, world, datapath)
        yield front
        front.settings()
        front.forget()
        node.run(datapath.detach_device, index)


@FAMILIES
def test_a_client_gets_in_through_a_flood_whose_syns_do_not(front: Front, family: int) -> None:
    proven, asked = front.counter(Counter.SHIELD_PROVEN), front.counter(Counter.SHIELD_UNPROVEN)
    front.settings(syn_rate=RATE, proven_seconds=60)
    front.flood(family)
    assert front.ask(family, 20) == [CLIENT[family]] * 20
    assert front.counter(Counter.SHIELD_PROVEN) - proven == 1, "once for all of its connections"
    assert front.counter(Counter.SHIELD_UNPROVEN) - asked > 900
    assert front.half_open() <= 2 * RATE, "those of two seconds, where it began in the middle of one"
    front.forget()
    assert front.ask(family, 1) == [CLIENT[family]], "in the middle of the flood"
    assert front.half_open() <= 4 * RATE


@FAMILIES
def test_a_firewall_of_the_clients_does_not_keep_the_question_from_it(front: Front, family: int) -> None:
    for words in (
        "add table inet guard",
        "add chain inet guard in { type filter hook input priority 0; }",
        "add rule inet guard in ct state invalid counter drop",
    ):
        assert front.world.popen(["nft", words]).wait() == 0
    front.settings(syn_rate=RATE, proven_seconds=60)
    front.flood(family)
    for _ in range(4):
        assert front.ask(family, 1) == [CLIENT[family]]
        table = front.datapath.maps["shield_proven"]
        table.delete(table.items()[0])


@FAMILIES
def test_without_the_shield_the_flood_reaches_the_listener(front: Front, family: int) -> None:
    front.flood(family)
    deadline = time.monotonic() + 30
    while front.half_open() <= 4 * RATE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
