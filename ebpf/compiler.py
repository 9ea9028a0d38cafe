"""The compiler, in a process of its own: the one module that imports bcc.

BCC brings LLVM, more than a hundred megabytes. So it runs here, once, loads the
programs, pins programs and ring buffers, writes down what it made, and is gone.
Maps with state are pinned by their declarations in maps.h, so that a new build
finds and keeps them.

Reads a JSON list of requests on standard input (see Request), writes a JSON list
of what it made on standard output; the compiler's and the verifier's words go to
standard error. The first request is done before the others, which copies of this
process do side by side: each has Python and LLVM at hand without starting them.
"""

from __future__ import annotations

import ctypes as ct
import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from ebpf import capabilities, extension, libbpf, symbols
from ebpf.errors import KernelError
from ebpf.libbpf import ProgramType
from ebpf.programs import PROGRAMS, Program

VERIFIER_REFUSED = 3
"""exit code: a program that is needed was refused by the kernel"""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Request:
    """What to build: the joined text, compiler flags, programs to load, and the folder for the pins of this build."""

    text: str
    cflags: list[str]
    programs: list[str]
    pins: str


class _FailedError(Exception):
    """A request could not be done; why is written to standard error."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def main() -> int:
    """Compile, load, pin and report; the exit code is 0, 1 (compiler) or VERIFIER_REFUSED."""
    capabilities.keep_only(capabilities.COMPILER)
    symbols.shorten()
    import bcc  # noqa: F401  # here: the contract is read by who has no BCC, and the requests take their time

    first, *others = [Request(**one) for one in json.load(sys.stdin)]
    try:
        replies = [_make(first), *_side_by_side(others)]
    except _FailedError as failed:
        return failed.code
    json.dump(replies, sys.stdout)
    return 0


def _side_by_side(requests: list[Request]) -> Iterator[dict[str, Any]]:
    """What copies of this process make, one for each request. Where one fails the others end with this process."""
    for pid, reply, log in [_copy(request) for request in requests]:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        log.seek(0)
        reply.seek(0)
        print(log.read(), end="", file=sys.stderr)
        if code:
            raise _FailedError(code)
        yield json.load(reply)


def _copy(request: Request) -> tuple[int, IO[str], IO[str]]:
    """A copy that works on a request: its process, and the files that it writes its reply and its complaints to."""
    reply, log = (os.fdopen(os.memfd_create(name), "w+") for name in ("reply", "log"))
    pid = os.fork()
    if pid:
        return pid, reply, log
    code = 1
    try:
        ct.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(log.fileno(), sys.stderr.fileno())
        json.dump(_make(request), reply)
        reply.flush()
        code = 0
    except _FailedError as failed:
        code = failed.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _make(request: Request) -> dict[str, Any]:
    """Do a request; the maps that it knows, and which programs that can be missing are. Raises _FailedError."""
    from bcc import BPF

    try:
        module = BPF(text=request.text, cflags=request.cflags)
    except Exception as error:
        print(error, file=sys.stderr)
        raise _FailedError(1) from error
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
                raise _FailedError(VERIFIER_REFUSED) from error
            missing[program.name] = str(error)
    return {"maps": _maps(module), "missing": missing}


def _explain(request: Request, program: Program) -> None:
    """Have a program refused once more, with the lines of the source beside the verifier's words."""
    from bcc import BPF

    with suppress(Exception):
        _load(BPF(text=request.text, cflags=[*request.cflags, "-g"]), program, Path(request.pins))


def _load(module: Any, program: Program, pins: Path) -> None:
    if program.type in (ProgramType.XDP, ProgramType.EXT):
        fd = _load_xdp(module, program)
    else:
        attach = {} if program.attach_type is None else {"attach_type": int(program.attach_type)}
        fd = module.load_func(program.name, int(program.type), **attach).fd
    libbpf.obj_pin(fd, pins / program.name)
    if program.behind:
        module[program.behind.encode()][ct.c_int(0)] = ct.c_int(fd)


def _load_xdp(module: Any, program: Program) -> int:
    """Load an XDP program; BCC has no word for one that takes frames of several buffers too, nor has an old kernel."""
    code = _code(module, program.code or program.name)
    load = partial(libbpf.load_program, program.type, program.name)
    if program.type is ProgramType.EXT:
        load = partial(extension.load, program.code)  # known by the name of what it is elsewhere
    if program.whole:
        return load(*code)
    try:
        return load(*code, flags=libbpf.XDP_HAS_FRAGS)
    except KernelError as error:
        if error.errno != errno.EINVAL:
            raise
        return load(*code)


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
