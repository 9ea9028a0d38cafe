"""From BCC's description of a C type to a numpy dtype.

BCC knows the layout of every key and value and reports it as JSON. The agent's
dtypes are made from that and from nothing else, so no struct is written twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ebpf.errors import PinError

Description = str | list[Any]
"""BCC's JSON: a C type's name, or [name, fields, kind]."""

_SCALARS: dict[str, type[np.generic]] = {
    "char": np.int8,
    "signed char": np.int8,
    "unsigned char": np.uint8,
    "_Bool": np.uint8,
    "short": np.int16,
    "unsigned short": np.uint16,
    "int": np.int32,
    "unsigned int": np.uint32,
    "long": np.int64,
    "unsigned long": np.uint64,
    "long long": np.int64,
    "unsigned long long": np.uint64,
}


def dtype(description: Description, size: int) -> np.dtype[Any]:
    """The dtype of a described type; raises PinError where its size is not `size` bytes."""
    made = _decode(description)
    if made.itemsize != size:
        name = description if isinstance(description, str) else description[0]
        raise PinError(f"{name} has {made.itemsize} bytes here and {size} in the kernel")
    return made


def _decode(description: Description) -> np.dtype[Any]:
    if isinstance(description, str):
        return np.dtype(_SCALARS[description])
    _, fields, kind = description
    return np.dtype([_field(field) for field in fields], align=kind == "struct")


def _field(field: list[Any]) -> Any:
    name, inner = field[0], field[1]
    if len(field) == 3 and isinstance(field[2], list) and field[2] and isinstance(field[2][0], int):
        return (name, _decode(inner), tuple(field[2]))
    if len(field) == 3 and isinstance(field[2], str):
        return (name, _decode(field))
    return (name, _decode(inner))
