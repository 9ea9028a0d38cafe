"""Making a veth link behave as a wire does, for XDP, which sees frames as they come off one.

Between two ends of such a link the checksum that hardware would write is never written, and what hardware would cut is
never cut. And frames that XDP sends out of one end lie there until the other end polls, which it does where it has a
program of its own.
"""

from __future__ import annotations

import ctypes as ct
import fcntl
import os
import socket

from ebpf import libbpf, xdp

PASS = bytes.fromhex("b700000002000000" + "9500000000000000")  # r0 = XDP_PASS; exit
_SIOCETHTOOL = 0x8946
_SET_TX_CHECKSUM = 0x17


class _Value(ct.Structure):
    """struct ethtool_value."""

    _fields_ = (("command", ct.c_uint32), ("data", ct.c_uint32))


class _Request(ct.Structure):
    """struct ifreq with a pointer in it."""

    _fields_ = (("name", ct.c_char * 16), ("data", ct.c_void_p), ("rest", ct.c_uint8 * 16))


def as_wire(device: str) -> None:
    """Let one end, where XDP is at the other, be as a wire is; in the namespace of that end."""
    _sum_here(device)
    _poll(device)


def _sum_here(device: str) -> None:
    """Let the stack write checksums and cut packets itself (ethtool -K DEVICE tx off)."""
    value = _Value(_SET_TX_CHECKSUM, 0)
    request = _Request(device.encode(), ct.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        fcntl.ioctl(asker, _SIOCETHTOOL, request)


def _poll(device: str) -> None:
    """Put a program on a device that passes everything, large frames as well."""
    code = ct.create_string_buffer(PASS, len(PASS))
    fd = libbpf.load_program(libbpf.ProgramType.XDP, "pass", ct.addressof(code), len(PASS), libbpf.XDP_HAS_FRAGS)
    try:
        xdp.attach(socket.if_nametoindex(device), fd, xdp.Mode.NATIVE)
    finally:
        os.close(fd)
