"""One run of the connectivity test against one agent, from looking at the agent to the last thing removed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM
from socket import socket as Socket

from daemon.connectivity.checks import CHECKS, Check, Stand, found
from daemon.connectivity.cluster import ClusterSite
from daemon.connectivity.objects import NAMESPACE
from daemon.connectivity.results import FailedError, Outcome, Result, SkippedError
from daemon.connectivity.site import Site
from daemon.demo.signals import resting
from daemon.proto import remora_pb2, remora_pb2_grpc
from daemon.sources.kubernetes.config import Access
from daemon.sources.kubernetes.session import Session
from ebpf.errors import RemoraError

NODE_PORTS = range(32700, 32768)  # the upper end of the usual range, that is given out last

Tell = Callable[[Result], None]


class ConnectivityError(RemoraError):
    """The test cannot be made with this agent."""


@dataclass(frozen=True, slots=True)
class Target:
    """An agent: its stub, its process (0: none of this host), and its state as it was before the test."""

    agent: remora_pb2_grpc.AgentStub
    pid: int
    status: remora_pb2.StatusResponse

    @property
    def folder(self) -> Path:
        """The folder of its manifests; raises ConnectivityError where it has none."""
        source = self.status.sources[0]
        if source.kind != "folder":
            what = (
                f"this agent takes its objects from {source.kind} {source.path}, and the test writes to a folder only"
            )
            raise ConnectivityError(what, "remora connectivity test --kubernetes makes pods in the cluster instead")
        return Path(source.path)

    @property
    def cgroup(self) -> Path:
        """The cgroup whose processes reach Services; raises ConnectivityError where there is none."""
        places = [place for one in self.status.programs if one.hook == "cgroup" for place in one.attached]
        if not places or not Path(places[0]).is_dir():
            raise ConnectivityError(
                "the agent's socket programs are attached to no cgroup of this host", "remora status"
            )
        return Path(places[0])


def run(target: Target, tell: Tell) -> bool:
    """Make all checks, telling each result as it comes; True where none failed.

    Raises ConnectivityError, SiteError, and Interrupted when a signal came; everything is removed in any case.
    """
    with _alone(target.pid), resting() as rest:
        node, port = target.status.node.rpartition("/")[2], _node_port(target)
        with Site(target.pid, target.cgroup, target.folder, node, port, rest) as site:
            site.write_file()
            return _checked(Stand(site, target.agent), tell)


def run_in_cluster(target: Target, access: Access, image: str, tell: Tell) -> bool:
    """The same with pods in the cluster, on the agent's node; `image` "" is that of the agent.

    Raises ClusterError, and Interrupted when a signal came; everything is removed in any case.
    """
    node = target.status.node.rpartition("/")[2]
    with resting() as rest, Session(access) as session, ClusterSite(session, node, image, rest) as site:
        return _checked(Stand(site, target.agent), tell)


def _checked(stand: Stand, tell: Tell) -> bool:
    first = _made(Check("agent", "finds what the test made", found), stand)
    tell(first)
    if first.outcome is Outcome.FAILED:
        return False
    return _all(CHECKS, stand, tell)


def _all(checks: Iterable[Check], stand: Stand, tell: Tell) -> bool:
    well = True
    for check in checks:
        stand.site.rest.sleep(0)  # a signal is heard here
        result = _made(check, stand)
        tell(result)
        well &= result.outcome is not Outcome.FAILED
    return well


def _made(check: Check, stand: Stand) -> Result:
    began, outcome, hint = time.monotonic(), Outcome.OK, ""
    try:
        words = check.test(stand)
    except FailedError as error:
        outcome, words, hint = Outcome.FAILED, error.words, error.hint
    except SkippedError as error:
        outcome, words = Outcome.SKIPPED, str(error)
    return Result(check.job, check.what, outcome, time.monotonic() - began, words, hint)


def _node_port(target: Target) -> int:
    services = target.agent.ListServices(remora_pb2.ListServicesRequest(), timeout=5).services
    taken = {one.port for one in services}
    free = (port for port in NODE_PORTS if port not in taken)
    port = next(free, 0)
    if not port:
        raise ConnectivityError(
            f"no port of {NODE_PORTS.start} to {NODE_PORTS.stop - 1} is free", "remora service list"
        )
    return port


def _alone(pid: int) -> Socket:
    """Hold the name of the test until the socket is closed; it vanishes with its process. Raises ConnectivityError."""
    if os.geteuid() != 0:
        raise ConnectivityError("the test makes network namespaces and needs root", "sudo remora connectivity test")
    if not pid:
        raise ConnectivityError("no agent of this host listens there", "name its unix socket with --server")
    holder = Socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        holder.bind(f"\0{NAMESPACE}")
    except OSError as error:
        holder.close()
        raise ConnectivityError("a connectivity test runs on this host already", "wait until it ends") from error
    return holder
