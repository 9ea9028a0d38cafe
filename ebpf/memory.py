"""Memory that is free again and was not given back.

The C library keeps what was freed for the next time: a heap for each thread, and of each all that was ever needed at
once, up to 64 MiB. An agent of fifteen threads, of which one at a time computes, does with one heap and little in hand.
Even so, after the first sync, which takes pages of lists apart, tens of megabytes lie between what is still in use;
nobody will ask for them again.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_IN_HAND = 1024 * 1024  # bytes free at the heap's end that are kept, and the size from which memory is no part of it


def keep_little() -> None:
    """One heap for all threads, its free end given back. Call before there is a second thread."""
    limit = getattr(ctypes.CDLL(None), "mallopt", None)
    if limit is not None:
        for what, most in ((_M_ARENA_MAX, 1), (_M_TRIM_THRESHOLD, _IN_HAND), (_M_MMAP_THRESHOLD, _IN_HAND)):
            limit(what, most)


def release_freed() -> None:
    """Give free memory back to the kernel; nothing where the C library has no way to."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
