"""Turns the .proto files of this folder into the Python modules beside them.

The generated code is committed, so that running the agent needs no protobuf
compiler: only who changes a .proto file does. Run `make proto`, which calls
`python -m daemon.proto.generate`; a contract test regenerates everything and
compares. Nothing imports this module at run time.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


class Call(NamedTuple):
    """One call of a service; `request` and `answer` are message names, with their package where it is another.

    `listens`: the client sends a stream of requests; `streams`: the server answers with one.
    """

    name: str
    listens: bool
    request: str
    streams: bool
    answer: str


def sources() -> list[Path]:
    """The .proto files, sorted."""
    return sorted(FOLDER.glob("*.proto"))


def compile_into(target: Path) -> None:
    """Write daemon/proto/*_pb2* below `target`; raises RuntimeError with what to do when that fails."""
    try:
        from grpc_tools import protoc
    except ImportError as error:
        raise RuntimeError("grpcio-tools is not installed; run: .venv/bin/pip install grpcio-tools") from error
    wellknown = Path(protoc.__file__).parent / "_proto"
    outputs = [f"--{kind}={target}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    names = [str(path.relative_to(ROOT)) for path in sources()]
    code = protoc.main(["protoc", f"-I{ROOT}", f"-I{wellknown}", *outputs, *(f"{ROOT}/{name}" for name in names)])
    if code:
        raise RuntimeError(f"the protobuf compiler refused the files (exit code {code}); its words are above")
    for path in sources():
        _finish(path, (target / path.relative_to(ROOT)).with_name(f"{path.stem}_pb2"))


def _finish(source: Path, module: Path) -> None:
    """Stubs: quiet for mypy, and typed for services; nothing is left of files without a service."""
    stub = module.with_suffix(".pyi")
    stub.write_text(f"# mypy: ignore-errors\n{stub.read_text()}")
    services = _services(source)
    code = module.with_name(f"{module.name}_grpc.py")
    if services:
        code.with_suffix(".pyi").write_text(_service_stub(source.stem, services))
    else:
        code.unlink()


def _services(source: Path) -> dict[str, list[Call]]:
    """Services of a .proto file and their calls."""
    found = {}
    for name, body in re.findall(r"^service (\w+) \{\n(.*?)^\}", source.read_text(), re.MULTILINE | re.DOTALL):
        calls = re.findall(r"rpc (\w+)\((stream )?([\w.]+)\) returns \((stream )?([\w.]+)\)", body)
        found[name] = [
            Call(call, bool(many), request, bool(stream), answer) for call, many, request, stream, answer in calls
        ]
    return found


def _service_stub(stem: str, services: dict[str, list[Call]]) -> str:
    """The types of *_pb2_grpc.py: blocking stubs for clients, asyncio for servicers."""
    calls = [call for each in services.values() for call in each]
    modules = sorted({_module(stem, name) for call in calls for name in (call.request, call.answer)})
    lines = [
        "from collections.abc import AsyncIterator, Iterator",
        "from typing import Any",
        "",
        *(f"from daemon.proto import {module}" for module in modules),
        "",
    ]
    for service, members in services.items():
        lines += ["", f"class {service}Stub:", "    def __init__(self, channel: Any) -> None: ..."]
        lines += [_stub_call(stem, call) for call in members]
        lines += ["", f"class {service}Servicer:"]
        lines += [_servicer_call(stem, call) for call in members]
        lines += ["", f"def add_{service}Servicer_to_server(servicer: {service}Servicer, server: Any) -> None: ..."]
    return "\n".join(["# ruff: noqa", "# fmt: off", "# mypy: ignore-errors", *lines, ""])


def _stub_call(stem: str, call: Call) -> str:
    answer, request = _type(stem, call.answer), _type(stem, call.request)
    kind = f"Iterator[{answer}]" if call.streams else answer
    asked = f"requests: Iterator[{request}]" if call.listens else f"request: {request}"
    return f"    def {call.name}(self, {asked}, timeout: float | None = ...) -> {kind}: ..."


def _servicer_call(stem: str, call: Call) -> str:
    answer, word = _type(stem, call.answer), "def" if call.streams else "async def"
    kind = f"AsyncIterator[{answer}]" if call.streams else answer
    request = _type(stem, call.request)
    asked = f"requests: AsyncIterator[{request}]" if call.listens else f"request: {request}"
    return f"    {word} {call.name}(self, {asked}, context: Any) -> {kind}: ..."


def _module(stem: str, name: str) -> str:
    return f"{name.split('.')[0] if '.' in name else stem}_pb2"


def _type(stem: str, name: str) -> str:
    return f"{_module(stem, name)}.{name.rpartition('.')[2]}"


if __name__ == "__main__":
    try:
        compile_into(ROOT)
    except RuntimeError as problem:
        sys.exit(str(problem))
