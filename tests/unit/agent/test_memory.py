"""What the agent no longer uses is the host's again."""

from __future__ import annotations

import subprocess
import sys

FREED_BY_A_THREAD = """
from threading import Thread
from ebpf.memory import keep_little

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def use_and_free():
    [bytearray(b"x") * 100_000 for _ in range(200)]

keep_little()
bytearray(16_000_000)  # from then on the C library, left to itself, keeps up to 32 MB
before = resident()
thread = Thread(target=use_and_free)
thread.start()
thread.join()
print(resident() - before)
"""


def test_what_a_thread_has_freed_does_not_stay_with_the_process() -> None:
    grown = subprocess.run([sys.executable, "-c", FREED_BY_A_THREAD], check=True, capture_output=True, text=True).stdout
    assert int(grown) < 4_000_000
