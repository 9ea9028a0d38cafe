"""Sends frames that lie in memory through an AF_PACKET socket, hundreds with each sendmmsg(2)."""

from __future__ import annotations

import ctypes as ct
import os
import socket
from typing import Any

import numpy as np
import numpy.typing as npt

BATCH = 128  # frames that one call sends
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
    """Sends rows (count, length) of an array as they are at that moment; the array must stay where it is."""

    def __init__(self, device: str, rows: npt.NDArray[np.uint8]) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind((device, 0))
        self._socket.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        self._rows = rows
        self._vectors = (_IoVector * len(rows))()
        self._messages = (_Message * len(rows))()
        for index in range(len(rows)):
            self._vectors[index] = _IoVector(rows.ctypes.data + index * rows.strides[0], rows.shape[1])
            self._messages[index].vectors = ct.addressof(self._vectors[index])
            self._messages[index].vector_count = 1
        self._send: Any = ct.CDLL(None, use_errno=True).sendmmsg
        self._send.argtypes = [ct.c_int, ct.c_void_p, ct.c_uint, ct.c_int]

    def fire(self, first: int, count: int) -> int:
        """Send rows from `first` on; how many went. Raises OSError."""
        at = ct.addressof(self._messages) + first * ct.sizeof(_Message)
        sent = int(self._send(self._socket.fileno(), at, count, 0))
        if sent < 0:
            raise OSError(ct.get_errno(), os.strerror(ct.get_errno()))
        return sent
