"""Where the benchmarks take place: a node with a client and a server in namespaces, and an agent that comes and goes.

The node, its cgroup, pins and folder carry one name, so whatever a killed run left is found and removed by the next.
The agent is the program as it is shipped, in a process of its own, with the default sizes of all maps.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from socket import if_nametoindex
from typing import Any

import grpc
import yaml

from daemon.demo import agent as demo_agent
from daemon.demo.cgroups import Cgroup
from daemon.demo.processes import spawn, stop
from daemon.demo.stage import DemoError, Stage
from daemon.demo.topology import SUBNETS, Node
from daemon.proto import remora_pb2, remora_pb2_grpc
from ebpf import bpffs, features, libbpf
from ebpf.attach import attach_cgroup, attach_raw_tracepoint, attach_tc, detach_tc
from ebpf.datapath import Datapath, cleanup
from ebpf.errors import RemoraError
from ebpf.programs import BY_NAME, Hook, Program
from ebpf.source import Options

STAGE = Stage("remora-bench")
CLIENT, SERVER = "client", "server"
VIP, VIP_PORT, PORT = "10.96.0.40", 80, 8080
START_TIMEOUT = 60.0  # s until the agent must answer
PATIENCE = 20.0  # s that a condition may take to come true
_POLL = 0.002  # s between two looks


class BenchmarkError(RemoraError):
    """A benchmark could not be carried out."""


@contextmanager
def occupied() -> Iterator[None]:
    """Hold the stand's name, and clear it before and after; raises BenchmarkError where another run holds it."""
    try:
        holder = STAGE.lock()
    except DemoError as error:
        raise BenchmarkError("benchmarks run on this host already", "wait until they have ended") from error
    with holder:
        STAGE.clear()
        try:
            yield
        finally:
            STAGE.clear()


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent, and how long it took from exec to its first answer (s)."""

    pid: int
    started: float
    stub: Any

    def status(self) -> Any:
        """The answer to `remora status`."""
        return self.stub.Status(remora_pb2.StatusRequest(), timeout=PATIENCE)

    def counters(self) -> dict[str, int]:
        """The datapath's counters by name, and `seen`: records that reached the store since the agent's start."""
        status = self.status()
        return {one.name: one.value for one in status.counters} | {"seen": status.flows.seen}

    def resident(self) -> float:
        """Memory in RAM (MB), as the kernel tells it."""
        return status_field(self.pid, "VmRSS") / 1000

    def processor_time(self) -> float:
        """Seconds of processor time used so far, all threads together."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


class Stand:
    """A context manager: the node with its two workloads; leaving removes all of it."""

    def __init__(self, subnets: Sequence[IPv4Network | IPv6Network] = SUBNETS) -> None:
        self._subnets = subnets

    def __enter__(self) -> Stand:
        with ExitStack() as stack:
            stack.callback(STAGE.clear)
            self._group = stack.enter_context(Cgroup(STAGE.name, "agent", "workloads", "bare"))
            self._workloads = self._group.path / "workloads"
            STAGE.folder.mkdir(mode=0o755)
            self.node = Node(STAGE.name, self._subnets)
            stack.enter_context(self.node)
            for workload in (CLIENT, SERVER):
                self.node.add(workload)
            self._write()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def address(self, workload: str) -> str:
        """A workload's IPv4 address."""
        return str(self.node.spaces[workload].addresses[0].ip)

    def spawn(self, argv: Sequence[str], workload: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program in a workload and its cgroup; ended with the stand at the latest."""
        return self.launch(argv, self.node.spaces[workload].path, "workloads", **options)

    def launch(self, argv: Sequence[str], namespace: Path, group: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program in a namespace and a cgroup of ours: `workloads` is steered, `bare` is not."""
        process = spawn(argv, namespace, self._group.path / group, **options)
        self._stack.callback(stop, process)
        return process

    def output(self, argv: Sequence[str], workload: str, timeout: float = 120.0) -> str:
        """What a program in a workload prints; raises BenchmarkError with its complaint."""
        process = self.spawn(
            argv, workload, stdout=subprocess.PIPE, stderr=subprocess.PIPE, environment=demo_agent.PACKAGES
        )
        out, complaint = process.communicate(timeout=timeout)
        if process.returncode:
            raise BenchmarkError(f"{Path(argv[0]).name} ended with {process.returncode}: {complaint.decode().strip()}")
        return out.decode()

    @contextmanager
    def agent(self) -> Iterator[Agent]:
        """An agent that answers and watches both workloads; stopped at the end, its programs stay attached."""
        began = time.monotonic()
        with STAGE.log.open("wb") as log:
            argv = demo_agent.command("agent", "--config", str(STAGE.settings))
            process = spawn(
                argv, self.node.path, self._group.path / "agent",
                stdout=log, stderr=log, environment=demo_agent.PACKAGES,
            )  # fmt: skip
        try:
            await_true(STAGE.socket.exists, "the agent's socket", process, START_TIMEOUT)
            with grpc.insecure_channel(STAGE.server, options=[("grpc.enable_http_proxy", 0)]) as channel:
                stub: Any = remora_pb2_grpc.AgentStub(channel)
                stub.Status(remora_pb2.StatusRequest(), timeout=START_TIMEOUT, wait_for_ready=True)
                running = Agent(process.pid, time.monotonic() - began, stub)
                await_true(lambda: running.status().endpoints >= 2, "both workloads in the agent's list", process)
                yield running
        finally:
            stop(process)

    def detach(self) -> None:
        """Take everything of remora out of the kernel: without it there is nothing but the namespaces."""
        self.node.run(cleanup, STAGE.pins, STAGE.folder)

    @contextmanager
    def detached(self, agent: Agent) -> Iterator[None]:
        """Nothing of ours in the traffic's way, and the agent asleep; then both back as they were."""
        os.kill(agent.pid, signal.SIGSTOP)
        try:
            bpffs.remove_tree(STAGE.pins / "links")
            self.node.run(self._detach_devices)
            yield
        finally:
            self._attach()
            os.kill(agent.pid, signal.SIGCONT)

    def _detach_devices(self) -> None:
        for space in self.node.spaces.values():
            detach_tc(if_nametoindex(space.device))

    def _attach(self) -> None:
        """Attach the pinned programs as the agent does."""
        links = STAGE.pins / "links"
        links.mkdir(exist_ok=True)
        for path in sorted(STAGE.pins.glob("build-*/*")):
            program = BY_NAME.get(path.name)
            if program is not None:
                descriptor = libbpf.obj_get(path)
                self._attach_program(program, descriptor, links / program.name)
                os.close(descriptor)

    def _attach_program(self, program: Program, descriptor: int, link: Path) -> None:
        if program.attach_type is not None:
            attach_cgroup(descriptor, program.attach_type, self._workloads, link)
        elif program.hook is Hook.RAW_TRACEPOINT:
            attach_raw_tracepoint(descriptor, program.name, link)
        else:
            self.node.run(self._attach_devices, program, descriptor)

    def _attach_devices(self, program: Program, descriptor: int) -> None:
        for space in self.node.spaces.values():
            attach_tc(if_nametoindex(space.device), program.hook, descriptor)

    def _write(self) -> None:
        manifests = [_pod(name, self.address(name)) for name in (CLIENT, SERVER)] + _service(self.address(SERVER))
        STAGE.manifests.mkdir()
        (STAGE.manifests / "bench.yaml").write_text(yaml.safe_dump_all(manifests))
        self.configure()

    def configure(self, **more: Any) -> None:
        """Write the settings of the next agent."""
        settings = {
            "node_name": STAGE.name,
            "manifests": str(STAGE.manifests),
            "bpffs": str(STAGE.pins),
            "state_dir": str(STAGE.folder),
            "socket": str(STAGE.socket),
            "cgroup": str(self._workloads),
        }
        STAGE.settings.write_text(yaml.safe_dump(settings | more))


@contextmanager
def bare_datapath(*, xdp: bool = False) -> Iterator[Datapath]:
    """Programs and maps of the default sizes, in this process and attached to nothing; gone afterwards."""
    STAGE.folder.mkdir(mode=0o755)
    datapath = Datapath(STAGE.pins, STAGE.folder, Options(xdp=int(xdp)), features.probe())
    try:
        yield datapath
    finally:
        datapath.close()
        STAGE.clear()


def await_true(
    condition: Any, what: str, process: subprocess.Popen[bytes] | None = None, patience: float = PATIENCE
) -> None:
    """Wait for a condition; raises BenchmarkError when it does not come true or the process ends before."""
    deadline = time.monotonic() + patience
    while not condition():
        if process is not None and process.poll() is not None:
            tail = STAGE.log.read_text(errors="replace")[-2000:] if STAGE.log.exists() else ""
            raise BenchmarkError(f"no {what}: the process ended with {process.returncode}\n{tail}")
        if time.monotonic() > deadline:
            raise BenchmarkError(f"no {what} after {patience:g} s")
        time.sleep(_POLL)


def status_field(pid: int, name: str) -> int:
    """A field of /proc/PID/status that is given in kB (1,024 bytes), in units of 1,000 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 // 1000
    raise BenchmarkError(f"/proc/{pid}/status has no {name}")


def _pod(name: str, address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "bench", "labels": {"app": name}},
        "spec": {"nodeName": STAGE.name},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def _service(backend: str) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "bench"},
            "spec": {"clusterIP": VIP, "ports": [{"name": "http", "port": VIP_PORT, "targetPort": PORT}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "web-1",
                "namespace": "bench",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [backend], "nodeName": STAGE.name}],
        },
    ]
