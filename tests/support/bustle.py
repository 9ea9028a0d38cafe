"""A client that does a little of everything, for tests of what metrics show.

Called with VIP EMPTY RESOLVER PEER PEER6: VIP serves HTTP on port 80, EMPTY is a UDP Service without endpoints,
RESOLVER answers DNS, PEER and PEER6 are a pod. Goes on until it is stopped.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import sys
import time

import dns.message

OUTSIDE = "192.0.2.1"  # TEST-NET-1, RFC 5737: nobody answers
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PAUSE = 0.2


def requests(vip: str) -> None:
    """Two requests that are traced, one of them for nothing that is there."""
    connection = http.client.HTTPConnection(vip, timeout=5)
    for path in ("/api/users", "/missing"):
        headers = {"Host": "backend", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        connection.request("GET", path, headers=headers)
        connection.getresponse().read()
    connection.close()


def names(resolver: str) -> None:
    """A name that exists, in both families, and one that does not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(2)
        for name, kind in (("backend.shop.svc", "A"), ("backend.shop.svc", "AAAA"), ("nowhere.shop.svc", "A")):
            asking.sendto(dns.message.make_query(name, kind).to_wire(), (resolver, 53))
            asking.recv(4096)


def echoes(peer: str, peer6: str) -> None:
    """One echo request in each family; answers are the kernel's business."""
    for family, protocol, kind, host in (
        (socket.AF_INET, socket.IPPROTO_ICMP, 8, peer),
        (socket.AF_INET6, socket.IPPROTO_ICMPV6, 128, peer6),
    ):
        with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
            head = struct.pack("!BBHHH", kind, 0, 0, 7, 1)
            checksum = 0xFFFF - sum(struct.unpack("!HHHH", head)) % 0xFFFF
            raw.sendto(struct.pack("!BBHHH", kind, 0, checksum, 7, 1), (host, 0))


def refused(host: str, port: int) -> None:
    """A connection that is answered by a reset, or by nobody."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=0.1):
        pass


def lost(host: str) -> None:
    """A datagram to what nobody serves."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.sendto(b"hello", (host, 9))


def main(vip: str, empty: str, resolver: str, peer: str, peer6: str) -> None:
    while True:
        requests(vip)
        names(resolver)
        echoes(peer, peer6)
        refused(peer, 9)
        refused(peer6, 9)
        refused(OUTSIDE, 443)
        lost(empty)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
