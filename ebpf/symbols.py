"""Which of the kernel's symbols BCC gets to see: one.

For every text BCC reads all of /proc/kallsyms, a hundred thousand names and more in a tenth of a second, to find out
whether there is a function bpf_probe_read_kernel. Every kernel that remora runs on has it. So the compiler is shown a
list of that one name, a file of the shim that is mounted over the long one, in a mount namespace of the compiler's own.
Where that is not allowed, BCC reads what it finds: it takes longer and comes to the same.
"""

from __future__ import annotations

import ctypes as ct
import os

from bpf_programs import ROOT

SYMBOLS = "/proc/kallsyms"

_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000


def shorten() -> None:
    """Cover the list for this process and its children. Call before there is a second thread."""
    if not os.access(SYMBOLS, os.R_OK):
        return  # a sandbox keeps it away already
    libc = ct.CDLL(None)
    if libc.unshare(_CLONE_NEWNS) == 0 and libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None) == 0:
        libc.mount(str(ROOT / "include" / "shim" / "kallsyms").encode(), SYMBOLS.encode(), None, _MS_BIND, None)
