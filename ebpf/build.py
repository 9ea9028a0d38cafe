"""From sources to pinned programs and maps, compiling only when something changed.

A manifest in the state folder remembers what the pins were built from. Equal
hash and pins in place: nothing is compiled, and the agent is up in the time it
takes to open some files. Otherwise the compiler runs in a child process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bpf_programs import ROOT
from ebpf import bpffs, layout, libbpf, source
from ebpf.compiler import VERIFIER_REFUSED
from ebpf.errors import CompileError, PinError, VerifierError
from ebpf.features import EXTENSIONS_SWITCH
from ebpf.libbpf import ProgramType
from ebpf.maps import MapSpec
from ebpf.programs import PROGRAMS
from ebpf.source import Options, Unit

_LOG_LINES = 25
_ONE_PASS = ("-Xclang", "-disable-llvm-passes")  # BCC optimizes by itself; twice takes twice the time
_OF_A_BUILD = (libbpf.MapType.RINGBUF, libbpf.MapType.PROG_ARRAY)  # kinds that hold no state
_NO_TYPES = "-fno-strict-aliasing"  # what LLVM learns from types takes a tenth of its time and saves no instruction
_MADE = ("maps", "missing")  # what the compiler tells
_COMPILE_TIMEOUT = 120  # seconds; a build takes about one


@dataclass(frozen=True, slots=True)
class Build:
    """A finished build: where its pins are and what the maps look like."""

    id: str
    schema: str
    root: Path
    maps: dict[str, MapSpec]
    missing: dict[str, str]
    """optional programs that the kernel refused, with its words"""
    compiled: bool
    """False: the pins were found as they should be"""

    @property
    def pins(self) -> Path:
        """Folder of programs and ring buffers."""
        return self.root / f"build-{self.id}"

    @property
    def map_pins(self) -> Path:
        """Folder of maps with state."""
        return self.root / f"maps-{self.schema}"

    def path(self, name: str) -> Path:
        """Pin of a map."""
        return (self.pins if self.maps[name].kind in _OF_A_BUILD else self.map_pins) / name


def prepare(root: Path, state: Path, options: Options, defines: tuple[str, ...] = (), programs: Path = ROOT) -> Build:
    """Reuse or make the build of the sources in `programs`.

    Raises CompileError, VerifierError, PinError or UnsupportedError.
    """
    bpffs.ensure_mounted(root)
    state.mkdir(parents=True, exist_ok=True)
    build, schema = source.build_id(options, defines, programs), source.schema_id(options, programs)
    found = _reuse(root, state, build, schema)
    if found:
        return found
    pins, maps = root / f"build-{build}", root / f"maps-{schema}"
    bpffs.remove_tree(pins)
    for folder in (root, pins, maps):
        folder.mkdir(mode=0o700, exist_ok=True)
    flags = [*_cflags(options, maps, pins), *(f"-D{name}" for name in defines)]
    reply = _compile([_request(unit, programs, flags, pins) for unit in options.units()], pins)
    manifest = {"build": build, "schema": schema, **reply}
    temporary = state / "build.json.new"
    temporary.write_text(json.dumps(manifest))
    temporary.replace(state / "build.json")
    return _build(root, manifest, compiled=True)


def remove_others(build: Build) -> list[str]:
    """Unpin what earlier builds left; the names of the folders that went. Call when nothing runs them any more."""
    kept = {build.pins.name, build.map_pins.name, "links"}
    old = [folder for folder in build.root.iterdir() if folder.is_dir() and folder.name not in kept]
    for folder in old:
        bpffs.remove_tree(folder)
    return sorted(folder.name for folder in old)


def _reuse(root: Path, state: Path, build: str, schema: str) -> Build | None:
    try:
        manifest = json.loads((state / "build.json").read_text())
        if manifest["build"] != build or manifest["schema"] != schema:
            return None
        found = _build(root, manifest, compiled=False)
    except (OSError, ValueError, KeyError, PinError):
        return None
    return found if all(found.path(name).exists() for name, spec in found.maps.items() if _pinned(spec)) else None


def _pinned(spec: MapSpec) -> bool:
    return not spec.name.endswith("_scratch")


def _build(root: Path, manifest: dict[str, Any], *, compiled: bool) -> Build:
    maps = {name: _spec(name, told) for name, told in manifest["maps"].items()}
    return Build(manifest["build"], manifest["schema"], root, maps, manifest["missing"], compiled)


def _spec(name: str, told: dict[str, Any]) -> MapSpec:
    kind = libbpf.MapType(told["kind"])
    if kind in (libbpf.MapType.RINGBUF, libbpf.MapType.SK_STORAGE):
        nothing = np.dtype(np.uint32)
        return MapSpec(name, kind, nothing, nothing, told["max_entries"])
    key = layout.dtype(told["key"], told["key_size"])
    return MapSpec(name, kind, key, layout.dtype(told["value"], told["value_size"]), told["max_entries"])


def _request(unit: Unit, programs: Path, flags: list[str], pins: Path) -> dict[str, Any]:
    text = source.joined(programs, unit.sources)
    cflags = [*flags, *(f"-D{name}" for name in unit.defines), "-g" if unit.typed else "-g0"]
    return {"text": text, "cflags": cflags, "programs": _programs(text, unit, flags), "pins": str(pins)}


def _programs(text: str, unit: Unit, flags: list[str]) -> list[str]:
    """The programs of a text, and what is loaded of them once more; as extensions, where the kernel has such."""
    found = source.functions(text, unit.defines)
    extensions = f"-D{EXTENSIONS_SWITCH}" in flags
    again = [one for one in PROGRAMS if one.code in found and (extensions or one.type is not ProgramType.EXT)]
    return [*found, *(one.name for one in again)]


def _compile(requests: list[dict[str, Any]], pins: Path) -> dict[str, Any]:
    """What the compiler made of all requests, together; raises CompileError or VerifierError."""
    try:
        replies = _asked(requests)
    except BaseException:
        bpffs.remove_tree(pins)
        raise
    return {what: {name: told for reply in replies for name, told in reply[what].items()} for what in _MADE}


def _asked(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    environment = {**os.environ, "BCC_KERNEL_SOURCE": str(ROOT / "include" / "shim"), "PYTHONPATH": _search_path()}
    with subprocess.Popen(
        [sys.executable, "-m", "ebpf.compiler"], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        try:
            answer, log = child.communicate(json.dumps(requests), timeout=_COMPILE_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            child.kill()
            raise CompileError(f"the compiler did not finish in {_COMPILE_TIMEOUT} s") from error
    if child.returncode:
        raise _failure(child.returncode, log)
    return list(json.loads(answer))


def _search_path() -> str:
    """Where the child finds our packages, before what it would find by itself."""
    return os.pathsep.join(filter(None, (str(ROOT.parent), os.environ.get("PYTHONPATH", ""))))


def _cflags(options: Options, maps: Path, pins: Path) -> list[str]:
    triplet = f"{os.uname().machine}-linux-gnu"
    return [
        *options.defines(),
        f'-DPIN_DIR="{maps}"',
        f'-DRING_DIR="{pins}"',
        *_ONE_PASS,
        _NO_TYPES,
        f"-DPAGE_SIZE={os.sysconf('SC_PAGESIZE')}",
        "-Werror=implicit-function-declaration",
        "-I/usr/include",
        f"-I/usr/include/{triplet}",
    ]


def _failure(code: int, log: str) -> CompileError:
    lines = log.rstrip().splitlines()
    if "No module named 'bcc'" in log:
        return CompileError("the BPF compiler is not installed", hint="install it: apt-get install python3-bpfcc")
    if "linux/types.h" in log and "not found" in log:
        return CompileError("the kernel's UAPI headers are missing", hint="apt-get install linux-libc-dev")
    if code == VERIFIER_REFUSED:
        return VerifierError("the kernel refused a program; the last lines of its log:", "\n".join(lines[-_LOG_LINES:]))
    return CompileError("the BPF programs do not compile; the compiler says:", "\n".join(lines[:_LOG_LINES]))
