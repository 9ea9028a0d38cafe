"""A small shop of network namespaces on this host, with real traffic, the agent beside it and the live view.

Nothing outside of its own namespaces, cgroup, pins and folder is touched, and all of them are gone at the end.
"""

from __future__ import annotations


def run(duration: float, keep: bool = False) -> int:
    """Play the demo for `duration` seconds; the exit code: 0 played, 128 + signal when interrupted.

    With `keep` the shop stays open afterwards until Ctrl-C. Raises RemoraError with what is missing or went wrong.
    """
    from daemon.demo.show import play  # the workloads import this package too and need none of it

    return play(duration, keep)
