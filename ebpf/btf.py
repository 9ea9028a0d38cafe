"""Names of the running kernel's own enums and offsets in its structs, from its type information (BTF).

The numbers of enum skb_drop_reason differ from release to release, and so does
the place of a struct's members, so tables of ours would tell lies on the next
kernel. The kernel knows its own names.
"""

from __future__ import annotations

import ctypes as ct
from collections.abc import Iterator
from contextlib import contextmanager

from ebpf import libbpf

_KIND_STRUCT = 4
_KIND_ENUM = 6
_COMPOUND = (4, 5)  # struct, union
_QUALIFIERS = (8, 9, 10, 11)  # typedef, volatile, const, restrict
_KIND_SHIFT = 24
_KIND_MASK = 0x1F
_VLEN_MASK = 0xFFFF
_KIND_FLAG = 1 << 31
_OFFSET_MASK = 0xFFFFFF  # bits, where the struct has bit-fields; the rest is the field's size
_DEPTH = 8


class _Type(ct.Structure):
    """struct btf_type; `info` holds the kind and the number of values or members that follow."""

    _fields_ = (("name", ct.c_uint32), ("info", ct.c_uint32), ("size", ct.c_uint32))


class _Value(ct.Structure):
    """struct btf_enum."""

    _fields_ = (("name", ct.c_uint32), ("value", ct.c_int32))


class _Member(ct.Structure):
    """struct btf_member."""

    _fields_ = (("name", ct.c_uint32), ("type", ct.c_uint32), ("offset", ct.c_uint32))


def enum(name: str) -> dict[int, str]:
    """Value to name of a kernel enum; empty where the kernel has no BTF or no such enum."""
    with _kernel() as types:
        found = types.find(name, _KIND_ENUM) if types else None
        if types is None or found is None:
            return {}
        return {value.value: types.name(value.name) for value in types.items(found, _Value)}


def offsets(members: dict[str, tuple[str, str]]) -> dict[str, int]:
    """Key to offset in bytes for each (struct, member); empty where the kernel does not tell all of them.

    A member of a nested struct without a name is found as C finds it; `a.b` leads into a named one.
    """
    with _kernel() as types:
        if types is None:
            return {}
        found = {key: types.offset(*member) for key, member in members.items()}
    return {key: at for key, at in found.items() if at is not None} if None not in found.values() else {}


def drop_reasons() -> dict[int, str]:
    """Number to name of the kernel's drop reasons, as in `NETFILTER_DROP`."""
    prefix = "SKB_DROP_REASON_"
    return {number: name.removeprefix(prefix).removeprefix("SKB_") for number, name in enum("skb_drop_reason").items()}


class _Types:
    """The kernel's BTF while it is loaded."""

    def __init__(self, lib: ct.CDLL, handle: ct.c_void_p) -> None:
        self._lib = lib
        self._handle = handle

    def find(self, name: str, kind: int) -> int | None:
        """Address of a named type."""
        number = self._lib.btf__find_by_name_kind(self._handle, name.encode(), kind)
        return None if number < 0 else self._at(number)

    def name(self, offset: int) -> str:
        found: bytes = self._lib.btf__name_by_offset(self._handle, offset)
        return found.decode()

    def items(self, address: int, item: type[ct.Structure]) -> list[ct.Structure]:
        """The values or members behind a type."""
        count = _Type.from_address(address).info & _VLEN_MASK
        return list((item * count).from_address(address + ct.sizeof(_Type)))

    def offset(self, struct: str, path: str) -> int | None:
        """Bytes from the start of a struct to a member."""
        address, total = self.find(struct, _KIND_STRUCT), 0
        for part in path.split("."):
            member = self._member(address, part) if address else None
            if member is None:
                return None
            total, address = total + member[0], self._compound(member[1])
        return total

    def _member(self, address: int, name: str, depth: int = 0) -> tuple[int, int] | None:
        """Offset and type number of a member, also within anonymous structs and unions."""
        flagged = _Type.from_address(address).info & _KIND_FLAG
        for one in self.items(address, _Member):
            at = (one.offset & _OFFSET_MASK if flagged else one.offset) // 8
            if self.name(one.name) == name:
                return at, one.type
            inner = self._compound(one.type) if not one.name and depth < _DEPTH else None
            found = self._member(inner, name, depth + 1) if inner else None
            if found:
                return at + found[0], found[1]
        return None

    def _compound(self, number: int) -> int | None:
        """Address of the struct or union that a type number means; None for other types."""
        for _ in range(_DEPTH):
            address = self._at(number)
            data = _Type.from_address(address)
            kind = data.info >> _KIND_SHIFT & _KIND_MASK
            if kind in _COMPOUND:
                return address
            if kind not in _QUALIFIERS:
                return None
            number = data.size  # of these kinds: the type that is meant
        return None

    def _at(self, number: int) -> int:
        return int(self._lib.btf__type_by_id(self._handle, number))


@contextmanager
def _kernel() -> Iterator[_Types | None]:
    lib = libbpf.library()
    lib.btf__load_vmlinux_btf.restype = ct.c_void_p
    lib.btf__type_by_id.restype = ct.c_void_p
    lib.btf__name_by_offset.restype = ct.c_char_p
    lib.btf__name_by_offset.argtypes = [ct.c_void_p, ct.c_uint32]
    btf = lib.btf__load_vmlinux_btf()
    if not btf:
        yield None
        return
    handle = ct.c_void_p(btf)
    try:
        yield _Types(lib, handle)
    finally:
        lib.btf__free(handle)
