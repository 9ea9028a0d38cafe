"""The compiler, in a process of its own: the one module that imports bcc.

BCC brings LLVM, more than a hundred megabytes. So it runs here, once, loads the
programs, pins programs and ring buffers, writes down what it made, and is gone.
Maps with state are pinned by their declarations in maps.h, so that a new build
finds and keeps them.

Reads a JSON request on standard input (see Request), writes a JSON reply on
standard output; the compiler's and the verifier's words go to standard error.
"""

from __future__ import annotations

import ctypes as ct
import errno
import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ebpf import capabilities, extension, libbpf, symbols
from ebpf.errors import KernelError
from ebpf.libbpf import ProgramType
from ebpf.programs import PROGRAMS, Program

VERIFIER_REFUSED = 3
"""exit code: a program that is needed was refused by the kernel"""


@dataclass(frozen=True, slots=True)
class Request:
    """What to build: the joined text, compiler flags, programs to load, and the folder for the pins of this build."""

    text: str
    cflags: list[str]
    programs: list[str]
    pins: str


def main() -> int:
    """Compile, load, pin and report; the exit code is 0, 1 (compiler) or VERIFIER_REFUSED."""
    capabilities.keep_only(capabilities.COMPILER)
    symbols.shorten()
    from bcc import BPF  # here, not above: the contract is read by who has no BCC, and the request takes its time

    request = Request(**json.load(sys.stdin))
    try:
        module = BPF(text=request.text, cflags=request.cflags)
    except Exception as error:
        print(error, file=sys.stderr)
        return 1
    missing: dict[str, str] = {}
    for program in PROGRAMS:
        if program.name not in request.programs:
            continue
        try:
            _load(module, program, Path(request.pins))
        except Exception as error:
            if not program.optional:
                _explain(request, program)
                print(f"program {program.name}: {error}", file=sys.stderr)
                return VERIFIER_REFUSED
            missing[program.name] = str(error)
    json.dump({"maps": _maps(module), "missing": missing}, sys.stdout)
    return 0


def _explain(request: Request, program: Program) -> None:
    """Have a program refused once more, with the lines of the source beside the verifier's words."""
    from bcc import BPF

    with suppress(Exception):
        _load(BPF(text=request.text, cflags=[*request.cflags, "-g"]), program, Path(request.pins))


def _load(module: Any, program: Program, pins: Path) -> None:
    if program.type in (ProgramType.XDP, ProgramType.EXT):
        fd = _load_for_fragments(module, program)
    else:
        attach = {} if program.attach_type is None else {"attach_type": int(program.attach_type)}
        fd = module.load_func(program.name, int(program.type), **attach).fd
    libbpf.obj_pin(fd, pins / program.name)
    if program.behind:
        module[program.behind.encode()][ct.c_int(0)] = ct.c_int(fd)


def _load_for_fragments(module: Any, program: Program) -> int:
    """Load an XDP program that takes frames of several buffers too, which BCC has no word for; old kernels: without."""
    name = program.code or program.name
    load = extension.load if program.code else partial(libbpf.load_program, program.type)
    try:
        return load(name, *_code(module, name), flags=libbpf.XDP_HAS_FRAGS)
    except KernelError as error:
        if error.errno != errno.EINVAL:
            raise
        return load(name, *_code(module, name))


def _code(module: Any, function: str) -> tuple[int, int]:
    """Address and size of a function's instructions."""
    from bcc.libbcc import lib

    name = function.encode()
    return lib.bpf_function_start(module.module, name), lib.bpf_function_size(module.module, name)


def _maps(module: Any) -> dict[str, Any]:
    """Every map's kind, sizes and layouts by name."""
    from bcc.libbcc import lib

    lib.bpf_table_name.restype, lib.bpf_table_name.argtypes = ct.c_char_p, [ct.c_void_p, ct.c_ulonglong]
    lib.bpf_num_tables.restype, lib.bpf_num_tables.argtypes = ct.c_ulonglong, [ct.c_void_p]
    lib.bpf_table_key_size.restype, lib.bpf_table_key_size.argtypes = ct.c_ulonglong, [ct.c_void_p, ct.c_char_p]
    lib.bpf_table_leaf_size.restype, lib.bpf_table_leaf_size.argtypes = ct.c_ulonglong, [ct.c_void_p, ct.c_char_p]
    found = {}
    for index in range(lib.bpf_num_tables(module.module)):
        name = lib.bpf_table_name(module.module, index)
        kind = lib.bpf_table_type_id(module.module, index)
        found[name.decode()] = {
            "kind": kind,
            "max_entries": lib.bpf_table_max_entries_id(module.module, index),
            "key": json.loads(lib.bpf_table_key_desc(module.module, name)),
            "key_size": lib.bpf_table_key_size(module.module, name),
            "value": json.loads(lib.bpf_table_leaf_desc(module.module, name)),
            "value_size": lib.bpf_table_leaf_size(module.module, name),
        }
    return found


if __name__ == "__main__":
    sys.exit(main())
