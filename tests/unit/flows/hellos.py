"""TLS hellos that OpenSSL makes, for tests: no bytes of our own could prove that real ones are understood."""

from __future__ import annotations

import ssl
from functools import cache


@cache
def client_hello(name: str, highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """The first record of a client that wants `name`, with two protocols offered."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.maximum_version = highest
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake that needs no server")
