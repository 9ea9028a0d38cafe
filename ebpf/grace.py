"""Waiting until no kernel program can still be looking at a count that was just lowered.

A program that balances reads a Service's count and then a slot below it. Between the two the agent may lower the
count and delete the slot. membarrier(2) with MEMBARRIER_CMD_GLOBAL waits for an RCU grace period, and BPF programs run
inside RCU read sections: after it every program that saw the old count has finished. It takes 10 to 20 ms.
"""

from __future__ import annotations

import ctypes
import platform
import time

_SYSCALLS = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "ppc64le": 365, "s390x": 356}
_COMMAND_GLOBAL = 1
_FALLBACK = 0.05  # s; several grace periods, for kernels that refuse the command (CPUs with nohz_full)

_libc = ctypes.CDLL(None, use_errno=True)


def wait_for_readers() -> None:
    """Return when all BPF programs that were running at the call have ended."""
    number = _SYSCALLS.get(platform.machine())
    if number is None or _libc.syscall(number, _COMMAND_GLOBAL, 0) != 0:
        time.sleep(_FALLBACK)
