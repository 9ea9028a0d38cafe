"""What a packet of a Service's connection costs in the XDP program, in nanoseconds over an empty program.

Measured as in `xdp_packet`: BPF_PROG_TEST_RUN repeats within the kernel, and the sender of each packet is drawn at
random from all that have a connection, which goes through the node to a backend on another machine. What is measured
is all of it: parse, find the connection, ask for the way, rewrite, and hand to the device. One packet of a connection
in some seconds is left to TC, for the neighbours' sake; those are kept out by opening all anew before each round.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, if_nametoindex
from statistics import median

import numpy as np
from pyroute2 import IPRoute

from benchmarks import frames
from benchmarks.packet import PORTS, empty_program
from benchmarks.report import Figure, at_most, say
from benchmarks.stand import PORT, STAGE, BenchmarkError, bare_datapath
from benchmarks.tables import put, raw
from benchmarks.varied import Senders, nanoseconds, undisturbed
from daemon.demo.topology import Node
from ebpf import constants, libbpf, testrun
from ebpf.constants import FrontendFlag, NodeFlag, Reserved
from ebpf.datapath import Datapath

ROUNDS, REPEAT = 9, 50_000
COUNTS = (1, 1_000)
WINDOW = 33  # 2^33 ns, in each of which a connection has a packet left to TC
_SENT = (3, 4)  # XDP_TX, XDP_REDIRECT
_DEVICE, _NEXT = "up", "02:00:00:00:00:77"
_NO_DAD = 0x02  # IFA_F_NODAD


@dataclass(frozen=True, slots=True)
class Family:
    """Addresses of one family: the node with prefix, its router, the Service, its backend, and the first client."""

    version: int
    node: str
    router: str
    vip: str
    backend: str
    client: str
    place: int
    """of the last four bytes of the source in a frame"""

    @property
    def host(self) -> str:
        """The node's address."""
        return self.node.split("/")[0]

    def frame(self, flags: int) -> bytes:
        """A packet of the first client's to the Service, for the device that test runs take place on."""
        make = frames.tcp if self.version == 4 else frames.tcp6
        return bytes(6) + make(self.client, self.vip, (PORTS[0], PORT), flags, bytes(26))[6:]


FAMILIES = (
    Family(4, "198.18.0.10/24", "198.18.0.1", "203.0.113.1", "10.244.2.2", "11.0.0.0", 26),
    Family(6, "2001:db8:18::10/64", "2001:db8:18::1", "2001:db8:113::1", "fd00:244:2::2", "2001:db8:5::", 34),
)


def measure() -> Iterator[Figure]:
    """Each family, with one client and with many; nothing, with the reason, where nothing is accelerated."""
    modes, accelerate = getattr(constants, "WireMode", None), getattr(NodeFlag, "ACCELERATE", None)
    if modes is None or accelerate is None:
        say("   Services in XDP: not measured, the programs have no acceleration")
        return
    with ExitStack() as stack:
        datapath = stack.enter_context(bare_datapath(xdp=True))
        empty = stack.enter_context(empty_program(libbpf.ProgramType.XDP, libbpf.XDP_HAS_FRAGS))
        node = stack.enter_context(Node(f"{STAGE.name}-balance"))
        node.run(_stand)
        datapath.tell_flags(accelerate)
        _serve(datapath, node, modes.NATIVE)
        for family in FAMILIES:
            for count in COUNTS:
                yield node.run(_measure, datapath, empty, family, count)


def _measure(datapath: Datapath, empty: int, family: Family, count: int) -> Figure:
    first = int.from_bytes(family.frame(0)[family.place : family.place + 4])
    opening, data = (Senders(family.frame(flags), family.place, first, count) for flags in (frames.SYN, frames.ACK))
    spent, nothing = [], []
    program, ring = datapath.program("from_wire"), datapath.ring("flows")
    for _ in range(ROUNDS):
        _await_window()
        for number in range(count):
            _open(datapath, opening.nth(number), data.nth(number))
        spent.append(nanoseconds(program, data, REPEAT))
        if any(testrun.verdict(program, data.nth(number)) not in _SENT for number in (0, count - 1)):
            raise BenchmarkError(f"packets over IPv{family.version} are not sent on by XDP")
        nothing.append(nanoseconds(empty, data, REPEAT))
        ring.rows(datapath.flow_dtype, REPEAT)
    ring.close()
    rounds = [one - undisturbed(nothing) for one in spent]
    note = f"{count:,} clients; median {median(rounds):.0f} ns, rounds from {min(rounds):.0f} to {max(rounds):.0f} ns"
    return Figure(f"xdp_balance_ipv{family.version}_{count}", undisturbed(rounds), "ns", at_most(200), note)


def _await_window() -> None:
    """Wait until there are some seconds left in which nothing is left to TC."""
    while time.monotonic_ns() % (1 << WINDOW) > 3 << (WINDOW - 2):
        time.sleep(0.1)


def _open(datapath: Datapath, opening: bytes, data: bytes) -> None:
    """Open a connection, or tell the neighbours that it is in use; what XDP leaves goes to TC, as it would."""
    for packet in (opening, data):
        if testrun.verdict(datapath.program("from_wire"), packet) not in _SENT:
            testrun.verdict(datapath.program("from_network"), packet)


def _stand() -> None:
    """A device that leads outside, and who is behind it."""
    with IPRoute() as ipr:
        ipr.link("add", ifname=_DEVICE, kind="veth", peer={"ifname": f"{_DEVICE}-end"})
        index, end = (ipr.link_lookup(ifname=name)[0] for name in (_DEVICE, f"{_DEVICE}-end"))
        for family in FAMILIES:
            address, length = family.node.split("/")
            extra = {"flags": _NO_DAD} if family.version == 6 else {}
            ipr.addr("add", index=index, address=address, prefixlen=int(length), **extra)
        for one in (index, end):
            ipr.link("set", index=one, state="up")
        for family in FAMILIES:
            kind = AF_INET if family.version == 4 else AF_INET6
            ipr.neigh("add", dst=family.router, lladdr=_NEXT, ifindex=index, state=0x80, family=kind)
            ipr.route("add", dst="default", gateway=family.router, family=kind)


def _serve(datapath: Datapath, node: Node, native: int) -> None:
    """A Service of each family with one backend, on another machine."""
    four, six = FAMILIES
    for index in (1, node.run(if_nametoindex, _DEVICE)):  # test runs take place on the loopback device
        put(datapath, "uplinks", index, address4=raw(four.host), address6=raw(six.host), wire=native)
    for number, family in enumerate(FAMILIES, start=1):
        put(datapath, "addresses", raw(family.host), workload=Reserved.HOST)
        _put_frontend(datapath, family, number)


def _put_frontend(datapath: Datapath, family: Family, number: int) -> None:
    services, backends = datapath.maps["services"], datapath.maps["backends"]
    key, value = np.zeros(1, services.key_dtype), np.zeros(1, services.value_dtype)
    key["addr"], key["port"], key["proto"] = raw(family.vip), np.uint16(PORT).byteswap(), 6
    value["service"], value["backends"], value["flags"] = number, 1, FrontendFlag.LOAD_BALANCER
    slot, backend = np.zeros(1, backends.key_dtype), np.zeros(1, backends.value_dtype)
    slot["service"] = number
    backend["addr"], backend["port"] = raw(family.backend), np.uint16(PORT).byteswap()
    backends.update(slot, backend)
    services.update(key, value)
