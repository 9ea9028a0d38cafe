"""Where the wanted state comes from. A source hands out whole snapshots (`daemon.model.Snapshot`) and nothing else.

There is one: a folder of manifests (`folder`). It reads YAML by events (`manifest`), decodes objects (`decode`), fills
in what the API server would (`defaults`), notes what will have no effect (`checks`) and is woken by inotify.
"""

from daemon.sources.folder import FolderSource

__all__ = ["FolderSource"]
