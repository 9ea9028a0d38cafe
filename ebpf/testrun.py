"""Run one program on one packet, without any device: the kernel's BPF_PROG_TEST_RUN.

Used by the tests that put packets in and look at packets, verdicts and maps
that come out, by the fuzzers and by the benchmarks.
"""

from __future__ import annotations

import ctypes as ct
from dataclasses import dataclass

from ebpf import libbpf

_MAX_PACKET = 65536 + 256


class _Options(ct.Structure):
    """struct bpf_test_run_opts of libbpf."""

    _fields_ = (
        ("sz", ct.c_size_t),
        ("data_in", ct.c_void_p),
        ("data_out", ct.c_void_p),
        ("data_size_in", ct.c_uint32),
        ("data_size_out", ct.c_uint32),
        ("ctx_in", ct.c_void_p),
        ("ctx_out", ct.c_void_p),
        ("ctx_size_in", ct.c_uint32),
        ("ctx_size_out", ct.c_uint32),
        ("retval", ct.c_uint32),
        ("repeat", ct.c_int),
        ("duration", ct.c_uint32),
        ("flags", ct.c_uint32),
        ("cpu", ct.c_uint32),
        ("batch_size", ct.c_uint32),
    )


class _Wire(ct.Structure):
    """struct xdp_md."""

    _fields_ = tuple(
        (name, ct.c_uint32)
        for name in ("data", "data_end", "data_meta", "ingress_ifindex", "rx_queue_index", "egress_ifindex")
    )


@dataclass(frozen=True, slots=True)
class Result:
    """What came out: the program's return value (signed), the packet, and ns per run."""

    verdict: int
    packet: bytes
    duration: int


def verdict(program_fd: int, packet: bytes) -> int:
    """Run a program and look at nothing but its return value: a few microseconds, for fuzzers."""
    source = ct.create_string_buffer(packet, len(packet))
    options = _Options(sz=ct.sizeof(_Options), data_in=ct.addressof(source), data_size_in=len(packet), repeat=1)
    libbpf.call("cannot run the program on a packet", "bpf_prog_test_run_opts", program_fd, ct.byref(options))
    return ct.c_int32(options.retval).value


def run(program_fd: int, packet: bytes, repeat: int = 1, ifindex: int = 0) -> Result:
    """Run a TC or XDP program; raises KernelError (EINVAL for less than an Ethernet header).

    `ifindex`: the device that XDP is to see, which must have an XDP program itself; 0: loopback.
    """
    out = ct.create_string_buffer(_MAX_PACKET)
    wire = _Wire(data_end=len(packet), ingress_ifindex=ifindex)
    source = ct.create_string_buffer(packet, len(packet))
    options = _Options(
        sz=ct.sizeof(_Options), data_in=ct.addressof(source), data_size_in=len(packet),
        data_out=ct.addressof(out), data_size_out=_MAX_PACKET, repeat=repeat,
    )  # fmt: skip
    if ifindex:
        options.ctx_in, options.ctx_size_in = ct.addressof(wire), ct.sizeof(wire)
    libbpf.call("cannot run the program on a packet", "bpf_prog_test_run_opts", program_fd, ct.byref(options))
    return Result(ct.c_int32(options.retval).value, out.raw[: options.data_size_out], options.duration)
