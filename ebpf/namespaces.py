"""All network namespaces of this host, and the way into them.

The kernel keeps no list of them. A namespace is found where it is mounted, which also gives it a name, or through a
process in it. What is told is an open descriptor: a path under /proc may be another's a moment later.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ebpf.errors import KernelError

MOUNTS = (Path("/run/netns"), Path("/run/docker/netns"))
_PROC = Path("/proc")
_CLONE_NEWNET = 0x40000000
_SO_NETNS_COOKIE = 71

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class NamespaceHandle:
    """One namespace. `name` is the file name of its mount, "" when only processes hold it; `fd` is on loan."""

    name: str
    inode: int
    fd: int

    def __str__(self) -> str:
        return self.name or f"netns {self.inode}"


def network_namespaces() -> Iterator[NamespaceHandle]:
    """Each namespace once, those with a mount first. A handle's descriptor is closed when the next one is asked for.

    Processes are looked through only as far as the caller goes on asking, since there may be thousands.
    """
    device = Path("/proc/self/ns/net").stat().st_dev  # other files may lie about where namespaces are mounted
    seen: set[int] = set()
    for path, name in _places():
        with suppress(OSError):
            found = path.stat()
            if found.st_dev != device or found.st_ino in seen:
                continue
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                inode = os.fstat(fd).st_ino
                seen.add(inode)
                yield NamespaceHandle(name, inode, fd)
            finally:
                os.close(fd)


def enter(namespace: NamespaceHandle) -> None:
    """Move the calling thread, for good, into a namespace: for threads that were made for it. Raises KernelError."""
    if _libc.setns(namespace.fd, _CLONE_NEWNET) < 0:
        raise KernelError("cannot enter a network namespace", ctypes.get_errno())


def netns_cookie() -> int:
    """The kernel's number for the calling thread's network namespace (Linux 5.14); 0 where it does not tell."""
    with socket.socket() as any_socket:
        try:
            return int.from_bytes(any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
        except OSError:
            return 0


def cookie_of(inode: int) -> int:
    """The cookie of the namespace with this inode; 0 where it is not found. Raises KernelError."""
    for namespace in network_namespaces():
        if namespace.inode == inode:
            with ThreadPoolExecutor(1) as thread:  # it changes namespaces and then ends
                thread.submit(enter, namespace).result()
                return thread.submit(netns_cookie).result()
    return 0


def _places() -> Iterator[tuple[Path, str]]:
    """Mounts first, for the name; then a path per process."""
    for folder in MOUNTS:
        with suppress(OSError):
            yield from ((path, path.name) for path in sorted(folder.iterdir()))
    with suppress(OSError):
        yield from ((process / "ns" / "net", "") for process in _PROC.iterdir() if process.name.isdigit())
