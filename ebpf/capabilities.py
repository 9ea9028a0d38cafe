"""Giving up what is not needed of root's powers, for good and before anything else runs.

A capability that is out of the bounding set and of the permitted set cannot come back, not even by executing a set-uid
program. The kernel keeps capabilities per thread, so this is called while the process has one; all later threads and
children inherit it.

Source: capabilities(7), capset(2), prctl(2).
"""

from __future__ import annotations

import ctypes as ct
import os
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path

from ebpf.errors import KernelError


class Capability(IntEnum):
    """Those that remora has a use for."""

    NET_BROADCAST = 11
    """hear of links and addresses in workloads' namespaces (NETLINK_LISTEN_ALL_NSID)"""
    NET_ADMIN = 12
    """attach to devices, read namespaces' numbers, close sockets"""
    SYS_PTRACE = 19
    """look into /proc/PID/ns of other users' processes, to find network namespaces"""
    SYS_ADMIN = 21
    """enter network namespaces, mount bpffs where it is not; before Linux 5.8 also BPF"""
    SYS_RESOURCE = 24
    """before Linux 5.11: lock the memory of maps"""
    PERFMON = 38
    """tracepoints, and what the verifier allows to trusted programs"""
    BPF = 39
    """load programs, make maps, pin both"""


AGENT = frozenset(Capability)
COMPILER = frozenset(
    {Capability.BPF, Capability.PERFMON, Capability.NET_ADMIN, Capability.SYS_ADMIN, Capability.SYS_RESOURCE}
)

_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_VERSION_3 = 0x20080522
_libc = ct.CDLL(None, use_errno=True)


class _Header(ct.Structure):
    _fields_ = (("version", ct.c_uint32), ("pid", ct.c_int))


class _Sets(ct.Structure):
    _fields_ = (("effective", ct.c_uint32), ("permitted", ct.c_uint32), ("inheritable", ct.c_uint32))


def keep_only(wanted: Iterable[Capability]) -> frozenset[int]:
    """Drop every other capability of the calling thread; the numbers of those that are left. Raises KernelError.

    What is wanted and was not there is not made up: a service manager may have taken it already.
    """
    mask = sum(1 << one for one in wanted) & held()
    for number in range(_last() + 1):
        if not mask >> number & 1 and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) < 0:
            break  # without CAP_SETPCAP the bounding set stays, and nothing can be gained from it: see below
    _call("give up the gain of privileges", _libc.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    sets = (_Sets * 2)(*(_Sets(half, half, 0) for half in (mask & 0xFFFFFFFF, mask >> 32)))
    _call("give up capabilities", _libc.capset, ct.byref(_Header(_VERSION_3, 0)), ct.byref(sets))
    return frozenset(number for number in range(_last() + 1) if mask >> number & 1)


def held(process: str = "self") -> int:
    """The permitted capabilities of a process's first thread, as the kernel's mask."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0


def _last() -> int:
    try:
        return int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    except OSError:
        return 40


def _call(what: str, function: ct._FuncPointer, *arguments: object) -> None:
    if function(*arguments) < 0:
        code = ct.get_errno()
        raise KernelError(f"cannot {what}: {os.strerror(code)}", code)
