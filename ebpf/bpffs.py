"""The BPF file system and the pins in it.

Layout below the root folder (by default /sys/fs/bpf/remora):

    maps-SCHEMA/NAME     maps with state; shared by all builds that agree on the structs
    build-ID/NAME        programs and ring buffers of one build
    links/NAME           attachments to cgroups and tracepoints; they outlive the agent

Several agents can live on one kernel, each with a root of its own.
"""

from __future__ import annotations

import ctypes as ct
import os
from pathlib import Path

from ebpf.errors import UnsupportedError

BPFFS = Path("/sys/fs/bpf")
BPF_FS_MAGIC = 0xCAFE4A11


def is_bpffs(path: Path) -> bool:
    """Is this folder on a BPF file system?"""
    return _magic(path) == BPF_FS_MAGIC


def ensure_mounted(root: Path) -> None:
    """Make sure that `root` can hold pins, mounting /sys/fs/bpf if it is not; raises UnsupportedError."""
    parent = next((folder for folder in (root, *root.parents) if folder.exists()), Path("/"))
    if is_bpffs(parent):
        return
    if BPFFS not in (root, *root.parents):
        raise UnsupportedError(f"{root} is not on a BPF file system", f"name a folder below {BPFFS}")
    libc = ct.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", str(BPFFS).encode(), b"bpf", 0, None) != 0:
        raise UnsupportedError(
            f"cannot mount a BPF file system on {BPFFS}: {os.strerror(ct.get_errno())}",
            "run as root, or mount it: mount -t bpf bpf /sys/fs/bpf",
        )


def remove_tree(folder: Path) -> int:
    """Unpin everything below a folder and the folder itself; how many pins went."""
    if not folder.is_dir():
        return 0
    removed = 0
    for entry in list(folder.iterdir()):
        if entry.is_dir():
            removed += remove_tree(entry)
        else:
            entry.unlink()
            removed += 1
    folder.rmdir()
    return removed


def _magic(path: Path) -> int:
    buffer = (ct.c_long * 32)()
    libc = ct.CDLL(None, use_errno=True)
    return int(buffer[0]) if libc.statfs(str(path).encode(), ct.byref(buffer)) == 0 else 0
