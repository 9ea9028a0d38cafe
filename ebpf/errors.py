"""What can go wrong at the kernel border.

    RemoraError
    ├── UnsupportedError      the kernel or the host lacks something that is needed
    ├── KernelError           a system call failed: object, errno in words, next step
    │   ├── MapFullError      a batch would not fit; nothing was written
    │   ├── PinError          a pin is missing, foreign or of another layout
    │   └── AttachError       a program could not be attached or detached
    └── CompileError          the C sources did not become programs
        └── VerifierError     the kernel refused a program; ends with the verifier's last lines

Every message says what failed, on which object, and what to try next, because
its reader is at work on an incident.
"""

from __future__ import annotations

import errno as _errno
import os


class RemoraError(Exception):
    """Base of all errors that remora raises on purpose; `hint` is the next step to try."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(f"{what}; {hint}" if hint else what)
        self.what = what
        self.hint = hint


class UnsupportedError(RemoraError):
    """The kernel or the host lacks something that is needed."""


class KernelError(RemoraError):
    """A system call failed; `errno` is its number."""

    def __init__(self, what: str, errno: int = 0, hint: str = "") -> None:
        words = f"{what}: {describe(errno)}" if errno else what
        super().__init__(words, hint or _HINTS.get(errno, ""))
        self.errno = errno


class MapFullError(KernelError):
    """A batch does not fit into a map; nothing was written, the old state stays."""


class PinError(KernelError):
    """A pin is missing, foreign, or of another layout."""


class AttachError(KernelError):
    """A program could not be attached or detached."""


class CompileError(RemoraError):
    """The C sources did not become programs; `log` is the compiler's output."""

    def __init__(self, what: str, log: str = "", hint: str = "") -> None:
        super().__init__(f"{what}\n{log}" if log else what, hint)
        self.log = log


class VerifierError(CompileError):
    """The kernel refused a program; `log` ends with the verifier's last lines."""


_HINTS = {
    _errno.EPERM: "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
    _errno.EACCES: "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
    _errno.ENOENT: "start the agent, which creates it, or name the right folder",
    _errno.ENOMEM: "free memory or make the maps smaller in the settings",
    _errno.E2BIG: "make the map larger in the settings",
    _errno.ENODEV: "the device is gone; nothing needs to be done",
}


def describe(errno: int) -> str:
    """`ENOENT (No such file or directory)` for 2."""
    return f"{_errno.errorcode.get(errno, errno)} ({os.strerror(errno)})"
