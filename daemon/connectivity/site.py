"""The namespaces, processes and the one file of a connectivity test, on the host and in the network of an agent.

All traffic stays on the test's bridge: the Services' addresses are of its own network, so that even a packet that
nobody translates goes nowhere else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import TracebackType
from typing import Any

from daemon.connectivity.objects import DNS_NAME, FILE, NAMESPACE, PODS, PORT, Plan
from daemon.connectivity.results import FailedError
from daemon.demo.agent import PACKAGES
from daemon.demo.cgroups import Cgroup, remove
from daemon.demo.processes import spawn, stop
from daemon.demo.signals import Rest
from daemon.demo.topology import Guest, unrouted
from ebpf.errors import RemoraError

DEVICES = "rct-"
"""what the names of all devices begin with"""
NETWORKS = tuple(IPv4Network(f"198.18.{number}.0/24") for number in range(245, 255))  # RFC 2544: never routed
NETWORKS6 = tuple(IPv6Network(f"fd72:656d:6f72:{number:x}::/64") for number in range(245, 255))
PATIENCE = 20.0  # s for a process to start, or a client to end

_FIRST_SERVICE = 100
_SERVICES = ("echo", "sticky", "empty", "names")
_NO_IPV6 = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")


class SiteError(RemoraError):
    """The test cannot be set up on this host."""


@dataclass
class Site:
    """A context manager: entering makes everything but the file, leaving removes everything.

    `pid` is the agent, `cgroup` the one whose processes reach Services.
    """

    pid: int
    cgroup: Path
    folder: Path
    node: str
    node_port: int
    rest: Rest
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Site:
        with ExitStack() as stack:
            self._home = _held(stack, Path(f"/proc/{self.pid}/ns/net"))
            self._folder = _held(stack, self._way())
            self.remove_file()
            remove(self.cgroup / NAMESPACE)  # of a test that was killed
            self._group = Cgroup(str(self.cgroup / NAMESPACE))
            stack.enter_context(self._group)
            self._guest = stack.enter_context(Guest(NAMESPACE, self._home, self._networks(), devices=DEVICES))
            for pod in PODS:
                self._guest.add(pod)
            self.plan = self._planned()
            servers = [self._serve(pod) for pod in PODS[2:]]
            for server in servers:
                stack.callback(stop, server)
            for server in servers:
                self._await(server)
            stack.callback(self.remove_file)  # first of all: the agent lets go before the devices do
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    @property
    def file(self) -> Path:
        """The manifest, in the folder that the agent's own mounts show."""
        return self._folder / FILE

    def write_file(self) -> None:
        """Hand the objects to the agent, all at once."""
        draft = self.file.with_suffix(".tmp")
        try:
            draft.write_text(self.plan.manifest())
            draft.rename(self.file)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise SiteError(f"cannot write {self.folder / FILE}: {error.strerror}", "run as root") from error

    def remove_file(self) -> None:
        """Take the objects back; nothing where there are none."""
        with suppress(OSError):
            self.file.unlink()

    def ask(self, pod: str, *arguments: str) -> list[dict[str, Any]]:
        """What a client in a pod tells; raises FailedError for one that does not end, Interrupted."""
        command = [sys.executable, "-P", "-m", "daemon.connectivity.probe", *arguments]
        client = self._spawn(command, pod)
        assert client.stdout
        try:
            if not self.rest.readable(client.stdout, PATIENCE):
                raise FailedError(f"the client in {pod} did not end in {PATIENCE:g} s", "is this host overloaded?")
            told: list[dict[str, Any]] = json.loads(client.stdout.readline() or "[]")
        finally:
            stop(client)
            client.stdout.close()
        if not told:
            raise FailedError(f"the client in {pod} could not run", "its error is above")
        return told

    def _way(self) -> Path:
        """The agent's folder by our own mounts where they show the same: the agent's may be read-only."""
        seen = Path(f"/proc/{self.pid}/root{self.folder}")
        same = self.folder.is_dir() and seen.is_dir() and self.folder.samefile(seen)
        return self.folder if same else seen

    def _networks(self) -> list[IPv4Network | IPv6Network]:
        first = unrouted(self._home, NETWORKS)
        if first is None:
            raise SiteError(f"all of {NETWORKS[0]} to {NETWORKS[-1]} are routed on this host", "free one of them")
        second = None if _NO_IPV6.exists() and _NO_IPV6.read_text().strip() == "1" else unrouted(self._home, NETWORKS6)
        return [first, second] if second else [first]

    def _planned(self) -> Plan:
        spaces, networks = self._guest.spaces, self._guest.subnets
        return Plan(
            node=self.node,
            pods={pod: [str(one.ip) for one in spaces[pod].addresses] for pod in PODS},
            services={
                name: [str(network[_FIRST_SERVICE + index]) for network in networks]
                for index, name in enumerate(_SERVICES)
            },
            node_port=self.node_port,
            node_address=str(self._guest.gateways[0].ip),
        )

    def _serve(self, pod: str) -> subprocess.Popen[bytes]:
        if pod == "names":
            argv = ["daemon.demo.names", f"{DNS_NAME}={self.plan.services['echo'][0]}"]
        else:
            argv = ["daemon.connectivity.whoami", pod, str(PORT)]
        return self._spawn([sys.executable, "-P", "-m", *argv], pod)

    def _spawn(self, argv: Sequence[str], pod: str) -> subprocess.Popen[bytes]:
        where = self._guest.spaces[pod].path
        return spawn(argv, where, self._group.path, stdout=subprocess.PIPE, environment=PACKAGES)

    def _await(self, server: subprocess.Popen[bytes]) -> None:
        assert server.stdout
        if not self.rest.readable(server.stdout, PATIENCE) or not server.stdout.readline():
            raise SiteError("a server of the test did not start", "its error is above")


def _held(stack: ExitStack, path: Path) -> Path:
    """The same place for as long as the stack lives, even if the agent dies meanwhile; raises SiteError."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SiteError(f"cannot open {path}: {error.strerror}", "run as root, on the agent's host") from error
    stack.callback(os.close, number)
    return Path(f"/proc/{os.getpid()}/fd/{number}")
