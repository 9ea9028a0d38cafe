"""Names of the running kernel's own enums, from its type information (BTF).

The numbers of enum skb_drop_reason differ from release to release, so a table
of ours would tell lies on the next kernel. The kernel knows its own names.
"""

from __future__ import annotations

import ctypes as ct

from ebpf import libbpf

_KIND_ENUM = 6
_VLEN_MASK = 0xFFFF


class _Type(ct.Structure):
    """struct btf_type; for an enum, `info` holds the number of values in its low bits."""

    _fields_ = (("name", ct.c_uint32), ("info", ct.c_uint32), ("size", ct.c_uint32))


class _Value(ct.Structure):
    """struct btf_enum."""

    _fields_ = (("name", ct.c_uint32), ("value", ct.c_int32))


def enum(name: str) -> dict[int, str]:
    """Value to name of a kernel enum; empty where the kernel has no BTF or no such enum."""
    lib = libbpf.library()
    lib.btf__load_vmlinux_btf.restype = ct.c_void_p
    lib.btf__type_by_id.restype = ct.c_void_p
    lib.btf__name_by_offset.restype = ct.c_char_p
    lib.btf__name_by_offset.argtypes = [ct.c_void_p, ct.c_uint32]
    btf = lib.btf__load_vmlinux_btf()
    if not btf:
        return {}
    handle = ct.c_void_p(btf)
    try:
        number = lib.btf__find_by_name_kind(handle, name.encode(), _KIND_ENUM)
        if number < 0:
            return {}
        address = lib.btf__type_by_id(handle, number)
        count = _Type.from_address(address).info & _VLEN_MASK
        values = (_Value * count).from_address(address + ct.sizeof(_Type))
        return {value.value: lib.btf__name_by_offset(handle, value.name).decode() for value in values}
    finally:
        lib.btf__free(handle)


def drop_reasons() -> dict[int, str]:
    """Number to name of the kernel's drop reasons, as in `NETFILTER_DROP`."""
    prefix = "SKB_DROP_REASON_"
    return {number: name.removeprefix(prefix).removeprefix("SKB_") for number, name in enum("skb_drop_reason").items()}
