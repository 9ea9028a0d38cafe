"""A DNS server as the shop's cluster runs it: `python -m daemon.demo.names NAME=ADDRESS,ADDRESS …`.

It answers A and AAAA for these names over UDP and TCP, and NXDOMAIN for all others. Prints a line when it serves.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

PORT = 53
TTL = 30  # s
_LENGTH = struct.Struct("!H")

Zone = Mapping[dns.name.Name, Sequence[str]]


def zone(records: Sequence[str]) -> Zone:
    """`name=address,address` as a zone."""
    pairs = (record.split("=", 1) for record in records)
    return {dns.name.from_text(name): addresses.split(",") for name, addresses in pairs}


def answer(names: Zone, query: bytes) -> bytes | None:
    """The response to a query; None for what is none."""
    try:
        message = dns.message.from_wire(query)
        question = message.question[0]
    except (dns.exception.DNSException, IndexError):
        return None
    response = dns.message.make_response(message)
    response.flags |= dns.flags.AA
    addresses = names.get(question.name)
    if addresses is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    else:
        wanted = [address for address in addresses if _kind(address) == question.rdtype]
        if wanted:
            response.answer.append(dns.rrset.from_text(question.name, TTL, "IN", question.rdtype, *wanted))
    return response.to_wire()


def _kind(address: str) -> dns.rdatatype.RdataType:
    return dns.rdatatype.AAAA if ":" in address else dns.rdatatype.A


class Datagrams(asyncio.DatagramProtocol):
    """DNS over UDP."""

    def __init__(self, names: Zone) -> None:
        self._names = names
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a query."""
        response = answer(self._names, data)
        if response and self._transport:
            self._transport.sendto(response, addr)


async def serve(names: Zone, port: int = PORT) -> None:
    """Serve for ever, on all addresses of both families."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readexactly(_LENGTH.size):
                response = answer(names, await reader.readexactly(*_LENGTH.unpack(head)))
                if response is None:
                    break
                writer.write(_LENGTH.pack(len(response)) + response)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: Datagrams(names), sock=_bound(socket.SOCK_DGRAM, port))
    server = await asyncio.start_server(talk, sock=_bound(socket.SOCK_STREAM, port))
    print("serving", flush=True)
    await server.serve_forever()


def _bound(kind: socket.SocketKind, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6, kind)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    bound.bind(("::", port))
    return bound


if __name__ == "__main__":
    asyncio.run(serve(zone(sys.argv[1:])))
