"""Sends real frames from inside a workload, each the first packet of another connection, at a given rate.

A program of its own (`python -m benchmarks.offer RATE SECONDS ADDRESS`), so that it has a core to itself. It builds
frames as columns and hands them to an AF_PACKET socket on eth0, 128 with each sendmmsg(2). Every frame leaves the
workload over its veth and runs through the attached from_endpoint like any other packet; being a SYN of a tuple that
was never seen, each makes a new connection entry and one flow record. ADDRESS is the workload's own: from any other,
all would be dropped as spoofed, which is not what is to be measured. Behind the hook the frames die on the bridge,
which knows nobody with their destination address. Prints what it sent and how long it took, as JSON.
"""

from __future__ import annotations

import ctypes as ct
import json
import os
import socket
import sys
import time

import numpy as np

from benchmarks import frames

BATCH = 128
_QDISC_BYPASS = 20  # PACKET_QDISC_BYPASS of linux/if_packet.h
_SOL_PACKET = 263


class _IoVector(ct.Structure):
    _fields_ = (("base", ct.c_void_p), ("length", ct.c_size_t))


class _Message(ct.Structure):
    """struct mmsghdr with its struct msghdr."""

    _fields_ = (
        ("name", ct.c_void_p),
        ("name_length", ct.c_uint32),
        ("vectors", ct.c_void_p),
        ("vector_count", ct.c_size_t),
        ("control", ct.c_void_p),
        ("control_length", ct.c_size_t),
        ("flags", ct.c_int),
        ("pad", ct.c_uint32),
        ("sent", ct.c_uint32),
    )


class Gun:
    """Sends batches of frames through one buffer, which is written anew for each."""

    def __init__(self, device: str, template: bytes) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind((device, 0))
        self._socket.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        self._template = template
        self._buffer = np.zeros((BATCH, len(template)), np.uint8)
        self._vectors = (_IoVector * BATCH)()
        self._messages = (_Message * BATCH)()
        for index in range(BATCH):
            self._vectors[index] = _IoVector(self._buffer[index].ctypes.data, len(template))
            self._messages[index].vectors = ct.addressof(self._vectors[index])
            self._messages[index].vector_count = 1
        self._send = ct.CDLL(None, use_errno=True).sendmmsg

    def fire(self, first: int, count: int) -> int:
        """Send frames `first` … `first + count - 1`; how many went. Raises OSError."""
        self._buffer[:count] = frames.distinct(self._template, count, first, frames.DESTINATION)
        sent = int(self._send(self._socket.fileno(), self._messages, count, 0))
        if sent < 0:
            raise OSError(ct.get_errno(), os.strerror(ct.get_errno()))
        return sent


def offer(rate: int, seconds: float, source: str) -> dict[str, float]:
    """Send `rate` frames a second for so long, evenly; the number sent and the seconds that it took."""
    gun = Gun("eth0", frames.tcp(source, "11.0.0.0", (1, 80), frames.SYN))
    began = time.monotonic()
    sent, wanted = 0, int(rate * seconds)
    while sent < wanted:
        due = min(int((time.monotonic() - began) * rate), wanted) - sent
        if due < BATCH and sent + due < wanted:
            time.sleep((BATCH - due) / rate)
            continue
        sent += gun.fire(sent, min(due, BATCH))
    return {"sent": sent, "seconds": time.monotonic() - began, "processor": time.process_time()}


if __name__ == "__main__":
    print(json.dumps(offer(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])))
