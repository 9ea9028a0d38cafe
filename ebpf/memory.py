"""Memory that is free again and was not given back.

The C library keeps what was freed for the next time. After the first sync, which takes pages of lists apart, that is
tens of megabytes that nobody will ask for again.
"""

from __future__ import annotations

import ctypes


def release_freed() -> None:
    """Give free memory back to the kernel; nothing where the C library has no way to."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
