"""XDP programs on devices: ours comes beside nobody else's, and goes without a trace.

The kernel runs one XDP program on a device, either in the driver before a socket buffer exists (native), or behind it
(generic), which every device can. So what is there is asked first: our own program, of this build or an older one, is
replaced in the same instant; somebody else's is left alone and named. Only where others' programs are called by a
dispatcher of libxdp, ours joins them.

Source: Linux, Documentation/networking/af_xdp.rst and include/uapi/linux/if_link.h (XDP_FLAGS_*, XDP_ATTACHED_*).
"""

from __future__ import annotations

import ctypes as ct
import errno
from collections.abc import Collection
from enum import StrEnum

from ebpf import dispatcher, libbpf
from ebpf.errors import AttachError

_WAYS_OUT = "take that program off, or set the device to `off` in `xdp_devices`: without XDP it is served by TC"
PROGRAM = "from_wire"
WHOLE = "from_wire_whole"
"""by these names a program of ours is known, of whatever build; the second is for generic mode"""
EXTENSION = "join_wire"
"""the first as an extension, in the catalogue"""
_ONLY_IF_NONE, _REPLACE = 1, 16
_MULTI = 4
"""what is told of a device that has programs in more than one mode"""


class Mode(StrEnum):
    """Where a program runs."""

    OFF = "off"
    NATIVE = "native"
    GENERIC = "generic"


def program_of(mode: Mode) -> str:
    """The program for a mode."""
    return WHOLE if mode is Mode.GENERIC else PROGRAM


_FLAG = {Mode.GENERIC: 2, Mode.NATIVE: 4}
_TOLD = {1: Mode.NATIVE, 2: Mode.GENERIC, 3: Mode.NATIVE}
"""modes by the kernel's number of what is attached; 3 runs in the hardware, where nobody else has place either"""


class _AttachOptions(ct.Structure):
    """struct bpf_xdp_attach_opts of libbpf."""

    _fields_ = (("sz", ct.c_size_t), ("old_prog_fd", ct.c_int))


class _QueryOptions(ct.Structure):
    """struct bpf_xdp_query_opts of libbpf, without what came after version 1.1."""

    _fields_ = (
        ("sz", ct.c_size_t),
        ("prog_id", ct.c_uint32),
        ("drv_prog_id", ct.c_uint32),
        ("hw_prog_id", ct.c_uint32),
        ("skb_prog_id", ct.c_uint32),
        ("attach_mode", ct.c_uint8),
    )


def attached(ifindex: int) -> tuple[Mode, int]:
    """Mode and id of the program on a device, OFF and 0 where there is none or no device; raises AttachError."""
    options = _QueryOptions(ct.sizeof(_QueryOptions))
    try:
        what = f"cannot ask for the XDP program of device {ifindex}"
        libbpf.call(what, "bpf_xdp_query", ifindex, 0, ct.byref(options), error=AttachError)
    except AttachError as error:
        if error.errno == errno.ENODEV:
            return Mode.OFF, 0
        raise
    if options.attach_mode == _MULTI:
        return Mode.NATIVE, int(options.drv_prog_id or options.hw_prog_id)
    return _TOLD.get(options.attach_mode, Mode.OFF), int(options.prog_id)


def is_ours(program_id: int) -> bool:
    """Is a program one of ours, of any build? Raises KernelError."""
    return libbpf.program_name(program_id) in (PROGRAM, WHOLE)


def beside(ifindex: int) -> list[str]:
    """Names of the others' programs in the dispatcher on a device, empty where there is none; raises KernelError."""
    return [name for name in dispatcher.members(ifindex, attached(ifindex)[1]).values() if name != PROGRAM]


def runs(ifindex: int, programs: Collection[int]) -> Mode:
    """The mode in which a device runs one of these programs (ids), by itself or in a dispatcher; raises KernelError."""
    mode, program_id = attached(ifindex)
    there = program_id in programs or not dispatcher.members(ifindex, program_id).keys().isdisjoint(programs)
    return mode if there else Mode.OFF


def attach(ifindex: int, program_fd: int, mode: Mode, extension_fd: int | None = None) -> Mode:
    """Put our program on a device, in place of an older one of ours; the mode that it has there.

    Where a dispatcher is, the extension joins it, and the mode is the dispatcher's. Raises AttachError that names a
    stranger's program.
    """
    present, program_id = attached(ifindex)
    if present is Mode.OFF:
        _set(ifindex, program_fd, _FLAG[mode] | _ONLY_IF_NONE)
        return mode
    if members := dispatcher.members(ifindex, program_id):
        _join(ifindex, members, present, extension_fd)
        return present
    if not is_ours(program_id):
        raise _contested(ifindex, program_id)
    if present is not mode:  # a device has programs of one mode; between the two, packets go to TC
        _set(ifindex, -1, _FLAG[present])
        _set(ifindex, program_fd, _FLAG[mode] | _ONLY_IF_NONE)
        return mode
    with libbpf.program(program_id) as old:
        _set(ifindex, program_fd, _FLAG[mode] | _REPLACE, old)
    return mode


def detach(ifindex: int) -> bool:
    """Take our program off a device; False where there was none of ours. Raises AttachError."""
    present, program_id = attached(ifindex)
    if present is Mode.OFF:
        return False
    if members := dispatcher.members(ifindex, program_id):
        return _leave(ifindex, members, present)
    if not is_ours(program_id):
        return False
    _set(ifindex, -1, _FLAG[present])
    return True


def _join(ifindex: int, members: dict[int, str], mode: Mode, extension_fd: int | None) -> None:
    """Come into a dispatcher; older ones of ours leave it afterwards, so that there is one at every time."""
    if extension_fd is None:
        what = f"XDP programs are in a dispatcher on device {ifindex} ({', '.join(members.values())})"
        raise AttachError(f"{what}, which this kernel lets nobody join", errno.EBUSY, hint=_WAYS_OUT)
    own = libbpf.program_id(extension_fd)
    if own not in members:
        dispatcher.join(ifindex, extension_fd, native=mode is Mode.NATIVE)
    _leave(ifindex, {one: name for one, name in members.items() if one != own}, mode)


def _leave(ifindex: int, members: dict[int, str], mode: Mode) -> bool:
    """Take those of ours among these out of a dispatcher; was there any?"""
    ours = [one for one, name in members.items() if name == PROGRAM]
    for one in ours:
        dispatcher.leave(ifindex, one, native=mode is Mode.NATIVE)
    return bool(ours)


def _set(ifindex: int, program_fd: int, flags: int, old: int = 0) -> None:
    options = _AttachOptions(ct.sizeof(_AttachOptions), old)
    what = f"cannot {'attach to' if program_fd >= 0 else 'detach from'} device {ifindex} (xdp)"
    libbpf.call(what, "bpf_xdp_attach", ifindex, program_fd, flags, ct.byref(options), error=AttachError)


def _contested(ifindex: int, program_id: int) -> AttachError:
    name = libbpf.program_name(program_id) or "without a name"
    return AttachError(f"XDP program {program_id} ({name}) is on device {ifindex}", errno.EBUSY, hint=_WAYS_OUT)
