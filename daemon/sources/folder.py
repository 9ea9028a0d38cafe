"""A folder of manifests, watched: the source of a host without Kubernetes.

The promise is that no slip of an editor takes traffic down. A broken file keeps its last good version, a folder that
vanishes keeps everything, and both are told in `problems`. Objects go away only when their file or their document does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from daemon.model.snapshot import Problem, Snapshot
from daemon.sources.assemble import assemble
from daemon.sources.files import FileState, scan
from daemon.sources.inotify import FolderWatch
from ebpf.errors import KernelError

QUIET = 0.02  # s without an event before the folder is read: several writes in a row are one change
PATIENCE = 1.0  # s after which it is read although the events go on
RESCAN = 30.0  # s between looks without any event: network file systems do not tell inotify
RETRY = 2.0  # s between looks for a folder that cannot be watched

log = logging.getLogger(__name__)


class FolderSource:
    """Snapshots of a folder's *.yaml, *.yml and *.json files; not of its subfolders."""

    kind = "folder"
    peer = ""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.snapshot = Snapshot(read_at=time.monotonic())
        self._files: dict[str, FileState] = {}
        self._whole: Snapshot | None = None  # what the files say; `snapshot` may add that they are out of sight
        self._task: asyncio.Task[None] | None = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the folder now, sorted by file and line."""
        return self.snapshot.problems

    async def start(self, on_change: Callable[[Snapshot], None]) -> None:
        """Read the folder, hand out the first snapshot, and from then on one for every change.

        `on_change` is called in the loop's thread. A missing folder is a problem in the snapshot, not an error.
        """
        watch = self._watch()
        await self._refresh(on_change, first=True)
        self._task = asyncio.create_task(self._follow(watch, on_change), name=f"source {self.path}")

    async def stop(self) -> None:
        """Stop watching; the last snapshot stays."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self, watch: FolderWatch | None, on_change: Callable[[Snapshot], None]) -> None:
        try:
            while True:
                watch = await self._wait(watch)
                try:
                    await self._refresh(on_change)
                except Exception:
                    log.exception("%s: a change was not taken over; the last snapshot stays in force", self.path)
        finally:
            if watch:
                watch.close()

    async def _wait(self, watch: FolderWatch | None) -> FolderWatch | None:
        """Wait until it is worth looking; returns the watch to go on with (a folder may be replaced by another)."""
        if watch is None:
            await asyncio.sleep(RETRY)
            return self._watch()
        if await watch.changed(RESCAN):
            deadline = asyncio.get_running_loop().time() + PATIENCE
            while await watch.changed(QUIET) and asyncio.get_running_loop().time() < deadline:
                pass
        if not watch.stale():
            return watch
        watch.close()
        return self._watch()

    def _watch(self) -> FolderWatch | None:
        try:
            return FolderWatch(self.path)
        except KernelError as error:
            log.warning("%s; looking again every %.0f s", error, RETRY)
            return None

    async def _refresh(self, on_change: Callable[[Snapshot], None], first: bool = False) -> None:
        """Read what changed; hand out a snapshot only when something in it differs."""
        snapshot = await asyncio.to_thread(self._read)
        changed = replace(snapshot, read_at=0.0) != replace(self.snapshot, read_at=0.0)
        self.snapshot = snapshot
        if changed or first:
            on_change(snapshot)

    def _read(self) -> Snapshot:
        try:
            files = scan(self.path, self._files)
        except OSError as error:
            return self._unreadable(error)
        if self._whole and files == self._files:
            return replace(self._whole, read_at=time.monotonic())
        self._files = files
        self._whole = assemble(self.path, files)
        return self._whole

    def _unreadable(self, error: OSError) -> Snapshot:
        """The last snapshot with its age, and the problem that makes it the last."""
        kept = "its last content stays in force" if self._files else "nothing is in force"
        message = f"the folder cannot be read: {error.strerror}; {kept}; create it or name another one"
        unread = self.snapshot.unread if self._files else (str(self.path),)
        problem = Problem(str(self.path), 0, message)
        return replace(self.snapshot, problems=(problem,), unread=unread, unread_shields=unread)
