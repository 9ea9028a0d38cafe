"""What a Service still answers while spoofed SYNs and UDP flood the uplink, with the shield and without.

A node with a web server behind a node port, and one link to the world outside. There wrk opens a connection for each
request, and the flood (benchmarks.flood) is sent as fast as one core can. The link is a network card with a queue for
each core: what a core sends is taken in on the same one, so the flood has a core for itself, and client and server
share the other one, in all turns. Turns without the flood and with it under the shield alternate, and the shares are
medians of the rounds' ratios. What a flood costs that is dropped for next to nothing is told beside it: in those turns
the shield's place is taken by a program of a dozen instructions, which knows the flood by the first byte of its
sources. Turns without the shield come last: what they leave behind takes its time to go.

Both cores have to be free: on a busy machine the flood drives its neighbours to the other core, and all shares sink.

The shield is as an operator would have it against just that: sources must prove themselves from 1,000 SYNs a second
to one destination on, and of all UDP 1,000 packets a second are taken.
"""

from __future__ import annotations

import ctypes as ct
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from socket import if_nametoindex
from statistics import median

from pyroute2 import IPRoute, netns

from benchmarks import shielded, web
from benchmarks.outside import Outsider
from benchmarks.report import Figure, Goal, at_least
from benchmarks.sites import Bare
from benchmarks.stand import PORT, SERVER, STAGE, BenchmarkError, Stand
from benchmarks.tables import put, raw
from benchmarks.throughput import processors
from daemon.demo import agent as demo_agent
from daemon.demo.topology import NAMESPACES, Node, in_namespace
from daemon.model.directory import Frontend, ServiceName
from daemon.model.workload import Node as Name
from daemon.services import Block, Origin, PortKey, ServicePortEntry, ServiceReconciler, ServiceTable
from ebpf import features, libbpf, xdp
from ebpf.addresses import pack
from ebpf.constants import FrontendFlag, Reserved, ShieldFlag
from ebpf.datapath import Datapath
from ebpf.source import Options

ROUNDS, BARE_ROUNDS = 5, 3
TURN = 3  # s
SETTLE = 1.5  # s, until the server has forgotten what was half open
CONNECTIONS = 16
QUEUES = 2
NODE_PORT = 30080
UPLINK, PREFIX = "up0", 24
NODE, CLIENT = "198.18.0.10", "198.18.0.99"
_UDP = 17
_IN_DRIVER = 4  # XDP_FLAGS_DRV_MODE
_PASS = bytes.fromhex("b7000000020000009500000000000000")  # r0 = XDP_PASS; exit
_DROP_FLOOD = bytes.fromhex(
    "6112000000000000"  # r2 = data
    "6113040000000000"  # r3 = data_end
    "bf24000000000000"  # r4 = r2
    "0704000022000000"  # r4 += 34
    "2d34050000000000"  # if r4 > r3 goto pass
    "69250c0000000000"  # r5 = EtherType
    "5505030008000000"  # if r5 is not IPv4 goto pass
    "71251a0000000000"  # r5 = first byte of the source
    "550501000b000000"  # if r5 != 11 goto pass
    "0500020000000000"  # goto drop
    "b700000002000000"  # pass: r0 = XDP_PASS
    "9500000000000000"  # exit
    "b700000001000000"  # drop: r0 = XDP_DROP
    "9500000000000000"  # exit
)
_RATE = re.compile(rb"Requests/sec:\s+([\d.]+)")


@dataclass(frozen=True, slots=True)
class Scene:
    """The node and the world outside of it."""

    datapath: Datapath
    client: Outsider
    node: Path
    """its network namespace"""
    mac: str
    """of the node's uplink"""


def measure() -> Iterator[Figure]:
    """Shares of the undisturbed rate, and what the flood was."""
    with ExitStack() as stack:
        scene = _scene(stack)
        calm, shielded_rates, dropped, bare, floods = [], [], [], [], list[float]()
        for _ in range(ROUNDS):
            calm.append(_turn(scene))
            shielded_rates.append(_turn(scene, floods, shield=True))
            with _dropping(scene):
                dropped.append(_turn(scene, []))
        for _ in range(BARE_ROUNDS):
            bare.append(_turn(scene, floods))
    yield Figure("xdp_flood_undisturbed", median(calm), "1/s", note="a connection for each request")
    yield Figure("xdp_flood_sent", median(floods[:ROUNDS]), "1/s", note="packets, under the shield")
    yield Figure("xdp_flood_sent_unshielded", median(floods[ROUNDS:]), "1/s", note="packets")
    yield _share("xdp_flood_kept_shielded", shielded_rates, calm, at_least(0.9))
    yield _share("xdp_flood_kept_dropped_at_once", dropped, calm)
    yield _share("xdp_flood_kept_unshielded", bare, calm)


def _share(name: str, rates: Sequence[float], calm: Sequence[float], goal: Goal | None = None) -> Figure:
    ratios = [rate / other for rate, other in zip(rates, calm, strict=False)]
    return Figure(name, median(ratios), "ratio", goal, f"rounds: {' '.join(f'{one:.2f}' for one in ratios)}")


def _turn(scene: Scene, floods: list[float] | None = None, *, shield: bool = False) -> float:
    """Requests a second that were answered, under a flood whose rate is added to `floods`, or without one."""
    time.sleep(SETTLE)
    _shield(scene.datapath, on=shield)
    with nullcontext() if floods is None else _flood(scene, floods):
        return _asked(scene)


def _asked(scene: Scene) -> float:
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{TURN}s", "-H", "Connection: close", f"http://{NODE}:{NODE_PORT}/"]
    asker = scene.client.spawn(["taskset", "-c", str(processors()[1]), *argv], "", stdout=subprocess.PIPE)
    told, _ = asker.communicate(timeout=TURN * 10)
    found = _RATE.search(told)
    if not found:
        raise BenchmarkError(f"wrk says nothing of its rate: {told[-500:]!r}")
    return float(found[1])


def _shield(datapath: Datapath, *, on: bool) -> None:
    """Switch it; what was counted and tracked before is forgotten."""
    for name in ("translations", "shield_proven", "shield_syns", "shield_buckets"):
        table = datapath.maps[name]
        table.delete(table.items()[0])
    if on:
        shielded.limit(datapath, 0, packet_rate=1000, packet_burst=1000, proto=_UDP)
        shielded.configure(datapath, flags=ShieldFlag.MALFORMED, limits=1, syn_rate=1000, proven_seconds=60)
    else:
        shielded.configure(datapath)


@contextmanager
def _flood(scene: Scene, rates: list[float]) -> Iterator[None]:
    """A flood as long as it is needed; its rate is added to `rates`."""
    argv = ["taskset", "-c", str(processors()[0]), sys.executable, "-m", "benchmarks.flood"]
    arguments = [UPLINK, scene.mac, NODE, str(NODE_PORT)]
    process = scene.client.spawn(
        [*argv, *arguments], "", stdin=subprocess.PIPE, stdout=subprocess.PIPE, environment=demo_agent.PACKAGES
    )
    assert process.stdout
    if process.stdout.readline() != b"ready\n":
        raise BenchmarkError("the flood ended before it began")
    yield
    told, _ = process.communicate(b"\n", timeout=60)
    sent = json.loads(told)
    rates.append(sent["sent"] / sent["seconds"])


def _scene(stack: ExitStack) -> Scene:
    stand = stack.enter_context(Stand())
    one = Bare(stack.enter_context(Node(f"{STAGE.name}-shielded")), stand)
    one.node.add(SERVER)
    one.node.run(_forgets, workload=SERVER)
    web.serve(one, processors()[1], STAGE.folder / "web-shielded")
    netns.create(f"{STAGE.name}-world")
    world = NAMESPACES / f"{STAGE.name}-world"
    in_namespace(world, _link, one.node.path)
    _spread(world)
    in_namespace(world, _settle, CLIENT, "")
    mac = one.node.run(_settle, NODE, CLIENT)
    datapath = _datapath(stack, one)
    in_namespace(world, _receive)
    return Scene(datapath, Outsider(world, stand), one.node.path, mac)


def _forgets() -> None:
    """Keep nothing of connections that are over, and half-open ones for a second: their ports come again soon."""
    for setting in ("tcp_max_tw_buckets", "tcp_synack_retries"):
        Path("/proc/sys/net/ipv4", setting).write_text("0")


def _link(node: Path) -> None:
    with IPRoute() as ipr, node.open("rb") as namespace:
        queues = {"num_tx_queues": QUEUES, "num_rx_queues": QUEUES}
        peer = {"ifname": UPLINK, "net_ns_fd": namespace.fileno(), **queues}
        ipr.link("add", ifname=UPLINK, kind="veth", peer=peer, **queues)


def _spread(world: Path) -> None:
    """Each core sends by a queue of its own; raises BenchmarkError."""
    lines = [
        f"echo {1 << core:x} > /sys/class/net/{UPLINK}/queues/tx-{queue}/xps_cpus"
        for queue, core in enumerate(processors())
    ]
    enter = ["ip", "netns", "exec", world.name, "sh", "-ec", "; ".join(lines)]  # brings the namespace's own /sys
    done = subprocess.run(enter, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"the queues of {UPLINK} cannot be given to cores: {done.stderr.strip()}")


def _settle(address: str, gateway: str) -> str:
    """Set up one end of the link; its address as a device."""
    with IPRoute() as ipr:
        index = ipr.link_lookup(ifname=UPLINK)[0]
        ipr.link("set", index=1, state="up")
        ipr.addr("add", index=index, address=address, prefixlen=PREFIX)
        ipr.link("set", index=index, state="up")
        if gateway:
            ipr.route("add", dst="default", gateway=gateway)
        return str(ipr.get_links(index)[0].get_attr("IFLA_ADDRESS"))


def _receive() -> None:
    """A virtual link takes back what XDP answers only where the other end has XDP too."""
    with _program("pass", _PASS) as program:
        _put(program)


@contextmanager
def _dropping(scene: Scene) -> Iterator[None]:
    """In the place of our program, one that drops the flood and nothing else."""
    with _program("drop_flood", _DROP_FLOOD) as program:
        in_namespace(scene.node, _put, program)
        yield
        in_namespace(scene.node, _put, scene.datapath.program(xdp.PROGRAM))


@contextmanager
def _program(name: str, instructions: bytes) -> Iterator[int]:
    code = ct.create_string_buffer(instructions, len(instructions))
    program = libbpf.load_program(libbpf.ProgramType.XDP, name, ct.addressof(code), len(instructions), 0)
    yield program
    os.close(program)


def _put(program: int) -> None:
    """Put a program on the link's end in this namespace, in the place of whatever is there."""
    what = f"cannot attach to {UPLINK} (xdp)"
    libbpf.call(what, "bpf_xdp_attach", if_nametoindex(UPLINK), program, _IN_DRIVER, None)


def _datapath(stack: ExitStack, one: Bare) -> Datapath:
    """The programs on the node, which knows its web server and answers for it at a node port."""
    for folder in (STAGE.pins, STAGE.folder / "shielded"):
        folder.mkdir(exist_ok=True)
    made = Datapath(STAGE.pins / "shielded", STAGE.folder / "shielded", Options(xdp=1), features.probe())
    stack.callback(made.close)
    uplink, device = (one.node.run(if_nametoindex, found) for found in (UPLINK, one.node.spaces[SERVER].device))
    put(made, "uplinks", uplink, address4=raw(NODE))
    put(made, "addresses", raw(one.address(SERVER)), workload=2, ifindex=device)
    put(made, "addresses", raw(NODE), workload=Reserved.HOST)
    frontends = {Frontend(pack("0.0.0.0"), NODE_PORT, 6): FrontendFlag.NODE_PORT}
    backend = pack(one.address(SERVER)) + PORT.to_bytes(2)
    entry = ServicePortEntry(PortKey(ServiceName("bench", "web", "http"), 6, 4), frontends, backend)
    blocks = {Origin(False, "bench", "web"): Block((entry,))}
    ServiceReconciler(made.maps["services"], made.maps["backends"]).apply(ServiceTable(Name("shielded", ""), blocks))
    one.node.run(made.attach_uplink, uplink, UPLINK)
    one.node.run(made.attach_device, device, SERVER)
    one.node.run(made.attach_wire, uplink, xdp.Mode.NATIVE)
    return made
