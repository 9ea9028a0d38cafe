"""Floods a device: spoofed SYNs and UDP in turn, each from another address, as fast as a core can send them.

A program of its own (`python -m benchmarks.flood DEVICE MAC ADDRESS PORT`) that runs until its input ends; prints
`ready` when its frames are made, and at the end as JSON what it sent and how long it took. The frames lie in memory
before the first goes, so all that a core does is to send. Sources are of 11.0.0.0/8. Checksums are right: a stack
without a shield must be hit by what it takes for real.
"""

from __future__ import annotations

import errno
import json
import select
import sys
import time

import numpy as np
import numpy.typing as npt

from benchmarks import frames
from benchmarks.gun import BATCH, Gun

SOURCES = 1 << 17
ROUND = 64  # batches between two looks at the clock


def ammunition(mac: str, address: str, port: int) -> npt.NDArray[np.uint8]:
    """SYNs for the port and UDP for the address: batches of the two in turn."""
    kinds = (
        frames.tcp("11.0.0.0", address, (1, port), frames.SYN),
        frames.udp("11.0.0.0", address, (1, 9000), bytes(12)),
    )
    rows = [frames.summed(frames.distinct(one, SOURCES, 0, step=frames.ADDRESS + 1)) for one in kinds]
    mixed = np.stack([one.reshape(-1, BATCH, one.shape[1]) for one in rows], axis=1)
    mixed = mixed.reshape(-1, mixed.shape[-1])
    mixed[:, :6] = np.frombuffer(bytes.fromhex(mac.replace(":", "")), np.uint8)
    return mixed


def flood(device: str, rows: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Send until the input ends; frames that the device took, and seconds."""
    gun = Gun(device, rows)
    print("ready", flush=True)
    began, sent, batch = time.monotonic(), 0, 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(ROUND):
            sent += _fire(gun, batch)
            batch = (batch + 1) % (len(rows) // BATCH)
    return {"sent": sent, "seconds": time.monotonic() - began}


def _fire(gun: Gun, batch: int) -> int:
    """Frames of a batch that went; the rest is lost where the other end's queue is full."""
    try:
        return gun.fire(batch * BATCH, BATCH)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        return 0


if __name__ == "__main__":
    device, mac, address, port = sys.argv[1:]
    print(json.dumps(flood(device, ammunition(mac, address, int(port)))))
