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
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ebpf import libbpf
from ebpf.errors import AttachError, KernelError
from ebpf.libbpf import LinkInfo
from ebpf.programs import Hook

HANDLE = 0x7265
"""handle of our TC filters ("re")"""
PRIORITY = 49
"""priority of our TC filters: before most others', and they still run (TC_ACT_UNSPEC)"""
_ALL_PROTOCOLS = 0x0003
_CLSACT = 0xFFFF0000
_ATTACH_POINT = {Hook.TC_INGRESS: 1, Hook.TC_EGRESS: 2}
_NOT_THERE = (errno.ENOENT, errno.ENODEV, errno.EINVAL)
_PARENT = {Hook.TC_INGRESS: 0xFFFFFFF2, Hook.TC_EGRESS: 0xFFFFFFF3}


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


class TrafficControl:
    """Our filters on the devices of the namespace in which this object was made."""

    def __init__(self) -> None:
        self._netlink = IPRoute()

    def close(self) -> None:
        """Close the netlink socket; filters stay."""
        self._netlink.close()

    def attach(self, ifindex: int, hook: Hook, name: str, fd: int) -> None:
        """Add or replace our filter; raises AttachError, with ENODEV where the device is gone."""
        with _translated(f"cannot attach {name} to device {ifindex} ({hook})"):
            self._ensure_clsact(ifindex)
            self._netlink.tc(
                "replace-filter", "bpf", ifindex, HANDLE, fd=fd, name=name, parent=_PARENT[hook],
                prio=PRIORITY, protocol=_ALL_PROTOCOLS, class_id=1, direct_action=True,
            )  # fmt: skip

    def detach(self, ifindex: int) -> None:
        """Remove our filters, and the clsact qdisc where nobody else uses it; a device that is gone is fine."""
        with _translated(f"cannot detach from device {ifindex}", gone=True):
            for hook, parent in _PARENT.items():
                if self.program_at(ifindex, hook) is not None:
                    self._netlink.tc(
                        "del-filter", "bpf", ifindex, HANDLE, parent=parent, prio=PRIORITY, protocol=_ALL_PROTOCOLS
                    )
            if not any(True for parent in _PARENT.values() for _ in self._filters(ifindex, parent)):
                self._netlink.tc("del", "clsact", ifindex)

    def program_at(self, ifindex: int, hook: Hook) -> int | None:
        """Id of the program in our filter on a device, None where there is no such filter (or device).

        Asked through libbpf: pyroute2 does not know the attribute that carries the id.
        """
        place = _TcHook(ct.sizeof(_TcHook), ifindex, _ATTACH_POINT[hook], 0)
        options = _TcOptions(sz=ct.sizeof(_TcOptions), handle=HANDLE, priority=PRIORITY)
        try:
            libbpf.call("cannot ask for a filter", "bpf_tc_query", ct.byref(place), ct.byref(options))
        except KernelError as error:
            if error.errno in _NOT_THERE:
                return None
            raise AttachError(f"cannot ask for filters of device {ifindex}", error.errno) from error
        return int(options.prog_id)

    def _filters(self, ifindex: int, parent: int) -> Iterator[Any]:
        for message in self._netlink.get_filters(ifindex, parent=parent):
            if message.get_attr("TCA_OPTIONS") is not None and message["handle"]:
                yield message

    def _ensure_clsact(self, ifindex: int) -> None:
        try:
            self._netlink.tc("add", "clsact", ifindex)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise


@contextmanager
def _translated(what: str, *, gone: bool = False) -> Iterator[None]:
    """Netlink errors as AttachError; `gone`: a missing device or filter is no error."""
    try:
        yield
    except NetlinkError as error:
        if not (gone and error.code in _NOT_THERE):
            raise AttachError(what, error.code) from error


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
