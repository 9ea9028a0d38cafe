"""Which network namespace is behind which number.

A device tells only the number (nsid) that our namespace has for the one its other end is in. So namespaces are asked,
one after the other, which number they have, until every number is told: those with a mount, and so a name, first.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from daemon.endpoints.netlink import Netlink
from ebpf.namespaces import network_namespaces


@dataclass(frozen=True, slots=True)
class NetworkNamespace:
    """A namespace: `name` is the file name of its mount, "" when only processes hold it."""

    name: str
    inode: int


def by_nsid(netlink: Netlink, wanted: set[int]) -> dict[int, NetworkNamespace]:
    """The wanted numbers that could be resolved. Namespaces that vanish meanwhile are left out."""
    found: dict[int, NetworkNamespace] = {}
    if not wanted:
        return found
    for namespace in network_namespaces():
        with suppress(OSError):
            nsid = netlink.nsid(namespace.fd)
            if nsid in wanted:
                found[nsid] = NetworkNamespace(namespace.name, namespace.inode)
        if wanted <= found.keys():
            break
    return found
