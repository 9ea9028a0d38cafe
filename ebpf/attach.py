"""Where programs meet the kernel: TC filters, cgroup links, raw tracepoints.

TC filters carry a handle and a priority of our own and are replaced in place;
what other people attached is never touched. cgroup and tracepoint attachments
are links, pinned so that they outlive the agent.
"""

from __future__ import annotations

import ctypes as ct
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ebpf import libbpf
from ebpf.errors import AttachError, KernelError
from ebpf.libbpf import LinkInfo
from ebpf.programs import WORKLOAD_HOOKS, Hook

HANDLE = 0x7265
"""handle of our TC filters ("re")"""
PRIORITY = 49
"""priority of our TC filters: before most others', and they still run (TC_ACT_UNSPEC)"""
_ATTACH_POINT = {Hook.TC_INGRESS: 1, Hook.TC_EGRESS: 2, Hook.UPLINK_INGRESS: 1, Hook.UPLINK_EGRESS: 2}
_REPLACE = 1  # BPF_TC_F_REPLACE
_NOT_THERE = (errno.ENOENT, errno.ENODEV, errno.EINVAL)


class _TcHook(ct.Structure):
    """struct bpf_tc_hook of libbpf."""

    _fields_ = (("sz", ct.c_size_t), ("ifindex", ct.c_int), ("attach_point", ct.c_int), ("parent", ct.c_uint32))


class _TcOptions(ct.Structure):
    """struct bpf_tc_opts of libbpf."""

    _fields_ = (
        ("sz", ct.c_size_t),
        ("prog_fd", ct.c_int),
        ("flags", ct.c_uint32),
        ("prog_id", ct.c_uint32),
        ("handle", ct.c_uint32),
        ("priority", ct.c_uint32),
    )


def attach_tc(ifindex: int, hook: Hook, program_fd: int) -> None:
    """Add or replace our filter on a device; raises AttachError, with ENODEV where the device is gone."""
    what = f"cannot attach to device {ifindex} ({hook})"
    place = _TcHook(ct.sizeof(_TcHook), ifindex, _ATTACH_POINT[hook], 0)
    try:
        libbpf.call(what, "bpf_tc_hook_create", ct.byref(place), error=AttachError)
    except AttachError as error:
        if error.errno != errno.EEXIST:
            raise
    options = _options(prog_fd=program_fd, flags=_REPLACE)
    libbpf.call(what, "bpf_tc_attach", ct.byref(place), ct.byref(options), error=AttachError)


def program_at(ifindex: int, hook: Hook) -> int | None:
    """Id of the program in our filter on a device, None where there is no such filter or device; raises AttachError."""
    place, options = _TcHook(ct.sizeof(_TcHook), ifindex, _ATTACH_POINT[hook], 0), _options()
    try:
        what = f"cannot ask for filters of device {ifindex}"
        libbpf.call(what, "bpf_tc_query", ct.byref(place), ct.byref(options), error=AttachError)
    except AttachError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    return int(options.prog_id)


def detach_tc(ifindex: int) -> None:
    """Remove our filters, and the clsact qdisc where nobody else uses it; a device that is gone is fine.

    libbpf cannot list other people's filters, pyroute2 can. It is imported here because it costs twelve megabytes and
    a running agent hardly ever detaches.
    """
    from pyroute2 import IPRoute

    for hook in WORKLOAD_HOOKS:
        place, options = _TcHook(ct.sizeof(_TcHook), ifindex, _ATTACH_POINT[hook], 0), _options()
        try:
            what = f"cannot detach from device {ifindex}"
            libbpf.call(what, "bpf_tc_detach", ct.byref(place), ct.byref(options), error=AttachError)
        except AttachError as error:
            if error.errno not in _NOT_THERE:
                raise
    with IPRoute() as netlink, _vanished(ifindex):
        parents = (0xFFFFFFF2, 0xFFFFFFF3)
        if not any(True for parent in parents for _ in netlink.get_filters(ifindex, parent=parent)):
            netlink.tc("del", "clsact", ifindex)


def _options(**values: int) -> _TcOptions:
    return _TcOptions(sz=ct.sizeof(_TcOptions), handle=HANDLE, priority=PRIORITY, **values)


@contextmanager
def _vanished(ifindex: int) -> Iterator[None]:
    """A device or qdisc that is gone meanwhile is as good as detached."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except NetlinkError as error:
        if error.code not in _NOT_THERE:
            raise AttachError(f"cannot remove the qdisc of device {ifindex}", error.code) from error


def attach_cgroup(program_fd: int, attach_type: int, cgroup: Path, pin: Path) -> bool:
    """Link a program to a cgroup, or swap the program of the pinned link; True when swapped. Raises AttachError."""
    what = f"cannot attach {pin.name} to cgroup {cgroup}"
    try:
        target = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise AttachError(what, error.errno or 0, hint="name an existing cgroup v2 folder in the settings") from error
    try:
        if pin.exists() and _swap(program_fd, pin, os.fstat(target).st_ino):
            return True
        link = libbpf.call(what, "bpf_link_create", program_fd, target, attach_type, None, error=AttachError)
        try:
            libbpf.obj_pin(link, pin)
        finally:
            os.close(link)
        return False
    finally:
        os.close(target)


def attach_raw_tracepoint(program_fd: int, name: str, pin: Path) -> None:
    """Attach a program to a raw tracepoint; such links cannot be swapped, so an older one goes first."""
    pin.unlink(missing_ok=True)
    what = f"cannot attach to tracepoint {name}"
    link = libbpf.call(what, "bpf_raw_tracepoint_open", name.encode(), program_fd, error=AttachError)
    try:
        libbpf.obj_pin(link, pin)
    finally:
        os.close(link)


def _swap(program_fd: int, pin: Path, cgroup_id: int) -> bool:
    """Put a new program into a pinned link; False where the link is dead or belongs to another cgroup."""
    link = libbpf.obj_get(pin)
    try:
        told = LinkInfo()
        libbpf.info(link, told, f"link {pin}")
        if told.cgroup_id == cgroup_id:
            libbpf.call(f"cannot swap the program of {pin}", "bpf_link_update", link, program_fd, None)
            return True
    except KernelError as error:
        if error.errno not in (errno.ENOLINK, errno.EINVAL):
            raise
    finally:
        os.close(link)
    pin.unlink()
    return False
