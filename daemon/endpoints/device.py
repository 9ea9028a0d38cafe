"""What discovery tells: one frozen value per device that leads to a workload, and the node's own addresses."""

from __future__ import annotations

from dataclasses import dataclass, field

from daemon.model.workload import IPAddress


@dataclass(frozen=True, slots=True, order=True)
class Device:
    """The node's end of a link whose other end is in another network namespace.

    `ifindex` and `name` are the node's; `addresses` (without loopback, link-local and multicast ones) and `mac`
    ("02:…", "" if it has none) are those of the other end. `netns_name` is the name under which the namespace is
    mounted, "" when it has none; `netns_inode` is 0 when the namespace could not be found;
    `nsid` is the node's number for it, -1 when it has none.
    """

    ifindex: int
    name: str
    netns_name: str
    netns_inode: int
    addresses: tuple[IPAddress, ...]
    mac: str
    nsid: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True, order=True)
class Uplink:
    """A device of the node that leads to the world outside, with the node's addresses on it (no link-local ones).

    `mac` is its own ("02:…"), "" where its packets have no Ethernet header: then they cannot be read.
    """

    ifindex: int
    name: str
    addresses: tuple[IPAddress, ...] = ()
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Devices:
    """All devices by ascending ifindex, and the addresses that the node itself has in the agent's namespace."""

    devices: tuple[Device, ...] = ()
    node_addresses: frozenset[IPAddress] = frozenset()
    uplinks: tuple[Uplink, ...] = ()
