"""The agent as a process of this host: whoever listens at its socket.

Its number in the status is that of its own PID namespace; the kernel translates the one that a socket carries.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from daemon.cli.client import socket_path
from daemon.cli.server import Server

_CREDENTIALS = struct.Struct("iII")  # struct ucred
_TIMEOUT = 2.0  # s


def agent_pid(server: Server) -> int:
    """The process that listens at the agent's socket; 0 where it is none of this host, or nobody listens."""
    path = socket_path(server.address)
    if path is None:
        return 0
    try:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(_TIMEOUT)
            channel.connect(path)
            raw = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return 0
    return int(_CREDENTIALS.unpack(raw)[0])


def same_network(pid: int) -> bool:
    """Whether a process lives in our own network namespace."""
    return Path(f"/proc/{pid}/ns/net").stat().st_ino == Path("/proc/self/ns/net").stat().st_ino
