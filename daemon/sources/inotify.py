"""Word from the kernel that a folder's content changed, as something asyncio can wait for.

inotify(7) through ctypes: two calls and a file descriptor. What the events say is not looked at. They are lossy, and
with editors, `kubectl`-like symlink swaps and renames hard to read rightly, so the reader compares the folder itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path

from ebpf.errors import KernelError

# From <sys/inotify.h>: MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF, and
# ONLYDIR, which refuses a path that is no folder.
_EVENTS = 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800 | 0x0100_0000
_READ_SIZE = 65_536

_libc = ctypes.CDLL(None, use_errno=True)


class FolderWatch:
    """Tells whether a folder's content changed since it was last asked. Belongs to the running loop."""

    def __init__(self, path: Path) -> None:
        """Start to watch. Raises KernelError, for example when the folder does not exist."""
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            hint = "raise fs.inotify.max_user_instances"
            raise KernelError("cannot make an inotify instance", ctypes.get_errno(), hint)
        if _libc.inotify_add_watch(self._fd, os.fsencode(path), _EVENTS) < 0:
            number = ctypes.get_errno()
            os.close(self._fd)
            raise KernelError(f"cannot watch {path}", number, "create the folder or name another one")
        self._path = path
        self._inode = _inode(path)
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._drain)

    async def changed(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for a change; False when there was none."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        changed = self._changed.is_set()
        self._changed.clear()
        return changed

    def stale(self) -> bool:
        """Whether the path leads to another folder by now, or to none."""
        return self._inode is None or _inode(self._path) != self._inode

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, _READ_SIZE):
                self._changed.set()


def _inode(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None
