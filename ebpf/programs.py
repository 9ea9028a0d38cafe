"""The catalogue of programs: what each is, where it hooks in, whether the agent can do without it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ebpf.libbpf import AttachType, ProgramType


class Hook(StrEnum):
    """Kinds of places where programs are attached."""

    TC_INGRESS = "tc ingress"
    TC_EGRESS = "tc egress"
    UPLINK_INGRESS = "uplink tc ingress"
    UPLINK_EGRESS = "uplink tc egress"
    XDP = "xdp"
    CGROUP = "cgroup"
    RAW_TRACEPOINT = "raw tracepoint"


@dataclass(frozen=True, slots=True)
class Program:
    """One program: function name in the C sources, kernel types, hook, and what is lost without it."""

    name: str
    type: ProgramType
    hook: Hook
    attach_type: AttachType | None = None
    optional: str = ""
    """what does not work without it; empty: the agent refuses to start without it"""
    behind: str = ""
    """the array of programs, of one entry, by which another program goes on to it; empty: it is attached itself"""
    whole: bool = False
    """of XDP: for frames in one piece, as generic mode has them"""
    needs: str = ""
    """another program, without which this one would tell what is not so; empty: none"""
    code: str = ""
    """the program whose instructions it has; empty: its own"""


WORKLOAD_HOOKS = (Hook.TC_INGRESS, Hook.TC_EGRESS)
UPLINK_HOOKS = (Hook.UPLINK_INGRESS, Hook.UPLINK_EGRESS)
_OUTSIDE = "Services are not reached from outside"


def _socket(name: str, attach_type: AttachType, optional: str = "") -> Program:
    return Program(name, ProgramType.CGROUP_SOCK_ADDR, Hook.CGROUP, attach_type, optional)


def _bound(name: str, attach_type: AttachType, optional: str) -> Program:
    return Program(name, ProgramType.CGROUP_SOCK, Hook.CGROUP, attach_type, optional)


PROGRAMS: tuple[Program, ...] = (
    Program("from_endpoint", ProgramType.SCHED_CLS, Hook.TC_INGRESS),
    Program("to_endpoint", ProgramType.SCHED_CLS, Hook.TC_EGRESS),
    Program("from_network", ProgramType.SCHED_CLS, Hook.UPLINK_INGRESS, None, _OUTSIDE),
    Program("to_network", ProgramType.SCHED_CLS, Hook.UPLINK_EGRESS, None, _OUTSIDE),
    Program("from_wire", ProgramType.XDP, Hook.XDP, None, "nothing is kept off nor sped up by XDP"),
    Program("speed_up", ProgramType.XDP, Hook.XDP, None, "Services are not sped up by XDP", behind="wire_next"),
    Program("from_wire_whole", ProgramType.XDP, Hook.XDP, None, "there is no generic XDP", whole=True),
    Program(
        "speed_up_whole",
        ProgramType.XDP,
        Hook.XDP,
        None,
        "Services are not sped up by generic XDP",
        behind="whole_next",
        whole=True,
        code="speed_up",
    ),
    Program("join_wire", ProgramType.EXT, Hook.XDP, None, "XDP does not run beside others' programs", code="from_wire"),
    _socket("connect4", AttachType.CGROUP_INET4_CONNECT),
    _socket("connect6", AttachType.CGROUP_INET6_CONNECT),
    _socket("sendmsg4", AttachType.CGROUP_UDP4_SENDMSG),
    _socket("sendmsg6", AttachType.CGROUP_UDP6_SENDMSG),
    _socket("recvmsg4", AttachType.CGROUP_UDP4_RECVMSG),
    _socket("recvmsg6", AttachType.CGROUP_UDP6_RECVMSG),
    _socket("getpeername4", AttachType.CGROUP_INET4_GETPEERNAME, "getpeername() shows the backend"),
    _socket("getpeername6", AttachType.CGROUP_INET6_GETPEERNAME, "getpeername() shows the backend"),
    Program(
        "note_owner",
        ProgramType.CGROUP_SKB,
        Hook.CGROUP,
        AttachType.CGROUP_INET_EGRESS,
        "flows have no process and no Service name",
    ),
    Program(
        "watch_sockets",
        ProgramType.SOCK_OPS,
        Hook.CGROUP,
        AttachType.CGROUP_SOCK_OPS,
        "TCP connections of the node's own processes, and connects that find no route, are not seen",
    ),
    _bound("note_bind4", AttachType.CGROUP_INET4_POST_BIND, "servers' processes are known only once they accept"),
    _bound("note_bind6", AttachType.CGROUP_INET6_POST_BIND, "servers' processes are known only once they accept"),
    Program(
        "note_release",
        ProgramType.CGROUP_SOCK,
        Hook.CGROUP,
        AttachType.CGROUP_INET_SOCK_RELEASE,
        "connects without a route are not seen",
        needs="watch_sockets",
    ),
    Program("kfree_skb", ProgramType.RAW_TRACEPOINT, Hook.RAW_TRACEPOINT, None, "drops by the kernel are not counted"),
)

BY_NAME = {program.name: program for program in PROGRAMS}
