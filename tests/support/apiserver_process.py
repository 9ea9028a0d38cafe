"""The tests' API server as a process of its own, told what to do by lines of JSON on a unix socket.

`{"put": [objects]}`, `{"delete": [kind, namespace, name]}`, `{"down": true}`, `{"down": false}`, `{"compact": true}`,
`{"clear": true}`. Each line is answered by one: the store's version. The first line printed is the server's port.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.support.apiserver import ApiServer, Store
from tests.support.netns import TestNode

INTERPRETER = [sys.executable, "-m", "tests.support.apiserver_process"]


@dataclass
class Remote:
    """The test's end."""

    channel: IO[bytes]
    port: int

    @classmethod
    def start(cls, node: TestNode, folder: Path, pythonpath: str) -> Remote:
        """Run a server in the node's namespace; it is stopped with the node."""
        path = folder / "apiserver.sock"
        argv = [*INTERPRETER, str(path)]
        process = node.popen(argv, environment={"PYTHONPATH": pythonpath}, stdout=subprocess.PIPE)
        assert process.stdout
        port = int(process.stdout.readline())
        control = socket.socket(socket.AF_UNIX)
        control.connect(str(path))
        return cls(control.makefile("rwb", buffering=0), port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tell(self, **command: Any) -> int:
        """Carry out one command; the store's version."""
        self.channel.write(json.dumps(command).encode() + b"\n")
        return int(self.channel.readline())


async def serve(path: str) -> None:
    """Serve for ever."""
    server = ApiServer(bookmark=1.0)
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
        case {"delete": [kind, namespace, name]}:
            await server.delete(kind, namespace, name)
        case {"down": True}:
            await server.stop()
        case {"down": False}:
            await server.start()
        case {"compact": True}:
            server.store.compact()
        case {"clear": True}:
            version = server.store.version
            server.store = Store(version + 1000)
            server.store.compact()
        case _:
            raise ValueError(command)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
