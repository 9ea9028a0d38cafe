"""A reader that never rests: sends packets to Services through the real program and looks where each one goes.

Run as `python -m tests.support.hammer PROGRAM SERVICES`: a pinned TC program, and how many Services it is to ask for;
`vip` and `backend` say which addresses they must have. Every packet is the first of its flow, so each one is a look-up.
Prints `ready`, and when something comes on its input a JSON object.
"""

from __future__ import annotations

import json
import select
import struct
import sys
from pathlib import Path

from ebpf import libbpf, testrun

PORT, TARGET = 80, 8080
_ETHER = bytes.fromhex("020000000002 020000000001 0800")
_PASSED = -1  # TC_ACT_UNSPEC
_BATCH = 500  # look-ups between two looks at the input
_TOLD = 20  # failures that are told in words


def vip(service: int) -> bytes:
    """The ClusterIP of a Service."""
    return bytes([10, 96, service // 250, service % 250])


def backend(service: int, number: int) -> bytes:
    """A backend that belongs to this Service and to no other."""
    return bytes([10, 100 + service // 250, service % 250, number])


def packet(service: int, flow: int) -> bytes:
    """A datagram to a Service, the `flow`-th one."""
    source = bytes([11]) + flow.to_bytes(4)[1:]
    udp = struct.pack("!HHHH", 1024 + flow % 60000, PORT, 9, 0) + b"x"
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 29, 0, 0, 64, 17, 0, source, vip(service))
    return _ETHER + ip + udp


def failure(program: int, service: int, flow: int) -> str:
    """What is wrong with the way of a packet; "" for nothing."""
    result = testrun.run(program, packet(service, flow))
    target, port = result.packet[30:34], int.from_bytes(result.packet[36:38])
    if result.verdict != _PASSED:
        return f"service {service}: verdict {result.verdict}"
    if target[:3] != backend(service, 0)[:3] or port != TARGET:
        return f"service {service}: went to {'.'.join(map(str, target))}:{port}"
    return ""


def main() -> None:
    program, services = libbpf.obj_get(Path(sys.argv[1])), int(sys.argv[2])
    lookups, failures = 0, []
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(_BATCH):
            found = failure(program, lookups % services, lookups)
            lookups += 1
            if found:
                failures.append(found)
    print(json.dumps({"lookups": lookups, "failed": len(failures), "failures": failures[:_TOLD]}))


if __name__ == "__main__":
    main()
