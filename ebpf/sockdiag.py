"""Connected UDP sockets of one network namespace: listed, and closed.

A NETLINK_SOCK_DIAG socket sees the namespace of the thread that made it, whichever that thread goes to later.

Layouts and numbers: linux/inet_diag.h, linux/sock_diag.h, linux/netlink.h; the protocol is in sock_diag(7).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ebpf.errors import KernelError, UnsupportedError

Columns = npt.NDArray[Any]

_NETLINK_SOCK_DIAG = 4
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 0x1, 0x4, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 20, 21
_REQ_BYTECODE = 1
_DPORT_AT_LEAST, _DPORT_AT_MOST = 4, 5  # INET_DIAG_BC_D_GE, INET_DIAG_BC_D_LE
_ESTABLISHED = 1 << 1  # bit of TCP_ESTABLISHED, which a connected UDP socket has too

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_REQUEST = struct.Struct("=BBBxI48s")  # inet_diag_req_v2: family, protocol, extensions, states, socket id
_OPERATION = struct.Struct("=BBH")  # inet_diag_bc_op: code, bytes to go on when true, when false
_ERROR = struct.Struct("=i")
_RECEIVE = 1 << 15  # bytes; the kernel fills no more at once
_BATCH = 64  # sockets closed with one call; the answers have to fit into the receive buffer
_PATIENCE = 5.0  # s; the kernel answers within the call, so this is never waited for unless an answer was lost

_ID = [("sport", "u2"), ("dport", "u2"), ("src", "u4", 4), ("dst", "u4", 4), ("device", "u4"), ("cookie", "u4", 2)]
SOCKET = np.dtype([("family", "u1"), ("state", "u1"), ("timer", "u2"), ("id", _ID), ("rest", "u4", 5)])
"""struct inet_diag_msg: ports and addresses in network order, of IPv4 the first word only."""


class SocketDiag:
    """A netlink socket in the namespace of the thread that makes it. Raises OSError."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
        self._socket.settimeout(_PATIENCE)

    def __enter__(self) -> SocketDiag:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._socket.close()

    def connected_udp(self, family: int, ports: range) -> Columns:
        """Connected UDP sockets of a family (AF_INET, AF_INET6) as rows of dtype SOCKET, shape (n,).

        `ports` bounds the destination's port; it must not be empty. Raises KernelError, UnsupportedError, OSError.
        """
        self._socket.send(_list_request(family, ports))
        rows = []
        for kind, _, body in self._messages():
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                _check_end(body)
                break
            rows.append(body[: SOCKET.itemsize])
        return np.frombuffer(b"".join(rows), SOCKET)

    def destroy(self, sockets: Columns) -> npt.NDArray[np.int32]:
        """Close sockets: recv() fails with ECONNABORTED, send() with EDESTADDRREQ. One errno each, shape (n,), 0: done.

        ENOENT: there is no such socket any more, or another one with the same addresses stands before it;
        EOPNOTSUPP: the kernel was built without CONFIG_INET_DIAG_DESTROY. Raises OSError.
        """
        results = np.zeros(len(sockets), np.int32)
        for start in range(0, len(sockets), _BATCH):
            batch = sockets[start : start + _BATCH]
            self._socket.send(b"".join(_destroy_request(index, one) for index, one in enumerate(batch, start)))
            answers = self._messages()
            for _ in batch:
                _, sequence, body = next(answers)
                results[sequence] = -_ERROR.unpack_from(body)[0]
        return results

    def _messages(self) -> Iterator[tuple[int, int, memoryview]]:
        """Type, sequence and body of what comes in, without end: the caller knows which is the last."""
        while True:
            data = memoryview(self._socket.recv(_RECEIVE))
            while len(data):
                length, kind, _, sequence, _ = _HEADER.unpack_from(data)
                yield kind, sequence, data[_HEADER.size : length]
                data = data[_aligned(length) :]


def cookies(sockets: Columns) -> npt.NDArray[np.uint64]:
    """What bpf_get_socket_cookie() gives for each of the sockets, shape (n,)."""
    halves = sockets["id"]["cookie"].astype(np.uint64)
    whole: npt.NDArray[np.uint64] = halves[:, 0] | halves[:, 1] << np.uint64(32)
    return whole


def _list_request(family: int, ports: range) -> bytes:
    program = _between(ports[0], ports[-1])
    body = (
        _REQUEST.pack(family, socket.IPPROTO_UDP, 0, _ESTABLISHED, bytes(48))
        + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(program), _REQ_BYTECODE)
        + program
    )
    flags = _NLM_F_REQUEST | _NLM_F_DUMP
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, flags, 0, 0) + body


def _between(low: int, high: int) -> bytes:
    """A filter program: each test is followed by its operand; a jump to 4 bytes behind the end refuses."""
    return b"".join(
        (
            _OPERATION.pack(_DPORT_AT_LEAST, 8, 20),
            _OPERATION.pack(0, 0, low),
            _OPERATION.pack(_DPORT_AT_MOST, 8, 12),
            _OPERATION.pack(0, 0, high),
        )
    )


def _destroy_request(sequence: int, one: Any) -> bytes:
    """The id goes back as it came: its cookie makes sure that no other socket is hit."""
    body = _REQUEST.pack(int(one["family"]), socket.IPPROTO_UDP, 0, _ESTABLISHED, one["id"].tobytes())
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DESTROY, _NLM_F_REQUEST | _NLM_F_ACK, sequence, 0) + body


def _check_end(body: memoryview) -> None:
    """Raise what a list's last message says went wrong."""
    code = -_ERROR.unpack_from(body)[0] if len(body) else 0
    if code == errno.ENOENT:
        raise UnsupportedError("the kernel cannot list UDP sockets", "it needs CONFIG_INET_UDP_DIAG (module udp_diag)")
    if code:
        raise KernelError("cannot list UDP sockets", code)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
