"""A program that takes the place of a function in another program: what a dispatcher of XDP programs is made of.

The kernel wants two things of such an extension that BCC does not give. It compares it with the function by the types
of both (BTF); that is no more than `int f(struct xdp_md *)`, so it is written here by hand. It wants to see a program
to extend when the extension is loaded. The smallest there can be does, as an extension may later be attached to any
other program with such a function (Linux 5.10). That function may move packets: from Linux 6.13 on, and on kernels that
took this over, what does so takes the place of its like only. An extension goes on to a program that takes frames of
several buffers if it does itself.

Source: Linux, Documentation/bpf/btf.rst and include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes as ct
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from ebpf import libbpf
from ebpf.libbpf import AttachType, ProgramType

_INT, _STRUCT, _POINTER, _FUNCTION, _PROTOTYPE = 1, 4, 2, 12, 13  # kinds of types
_CONTEXT = ("data", "data_end", "data_meta", "ingress_ifindex", "rx_queue_index", "egress_ifindex")
"""members of struct xdp_md; the kernel compares their number (Linux 5.8)"""
_STRINGS = b"\0int\0u32\0xdp_md\0ctx\0main\0place\0" + "\0".join((*_CONTEXT, "")).encode()
_MAIN, _PLACE = 6, 7  # numbers of the types of the two functions
_GLOBAL = 1
_PROGRAM = bytes.fromhex(
    "8510000001000000"  # call place
    "9500000000000000"  # exit
    "b702000000000000"  # place: r2 = 0
    "8500000041000000"  # call bpf_xdp_adjust_tail
    "b700000002000000"  # r0 = XDP_PASS
    "9500000000000000"  # exit
)
_PLACE_AT = 2  # instructions


def load(name: str, code: int, size: int, flags: int = 0) -> int:
    """Load instructions (address and bytes) of an XDP program as an extension; raises KernelError."""
    with _types() as types, _place(types) as place:
        functions = ((0, _PLACE),)
        return libbpf.load_program(ProgramType.EXT, name, code, size, flags, types, functions, extends=(place, _PLACE))


@contextmanager
def _place(types: int) -> Iterator[int]:
    """The program with a place for an extension."""
    code = ct.create_string_buffer(_PROGRAM, len(_PROGRAM))
    fd = libbpf.load_program(
        ProgramType.XDP, "place", ct.addressof(code), len(_PROGRAM),
        types=types, functions=((0, _MAIN), (_PLACE_AT, _PLACE)), attach_type=AttachType.XDP,
    )  # fmt: skip
    with _closing(fd):
        yield fd


@contextmanager
def _types() -> Iterator[int]:
    """Both functions' types, in the kernel."""
    members = [one for place, name in enumerate(_CONTEXT) for one in (_at(name), 2, 32 * place)]
    records = (
        (_at("int"), _INT << 24, 4, 1 << 24 | 32),
        (_at("u32"), _INT << 24, 4, 32),
        (_at("xdp_md"), _STRUCT << 24 | len(_CONTEXT), 4 * len(_CONTEXT), *members),
        (0, _POINTER << 24, 3),
        (0, _PROTOTYPE << 24 | 1, 1, _at("ctx"), 4),
        (_at("main"), _FUNCTION << 24 | _GLOBAL, 5),
        (_at("place"), _FUNCTION << 24 | _GLOBAL, 5),
    )
    body = b"".join(struct.pack(f"={len(record)}I", *record) for record in records)
    data = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(_STRINGS)) + body + _STRINGS
    with _closing(libbpf.call("cannot load types", "bpf_btf_load", data, ct.c_size_t(len(data)), None)) as fd:
        yield fd


def _at(name: str) -> int:
    return _STRINGS.index(f"\0{name}\0".encode()) + 1


@contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
