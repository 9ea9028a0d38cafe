"""Where the wanted state comes from. A source hands out whole snapshots (`daemon.model.Snapshot`) and nothing else.

There are two. A folder of manifests (`folder`): it reads YAML by events (`manifest`), decodes objects (`decode`), fills
in what the API server would (`defaults`), notes what will have no effect (`checks`) and is woken by inotify. And the
API server of a cluster (`kubernetes`), which is imported only where it is used: its client weighs twenty megabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from daemon.model.snapshot import Snapshot
from daemon.settings import Settings
from daemon.sources.folder import FolderSource


class Source(Protocol):
    """What every source offers. `kind` and `path` say what and where it is."""

    kind: str

    @property
    def path(self) -> Path | str: ...

    @property
    def peer(self) -> str:
        """URL of what this node speaks to for its sake, "" where that is nobody."""

    @property
    def snapshot(self) -> Snapshot:
        """The last snapshot, with the problems and the age that it has now."""

    async def start(self, on_change: Callable[[Snapshot], None]) -> None:
        """Call `on_change`, in the loop's thread, with the first snapshot and with one for every change."""

    async def stop(self) -> None:
        """Stop listening; the last snapshot stays."""


def open_source(settings: Settings) -> Source:
    """The source that the settings name; raises RemoraError where the way to an API server cannot be understood."""
    if settings.source == "folder":
        return FolderSource(settings.manifests)
    from daemon.sources.kubernetes import KubernetesSource
    from daemon.sources.kubernetes.config import access

    return KubernetesSource(access(settings.kubeconfig, settings.api_server))


__all__ = ["FolderSource", "Source", "open_source"]
