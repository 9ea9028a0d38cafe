"""An XDP program that makes another packet of each run's, and hands it on: so one test run stands for many senders.

BPF_PROG_TEST_RUN repeats a packet millions of times within the kernel, as a driver's loop takes in packet after packet;
but always the same one, which finds everything hot. This program goes before the one that is measured: it writes the
packet's headers anew, as what is measured may have changed them, draws a source at random, and then tail-calls. What
it costs itself is known from the same with a program of two instructions behind it.
"""

from __future__ import annotations

import ctypes as ct
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

from ebpf import libbpf, testrun

_PROG_ARRAY = 3
_PRANDOM, _TAIL_CALL = 7, 12
_WORD = 8  # bytes of one store


@dataclass(frozen=True, slots=True)
class Senders:
    """A packet, and who sends it: `count` addresses from `first` on, `step` apart, written at `place` of the packet."""

    packet: bytes
    place: int
    first: int
    count: int
    step: int = 1

    def nth(self, number: int) -> bytes:
        """The packet of one of them."""
        address = (self.first + number * self.step).to_bytes(4)
        return self.packet[: self.place] + address + self.packet[self.place + 4 :]


def undisturbed(rounds: Sequence[float]) -> float:
    """Nanoseconds of rounds (two at least) as one: their lower quartile.

    What else runs on the machine, or on the one that this is a guest of, makes rounds longer, up to twice as long, and
    never shorter; so the median tells of the neighbours where they take every second round.
    """
    return quantiles(rounds, n=4)[0]


def nanoseconds(program: int, senders: Senders, repeat: int) -> int:
    """What a run takes on average, the drawing included; raises KernelError."""
    table = libbpf.call("cannot make a map of programs", "bpf_map_create", _PROG_ARRAY, b"next", 4, 4, 1, None)
    try:
        key, value = ct.c_uint32(0), ct.c_uint32(program)
        libbpf.call("cannot name the next program", "bpf_map_update_elem", table, ct.byref(key), ct.byref(value), 0)
        text = _code(senders, table)
        code = ct.create_string_buffer(text, len(text))
        flags = libbpf.XDP_HAS_FRAGS  # alike in all programs of a map
        drawing = libbpf.load_program(libbpf.ProgramType.XDP, "varied", ct.addressof(code), len(text), flags)
        try:
            return testrun.run(drawing, senders.packet, repeat).duration
        finally:
            os.close(drawing)
    finally:
        os.close(table)


def _code(senders: Senders, table: int) -> bytes:
    words = len(senders.packet) // _WORD
    stores = [
        _load(2, int.from_bytes(senders.packet[at : at + _WORD], "little"))
        + _op(0x7B, 7, 2, at)  # *(u64 *)(r7 + at) = r2
        for at in range(0, words * _WORD, _WORD)
    ]
    drawn = [
        _op(0x85, number=_PRANDOM),
        _op(0x94, 0, number=senders.count),  # w0 %= count
        _op(0x24, 0, number=senders.step),  # w0 *= step
        _op(0x04, 0, number=senders.first),  # w0 += first
        _op(0xDC, 0, number=32),  # r0 = be32(r0)
        _op(0x63, 7, 0, senders.place),  # *(u32 *)(r7 + place) = r0
        _op(0xBF, 1, 6) + _load(2, table, 1) + _op(0xB7, 3) + _op(0x85, number=_TAIL_CALL),
    ]
    body = b"".join(stores + drawn)
    head = [
        _op(0xBF, 6, 1),  # r6 = ctx
        _op(0x61, 7, 1),  # r7 = data
        _op(0x61, 3, 1, 4),  # r3 = data_end
        _op(0xBF, 2, 7) + _op(0x07, 2, number=words * _WORD),
        _op(0x2D, 2, 3, len(body) // 8),  # if r2 > r3, out
    ]
    return b"".join(head) + body + _op(0xB7, 0) + _op(0x95)


def _op(code: int, to: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> bytes:
    """One instruction."""
    return struct.pack("<BBhi", code, source << 4 | to, offset, number)


def _load(to: int, number: int, kind: int = 0) -> bytes:
    """A number of 64 bits, or with kind 1 the map of a descriptor: two instructions in one."""
    low, high = (int.from_bytes(number.to_bytes(8, "little")[at : at + 4], "little", signed=True) for at in (0, 4))
    return _op(0x18, to, kind, 0, low) + _op(0, number=high)
