"""The tests' API server as a process of its own, told what to do by lines of JSON on a unix socket.

`{"put": [objects]}`, `{"status": OBJECT}` (of one that is there), `{"slice": OBJECT}` (of a Service that is there),
`{"delete": [kind, namespace, name]}`, `{"down": true}`, `{"down": false}`, `{"compact": true}`,
`{"clear": true}`; and faults: `{"cut": RESET}`, `{"inject": LINE}`, `{"fail": [codes]}`, `{"dribble": BOOL}`,
`{"mute": BOOL}`, `{"forbid": [kinds]}`, `{"tokens": [accepted]}`, `{"subjects": [of certificates]}`. Each line is
answered by one: the store's version. The first line printed is the server's port.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import yaml

from tests.support.apiserver import ApiServer
from tests.support.apiserver_store import Store
from tests.support.certificates import Authority, serving

ROOT = str(Path(__file__).parents[2])
INTERPRETER = [sys.executable, "-m", "tests.support.apiserver_process"]


@dataclass
class Remote:
    """The test's end."""

    channel: socket.SocketIO
    port: int
    authority: Authority | None = None
    turn: Lock = field(default_factory=Lock)

    @classmethod
    def start(
        cls, spawn: Callable[..., subprocess.Popen[bytes]], folder: Path, authority: Authority | None = None
    ) -> Remote:
        """Run a server with `spawn`, which decides where, and ends it; with TLS where there is an authority."""
        path = folder / "apiserver.sock"
        pair = authority.issue("server", "127.0.0.1") if authority else None
        tls = (authority.certificate, pair.certificate, pair.key) if authority and pair else ()
        argv = [*INTERPRETER, str(path), *map(str, tls)]
        process = spawn(argv, environment={"PYTHONPATH": ROOT}, stdout=subprocess.PIPE)
        assert process.stdout
        port = int(process.stdout.readline())
        control = socket.socket(socket.AF_UNIX)
        control.connect(str(path))
        return cls(control.makefile("rwb", buffering=0), port, authority)

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://127.0.0.1:{self.port}"

    def kubeconfig(self, folder: Path, **user: Any) -> Path:
        """A file that leads to the server, with these credentials."""
        path = folder / "kubeconfig"
        cluster = {"server": self.url}
        if self.authority:
            cluster["certificate-authority"] = str(self.authority.certificate)
        told = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "agent"}}],
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "agent", "user": user or {"token": "not-a-real-one"}}],
        }
        path.write_text(yaml.safe_dump(told))
        return path

    def tell(self, **command: Any) -> int:
        """Carry out one command; the store's version."""
        with self.turn:
            self.channel.write(json.dumps(command).encode() + b"\n")
            return int(self.channel.readline())


async def serve(path: str, *tls: str) -> None:
    """Serve for ever."""
    server = ApiServer(bookmark=1.0, tls=serving(*map(Path, tls)) if tls else None)
    await server.start()

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            await obey(server, json.loads(line))
            writer.write(f"{server.store.version}\n".encode())

    await asyncio.start_unix_server(control, path, limit=1 << 28)
    print(server.port, flush=True)
    await asyncio.Event().wait()


async def obey(server: ApiServer, command: dict[str, Any]) -> None:
    match command:
        case {"put": objects}:
            await server.put(*objects)
        case {"status": dict(told)}:
            if server.store.has(told["kind"], told["metadata"]):
                await server.put(told)
        case {"slice": dict(told)}:
            name = told["metadata"]["labels"]["kubernetes.io/service-name"]
            if server.store.has("Service", {**told["metadata"], "name": name}):
                await server.put(told)
        case {"delete": [kind, namespace, name]}:
            await server.delete(kind, namespace, name)
        case {"down": True}:
            await server.stop()
        case {"down": False}:
            await server.start()
        case {"compact": True}:
            server.store.compact()
        case {"cut": bool(reset)}:
            server.cut(reset)
        case {"inject": str(line)}:
            server.inject(line)
        case {"fail": [*codes]}:
            server.fail = [(code, {}) for code in codes]
        case {"dribble": bool(slowly)}:
            server.dribble = slowly
        case {"mute": bool(silent)}:
            server.mute = silent
        case {"forbid": [*kinds]}:
            server.forbidden = set(kinds)
            server.cut()
        case {"tokens": [*tokens]}:
            server.tokens = set(tokens)
        case {"subjects": [*subjects]}:
            server.tokens, server.subjects = set(), set(subjects)
        case {"clear": True}:
            version = server.store.version
            server.store = Store(version + 1000)
            server.store.compact()
        case _:
            raise ValueError(command)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
