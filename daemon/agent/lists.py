"""The folder of the shield's lists, watched: a feed that was fetched is in force a moment later.

What the kernel's events say is not looked at; who is woken compares the files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from daemon.sources.inotify import FolderWatch
from ebpf.errors import KernelError

QUIET = 0.1  # s without an event before the files are read: a download writes many times
PATIENCE = 2.0  # s after which they are read although the events go on
RESCAN = 30.0  # s between looks without any event, and for a folder that is not there


async def follow(folder: Path, look: Callable[[], None]) -> None:
    """Call `look` when something changed in the folder, and now and then; works until cancelled."""
    watch: FolderWatch | None = None
    try:
        while True:
            if watch is None:
                with suppress(KernelError):
                    watch = FolderWatch(folder)
            if watch is None:
                await asyncio.sleep(RESCAN)
            elif await watch.changed(RESCAN):
                await _settle(watch)
            look()
            if watch is not None and watch.stale():
                watch.close()
                watch = None
    finally:
        if watch is not None:
            watch.close()


async def _settle(watch: FolderWatch) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while await watch.changed(QUIET) and loop.time() < deadline:
        pass
