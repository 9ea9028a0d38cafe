"""Which network namespace is behind which number.

A device tells only the number (nsid) that our namespace has for the one its other end is in. Names are where
namespaces are mounted; a namespace without a mount is found through the processes in it. The processes are looked
through only when a number is left over, since there may be thousands.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from daemon.endpoints.netlink import Netlink

MOUNTS = (Path("/run/netns"), Path("/run/docker/netns"))
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class NetworkNamespace:
    """A namespace: `name` is the file name of its mount, "" when only processes hold it."""

    name: str
    inode: int


def by_nsid(netlink: Netlink, wanted: set[int]) -> dict[int, NetworkNamespace]:
    """The wanted numbers that could be resolved. Namespaces that vanish meanwhile are left out."""
    found: dict[int, NetworkNamespace] = {}
    seen: set[int] = set()
    for path, name in _places():
        if wanted <= found.keys():
            break
        with suppress(OSError):
            inode = path.stat().st_ino
            if inode in seen:
                continue
            seen.add(inode)
            nsid = _nsid(netlink, path)
            if nsid in wanted:
                found.setdefault(nsid, NetworkNamespace(name, inode))
    return found


def _places() -> Iterator[tuple[Path, str]]:
    """Mounts first, for the name; then a path per process."""
    for folder in MOUNTS:
        with suppress(OSError):
            yield from ((path, path.name) for path in sorted(folder.iterdir()))
    with suppress(OSError):
        yield from ((process / "ns" / "net", "") for process in _PROC.iterdir() if process.name.isdigit())


def _nsid(netlink: Netlink, path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return netlink.nsid(fd)
    finally:
        os.close(fd)
