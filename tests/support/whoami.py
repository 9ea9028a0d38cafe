"""A server for tests: answers each TCP connection and each datagram with its own name and who asks.

Run as `python whoami.py NAME PORT`; prints `ready` when it listens. IPv4 and IPv6 on one socket each.
"""

from __future__ import annotations

import selectors
import socket
import sys


def main() -> None:
    name, port = sys.argv[1], int(sys.argv[2])
    tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::", port))
    selector = selectors.DefaultSelector()
    for sock in (tcp, udp):
        selector.register(sock, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is tcp:
                connection, peer = tcp.accept()
                connection.sendall(answer(name, peer[0]))
                connection.close()
            else:
                _, peer = udp.recvfrom(2048)
                udp.sendto(answer(name, peer[0]), peer)


def answer(name: str, peer: str) -> bytes:
    return f"{name} {peer.removeprefix('::ffff:')}".encode()


if __name__ == "__main__":
    main()
