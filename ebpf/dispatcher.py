"""Beside other XDP programs on a device, through the dispatcher of libxdp.

A device runs one XDP program. libxdp makes that one a dispatcher, which calls up to ten others in turn. Who joins or
leaves has a new one made, with the rest in place, which takes the place of the old one in one step. How, is libxdp's
own business: it is asked to, where the host has it, and nothing else here needs it. What is in a dispatcher can be read
without, from its pins.

Source: xdp-tools, lib/libxdp/protocol.org (pins, order, what follows what) and headers/xdp/libxdp.h.
"""

from __future__ import annotations

import ctypes as ct
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from ebpf import bpffs, libbpf
from ebpf.errors import AttachError, PinError, describe

_PINS = bpffs.BPFFS / "xdp"
_NATIVE, _GENERIC = 1, 2
_REASONS = (
    "on Linux 6.13 and later, as on the 6.12 of Debian 13, it takes libxdp 1.5.5, "
    "and where frames take several buffers it cannot be; or set the device to `off` in `xdp_devices`"
)


def members(ifindex: int, dispatcher: int) -> dict[int, str]:
    """Id to name of the programs in the dispatcher with this id; empty for what is none. Raises KernelError."""
    found = {}
    for pin in sorted((_PINS / f"dispatch-{ifindex}-{dispatcher}").glob("prog?-prog")):
        try:
            fd = libbpf.obj_get(pin)
        except PinError as error:
            if error.errno == errno.ENOENT:
                continue  # unpinned meanwhile
            raise
        try:
            told = libbpf.program_info(fd)
        finally:
            os.close(fd)
        found[int(told.id)] = bytes(told.name).decode(errors="replace")
    return found


def join(ifindex: int, program_fd: int, *, native: bool) -> None:
    """Have an extension called by the dispatcher of a device, made anew with it; raises AttachError."""
    what = f"cannot join the XDP dispatcher of device {ifindex}"
    with _program(what, "xdp_program__from_fd", program_fd) as program:
        _done(what, _library(what).xdp_program__attach(program, ifindex, _NATIVE if native else _GENERIC, 0), _REASONS)


def leave(ifindex: int, identifier: int, *, native: bool) -> None:
    """Take the program with this id out of the dispatcher of a device; the others stay. Raises AttachError."""
    what = f"cannot leave the XDP dispatcher of device {ifindex}"
    with _program(what, "xdp_program__from_id", identifier) as program:
        _done(what, _library(what).xdp_program__detach(program, ifindex, _NATIVE if native else _GENERIC, 0))


def _done(what: str, code: int, hint: str = "") -> None:
    if code < 0:
        raise AttachError(f"{what}, {describe(-code)}", errno.EBUSY, hint)


@contextmanager
def _program(what: str, function: str, argument: int) -> Iterator[ct.c_void_p]:
    """libxdp's own idea of a program, while it is needed."""
    library = _library(what)
    program = ct.c_void_p(getattr(library, function)(argument))
    _done(what, library.libxdp_get_error(program))
    try:
        yield program
    finally:
        library.xdp_program__close(program)


def _library(what: str) -> ct.CDLL:
    try:
        return _loaded()
    except OSError as error:
        raise AttachError(f"{what}: {error}", errno.EBUSY, hint="install libxdp1 (apt-get install libxdp1)") from error


@cache
def _loaded() -> ct.CDLL:
    library = ct.CDLL("libxdp.so.1", use_errno=True)
    library.xdp_program__from_fd.restype = ct.c_void_p
    library.xdp_program__from_id.restype = ct.c_void_p
    library.xdp_program__close.restype = None
    library.libxdp_get_error.restype = ct.c_long
    library.libxdp_set_print.restype = ct.c_void_p
    library.libxdp_set_print(None)
    return library
