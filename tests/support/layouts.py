"""Struct layouts for tests that run without a kernel.

The agent builds its dtypes from what BCC reports. A unit test has no compiler,
so this reads the same headers with a small parser that knows just the C that
they use. A contract test compares its result with BCC's.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np

HEADERS = sorted((Path(__file__).parents[2] / "bpf_programs" / "include").glob("*structs.h"))
_SCALARS = {"u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "u64": np.uint64}
_STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s*(?:struct )?(\w+) (\w+)(?:\[(\w+)\])?;", re.MULTILINE)
_DEFINE = re.compile(r"^#define (\w+) (\d+)$", re.MULTILINE)


@cache
def dtypes() -> dict[str, np.dtype]:
    """Every struct of the headers as an aligned dtype, by the struct's name."""
    text = re.sub(r"/\*.*?\*/", "", "".join(one.read_text() for one in HEADERS), flags=re.DOTALL)
    sizes = {name: int(value) for name, value in _DEFINE.findall(text)}
    found: dict[str, np.dtype] = {}
    for name, body in _STRUCT.findall(text):
        fields: list[tuple[str, object] | tuple[str, object, tuple[int, ...]]] = []
        for kind, field, length in _FIELD.findall(body):
            base = found[kind] if kind in found else np.dtype(_SCALARS[kind])
            if length:
                fields.append((field, base, (sizes[length] if length in sizes else int(length),)))
            else:
                fields.append((field, base))
        found[name] = np.dtype(fields, align=True)
    return found


def dtype(struct: str) -> np.dtype:
    """The dtype of one struct; raises KeyError for a name that structs.h does not have."""
    return dtypes()[struct]


def flow_dtype() -> np.dtype:
    """struct flow_event: one flow record."""
    return dtype("flow_event")
