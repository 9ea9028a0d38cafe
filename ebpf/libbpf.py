"""The calls into libbpf.so.1 that the agent needs, by ctypes.

libbpf is a dependency of BCC, so it is on every host where remora can run, and
it costs a hundred kilobytes where BCC with its compiler costs a hundred
megabytes. Each function here raises KernelError (or a kind of it) instead of
returning a negative number; `what` in the error is the caller's own wording.
"""

from __future__ import annotations

import ctypes as ct
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from ebpf.errors import KernelError, PinError, UnsupportedError


class AttachType(IntEnum):
    """enum bpf_attach_type of the kernel's UAPI, those in use."""

    CGROUP_INET_EGRESS = 1
    CGROUP_SOCK_OPS = 3
    CGROUP_INET4_CONNECT = 10
    CGROUP_INET6_CONNECT = 11
    CGROUP_INET4_POST_BIND = 12
    CGROUP_INET6_POST_BIND = 13
    CGROUP_UDP4_SENDMSG = 14
    CGROUP_UDP6_SENDMSG = 15
    CGROUP_UDP4_RECVMSG = 19
    CGROUP_UDP6_RECVMSG = 20
    CGROUP_INET4_GETPEERNAME = 29
    CGROUP_INET6_GETPEERNAME = 30
    CGROUP_INET_SOCK_RELEASE = 34
    XDP = 37


class ProgramType(IntEnum):
    """enum bpf_prog_type of the kernel's UAPI, those in use."""

    SCHED_CLS = 3
    XDP = 6
    CGROUP_SKB = 8
    CGROUP_SOCK = 9
    SOCK_OPS = 13
    RAW_TRACEPOINT = 17
    CGROUP_SOCK_ADDR = 18
    EXT = 28


class MapType(IntEnum):
    """enum bpf_map_type of the kernel's UAPI, those in use."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LPM_TRIE = 11
    SK_STORAGE = 24
    RINGBUF = 27


XDP_HAS_FRAGS = 32
"""load flag: the program takes frames of several buffers (BPF_F_XDP_HAS_FRAGS, Linux 5.18)"""
_INSTRUCTION = 8  # bytes


@cache
def library() -> ct.CDLL:
    """libbpf itself; raises UnsupportedError where it is not installed."""
    try:
        lib = ct.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise UnsupportedError(
            f"libbpf.so.1 cannot be loaded ({error})", "install python3-bpfcc, which brings libbpf1"
        ) from error
    lib.bpf_map_update_elem.argtypes = [ct.c_int, ct.c_void_p, ct.c_void_p, ct.c_uint64]
    lib.bpf_map_lookup_elem.argtypes = [ct.c_int, ct.c_void_p, ct.c_void_p]
    lib.bpf_map_delete_elem.argtypes = [ct.c_int, ct.c_void_p]
    lib.bpf_map_get_next_key.argtypes = [ct.c_int, ct.c_void_p, ct.c_void_p]
    for name in ("bpf_map_update_batch", "bpf_map_delete_batch"):
        count = [ct.c_int, ct.c_void_p, ct.c_void_p] if "update" in name else [ct.c_int, ct.c_void_p]
        getattr(lib, name).argtypes = [*count, ct.POINTER(ct.c_uint32), ct.c_void_p]
    lib.bpf_map_lookup_batch.argtypes = [
        ct.c_int, ct.c_void_p, ct.c_void_p, ct.c_void_p, ct.c_void_p, ct.POINTER(ct.c_uint32), ct.c_void_p,
    ]  # fmt: skip
    lib.bpf_obj_get_info_by_fd.argtypes = [ct.c_int, ct.c_void_p, ct.POINTER(ct.c_uint32)]
    lib.bpf_link_create.argtypes = [ct.c_int, ct.c_int, ct.c_int, ct.c_void_p]
    lib.bpf_link_update.argtypes = [ct.c_int, ct.c_int, ct.c_void_p]
    lib.libbpf_set_print.argtypes = [ct.c_void_p]
    lib.libbpf_set_print(None)
    return lib


def call(what: str, function: str, *arguments: Any, error: type[KernelError] = KernelError) -> int:
    """Call libbpf; the result is >= 0, else `error` is raised with `what` and the errno."""
    result = int(getattr(library(), function)(*arguments))
    if result < 0:
        raise error(what, -result if result != -1 else ct.get_errno() or errno.EPERM)
    return result


def obj_get(path: Path) -> int:
    """File descriptor of what is pinned at `path`; raises PinError."""
    return call(f"cannot open pin {path}", "bpf_obj_get", str(path).encode(), error=PinError)


def obj_pin(fd: int, path: Path) -> None:
    """Pin what `fd` is at `path`; raises PinError."""
    call(f"cannot pin {path}", "bpf_obj_pin", fd, str(path).encode(), error=PinError)


class LinkInfo(ct.Structure):
    """Head of struct bpf_link_info, with the cgroup's part of its union."""

    _fields_ = (
        ("type", ct.c_uint32),
        ("id", ct.c_uint32),
        ("prog_id", ct.c_uint32),
        ("pad", ct.c_uint32),
        ("cgroup_id", ct.c_uint64),
        ("attach_type", ct.c_uint32),
        ("rest", ct.c_uint8 * 96),
    )


class ProgramInfo(ct.Structure):
    """struct bpf_prog_info as far as it is read; runs are counted where kernel.bpf_stats_enabled is set."""

    _fields_ = (
        ("type", ct.c_uint32),
        ("id", ct.c_uint32),
        ("code", ct.c_uint8 * 56),
        ("name", ct.c_char * 16),
        ("maps", ct.c_uint8 * 112),
        ("run_time", ct.c_uint64),
        ("runs", ct.c_uint64),
        ("rest", ct.c_uint8 * 48),
    )


def info(fd: int, into: ct.Structure, what: str) -> None:
    """Fill `into` with what the kernel says of `fd`; raises KernelError."""
    size = ct.c_uint32(ct.sizeof(into))
    call(f"cannot read {what}", "bpf_obj_get_info_by_fd", fd, ct.byref(into), ct.byref(size))


def program_info(fd: int) -> ProgramInfo:
    """What the kernel says of a program; raises KernelError."""
    data = ProgramInfo()
    info(fd, data, "program information")
    return data


def program_id(fd: int) -> int:
    """The kernel's id of a program; raises KernelError."""
    return int(program_info(fd).id)


@contextmanager
def program(identifier: int) -> Iterator[int]:
    """Descriptor of the program with this id, while it is needed; raises KernelError, ENOENT where it is gone."""
    fd = call(f"cannot open program {identifier}", "bpf_prog_get_fd_by_id", identifier)
    try:
        yield fd
    finally:
        os.close(fd)


def program_name(identifier: int) -> str:
    """Name of the program with this id, "" where it is gone or has none; raises KernelError."""
    try:
        with program(identifier) as fd:
            return bytes(program_info(fd).name).decode(errors="replace")
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return ""
        raise


class _LoadOptions(ct.Structure):
    """struct bpf_prog_load_opts of libbpf 1.1 as far as it is written."""

    _fields_ = (
        ("sz", ct.c_size_t),
        ("attempts", ct.c_int),
        ("expected_attach_type", ct.c_int),
        ("types", ct.c_uint32),
        ("flags", ct.c_uint32),
        ("device_and_version", ct.c_uint32 * 2),
        ("extended_type", ct.c_uint32),
        ("extended_program", ct.c_uint32),
        ("extended_types", ct.c_uint32),
        ("descriptors", ct.c_void_p),
        ("functions", ct.c_void_p),
        ("functions_count", ct.c_uint32),
        ("functions_size", ct.c_uint32),
    )


class _Function(ct.Structure):
    """struct bpf_func_info."""

    _fields_ = (("at", ct.c_uint32), ("type", ct.c_uint32))


def load_program(
    kind: ProgramType,
    name: str,
    code: int,
    size: int,
    flags: int = 0,
    types: int = 0,
    functions: Sequence[tuple[int, int]] = (),
    extends: tuple[int, int] = (0, 0),
    attach_type: AttachType | None = None,
) -> int:
    """Load instructions (address and bytes) under our licence; raises KernelError, EINVAL for unknown flags.

    `types` is the descriptor of type information, in which `functions` have their types, by the instruction each begins
    with; `extends` is a program and the type of the function in it that is to be replaced.
    """
    told = (_Function * len(functions))(*(_Function(*one) for one in functions))
    options = _LoadOptions(
        sz=ct.sizeof(_LoadOptions), flags=flags, types=types, extended_program=extends[0], extended_type=extends[1],
        expected_attach_type=attach_type or 0, functions=ct.addressof(told) if functions else None,
        functions_count=len(functions), functions_size=ct.sizeof(_Function) if functions else 0,
    )  # fmt: skip
    arguments = (int(kind), name.encode(), b"GPL", ct.c_void_p(code), ct.c_size_t(size // _INSTRUCTION))
    return call(f"cannot load program {name}", "bpf_prog_load", *arguments, ct.byref(options))


def enable_statistics() -> int:
    """Let the kernel count runs and time of all programs while the returned descriptor is open; raises KernelError."""
    return call("cannot switch the statistics of programs on", "bpf_enable_stats", 0)


def supports_program(kind: ProgramType) -> bool:
    """Does the running kernel load programs of this type?"""
    return bool(library().libbpf_probe_bpf_prog_type(int(kind), None) == 1)


def supports_map(kind: MapType) -> bool:
    """Does the running kernel make maps of this type?"""
    return bool(library().libbpf_probe_bpf_map_type(int(kind), None) == 1)


def supports_helper(kind: ProgramType, helper: int) -> bool:
    """May programs of this type call the helper with this number?"""
    return bool(library().libbpf_probe_bpf_helper(int(kind), helper, None) == 1)
