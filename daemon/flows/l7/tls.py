"""TLS hellos: the name that the client wants, the protocols it offers, the version that both agree on (RFC 8446).

Nothing else of a TLS connection is in the clear. A hello may be cut off anywhere and may be made to hurt, so it is read
through a cursor that cannot pass its end, and what lies before the cut is told.
"""

from __future__ import annotations

from collections.abc import Iterator

from daemon.flows.l7.messages import TlsMessage

RECORD_HEAD = 5
_HANDSHAKE = 22
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS = 0, 16, 43
_EXTENSIONS = 64  # extensions that are read of one hello; browsers send some twenty
_NAME = 255  # bytes of a host name
_PROTOCOLS = 8  # ALPN names that are told
_VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}


class _CutError(Exception):
    """The bytes end here."""


class _Cursor:
    """Reads forward; raises _CutError instead of passing the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, length: int) -> bytes:
        if self._at + length > len(self._data):
            raise _CutError
        self._at += length
        return self._data[self._at - length : self._at]

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def block(self, length: int) -> bytes:
        """What follows a length of so many bytes."""
        return self.take(self.number(length))


def decode_tls(data: bytes) -> TlsMessage | None:
    """The hello in a handshake record, as far as it goes; None for anything else."""
    cursor = _Cursor(data)
    try:
        kind, major = cursor.number(1), cursor.number(1)
        cursor.take(3)
        hello = cursor.number(1)
        if kind != _HANDSHAKE or major != 3 or hello not in (_CLIENT_HELLO, _SERVER_HELLO):
            return None
        cursor.take(3)
        legacy = cursor.number(2)
        cursor.take(32)  # random
    except _CutError:
        return None
    response = hello == _SERVER_HELLO
    name, protocols, versions = "", (), (legacy,)  # type: tuple[str, tuple[str, ...], tuple[int, ...]]
    for extension, body in _extensions(cursor, response):
        if extension == _SERVER_NAME and not response:
            name = _server_name(body)
        elif extension == _ALPN:
            protocols = _protocols(body)
        elif extension == _SUPPORTED_VERSIONS:
            versions = _versions(body, response) or versions
    return TlsMessage(name, protocols, _version(versions), response)


def _extensions(cursor: _Cursor, response: bool) -> Iterator[tuple[int, bytes]]:
    try:
        cursor.block(1)  # session id
        if response:
            cursor.take(3)  # cipher suite, compression
        else:
            cursor.block(2)  # cipher suites
            cursor.block(1)  # compressions
        cursor.take(2)  # length of all extensions
        for _ in range(_EXTENSIONS):
            yield cursor.number(2), cursor.block(2)
    except _CutError:
        return


def _server_name(body: bytes) -> str:
    """The host name of RFC 6066, 3."""
    cursor = _Cursor(body)
    try:
        cursor.take(2)
        if cursor.number(1) != 0:
            return ""
        raw = cursor.block(2)
    except _CutError:
        return ""
    return raw[:_NAME].decode("ascii", "replace").lower()


def _protocols(body: bytes) -> tuple[str, ...]:
    """The names of RFC 7301, 3.1."""
    cursor, found = _Cursor(body), list[str]()
    try:
        cursor.take(2)
        while len(found) < _PROTOCOLS:
            found.append(cursor.block(1).decode("ascii", "replace"))
    except _CutError:
        pass
    return tuple(found)


def _versions(body: bytes, response: bool) -> tuple[int, ...]:
    """One in a ServerHello, a list in a ClientHello."""
    raw = body if response else body[1:]
    return tuple(int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw) - 1, 2))


def _version(offered: tuple[int, ...]) -> str:
    """The highest that has a name: values that test tolerance (RFC 8701) have none."""
    known = [number for number in offered if number in _VERSIONS]
    return _VERSIONS[max(known)] if known else ""
